//! A git server over HTTPS that shows its repositories to whoever has the token.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const SERVER: &str = include_str!("private_git.py");

/// A running one; it ends with the test.
#[derive(Debug)]
pub struct PrivateGit {
    place: TempDir,
    child: Child,
    port: u16,
}

impl PrivateGit {
    /// Of the repositories in a folder.
    #[must_use]
    pub fn start(repositories: &Path, token: &str) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = own.cert.pem();
        fs::write(place.path().join("ca.pem"), &certificate).expect("a file");
        let pem = place.path().join("server.pem");
        fs::write(&pem, format!("{}{certificate}", own.signing_key.serialize_pem())).expect("a file");
        let mut child = Command::new("python3")
            .current_dir(place.path())
            .args(["-c", SERVER])
            .args([repositories, &pem, &place.path().join("log")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 runs");
        writeln!(child.stdin.take().expect("piped"), "{token} -").expect("the server reads");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("the server says its port");
        let port = line.trim().parse().expect("a port");
        Self { place, child, port }
    }

    /// The address of a repository.
    #[must_use]
    pub fn url(&self, repository: &str) -> String {
        format!("https://localhost:{}/{repository}", self.port)
    }

    /// What a runner needs in its environment to believe the server.
    #[must_use]
    pub fn trusted(&self) -> (String, String) {
        let file = self.place.path().join("ca.pem");
        ("GIT_SSL_CAINFO".to_owned(), file.to_str().expect("a plain path").to_owned())
    }

    /// A file with the token, which nobody else can read.
    #[must_use]
    pub fn token_file(&self, token: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.place.path().join("token");
        let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        writeln!(file.as_mut().expect("a file"), "{token}").expect("a file");
        path
    }

    /// What was asked of it.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PrivateGit {
    fn drop(&mut self) {
        // Each fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
