//! A private repository over real HTTPS: a server that asks for the token, looks around while it is asked, and sends on.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use protocol::source::Source;
use runner::prepare::{PrepareError, SourceSettings};

use super::repository::{Repository, built, source};
use super::{files_under, prepare};

const TOKEN: &str = "planted-token+/=%41";

/// Serves `git http-backend` to whoever shows the token; logs what each request showed, and every process of this
/// machine whose words or environment hold the token at that moment.
const SERVER: &str = include_str!("../../../tests/src/harness/private_git.py");

/// A server, ended with the test.
struct Server {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Of the repositories in `root`; what is asked of it as `moved` is sent to `beyond`.
    fn start(place: &Path, name: &str, root: &Path, beyond: &str) -> Self {
        let log = place.join(format!("{name}.log"));
        let mut child = Command::new("python3")
            .current_dir(place)
            .args(["-c", SERVER])
            .args([root, &place.join("server.pem"), &log])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{TOKEN} {beyond}").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { port: line.trim().parse().expect("the server says its port"), child, log }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn certificate(place: &Path) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    fs::write(place.join("ca.pem"), &certificate).unwrap();
    fs::write(place.join("server.pem"), format!("{key}{certificate}")).unwrap();
}

fn with_token(url: &str, token: &str) -> Source {
    let mut source = source(url);
    source.put_token(Some(token.into()));
    source
}

/// Every file that the build can reach in its own directory, and its surroundings, as one text in the package.
const LOOK: &str = r#"
const fs = require('fs'), path = require('path');
let seen = JSON.stringify(process.env);
(function walk(dir) {
    for (const entry of fs.readdirSync(dir, {withFileTypes: true})) {
        const file = path.join(dir, entry.name);
        if (entry.isDirectory()) walk(file);
        else if (entry.isFile()) seen += file + '\n' + fs.readFileSync(file, 'latin1');
    }
})(path.join(process.cwd(), '..', '..'));
fs.writeFileSync('seen', seen);
"#;

#[tokio::test]
async fn h24_a_git_token_goes_to_the_host_of_its_address_and_nowhere_else() {
    let place = tempfile::tempdir().unwrap();
    certificate(place.path());
    let package = r#"{"name": "srv", "bin": "srv.js"}"#;
    let repository = Repository::with(&[("package.json", package), ("srv.js", ""), ("look.js", LOOK)]);
    let root = repository.path().parent().unwrap().to_owned();
    let other = Server::start(place.path(), "other", &root, "-");
    let server = Server::start(place.path(), "server", &root, &format!("https://127.0.0.1:{}", other.port));
    let url = format!("https://localhost:{}/project/.git", server.port);

    let trusted = [("GIT_SSL_CAINFO".into(), place.path().join("ca.pem").into_os_string())];
    let env: Vec<(OsString, OsString)> = std::env::vars_os().chain(trusted).collect();
    let data = place.path().join("data");
    let preparer = super::preparer(&data, env).await.settled(SourceSettings::default());

    let wanted = built(with_token(&url, TOKEN), &["node", "look.js"]);
    let (ready, lines) = prepare(&preparer, &wanted, None).await;
    let ready = ready.unwrap();
    assert_eq!(ready.version, repository.git(&["rev-parse", "HEAD"]));
    let log = server.log();
    assert!(log.contains("Basic ") && log.contains("git-upload-pack"), "{log}");
    assert!(!log.contains("SEEN"), "a process showed it in its words or its environment: {log}");
    assert!(!lines.join("\n").contains(TOKEN), "{lines:?}");
    let seen = fs::read_to_string(ready.visible[0].join("tree/seen")).unwrap();
    assert!(seen.contains("look.js") && !seen.contains("planted-token"), "the build found it");
    for file in files_under(&data) {
        let bytes = fs::read(&file).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("planted-token"), "{}", file.display());
    }

    // What a token has fetched is not for those who have none.
    for (token, commit) in [(None, Some(ready.version.as_str())), (Some("another-planted-token"), None)] {
        let wanted = token.map_or_else(|| source(&url), |token| with_token(&url, token));
        let (refused, lines) = prepare(&preparer, &wanted, commit).await;
        let error = refused.unwrap_err();
        assert!(matches!(error, PrepareError::Install { .. } | PrepareError::Resolve { .. }), "{error:?}");
        let said = format!("{error} {error:?} {}", lines.join("\n"));
        assert!(!said.contains("another-planted-token"), "{said}");
    }

    // Nor does it follow where the server sends git.
    let moved = with_token(&format!("https://localhost:{}/moved/project/.git", server.port), TOKEN);
    let (refused, _) = prepare(&preparer, &moved, None).await;
    assert!(matches!(refused, Err(PrepareError::Resolve { .. })), "{refused:?}");
    let asked = other.log();
    assert!(asked.contains("ASKED"), "git was sent there: {asked}");
    assert!(!asked.contains("Basic"), "the token went along: {asked}");
}
