//! A person's home, a broker, and an HTTP side, all made for one test.

mod broker;
mod http;
mod stdio;

pub(crate) use broker::FakeBroker;
pub(crate) use http::FakeHttp;
pub(crate) use stdio::Stdio as McpClient;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The member key of every test.
pub(crate) fn member_key() -> SigningKey {
    SigningKey::from_bytes(&std::array::from_fn(|i| i as u8))
}

/// A home directory with nothing of anybody else's in it.
pub(crate) struct Home {
    root: TempDir,
}

/// What the shell sees.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// stdout as its one JSON document on its one line.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, what: &str) -> Self {
        assert!(self.stderr.contains(what), "{what:?} is not in {self:?}");
        self
    }
}

impl Home {
    /// A home that knows no mesh.
    pub(crate) fn empty() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    /// A home that belongs to the mesh `default` at `broker_url`.
    pub(crate) fn of(broker_url: &str) -> Self {
        let home = Self::empty();
        home.write_config(&config(&[mesh("default", broker_url)]).to_string());
        home
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.root.path().join(".claudemesh/config.json")
    }

    pub(crate) fn config(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.config_path()).unwrap()).unwrap()
    }

    /// What the commands' session remembers in the mesh of [`mesh`].
    pub(crate) fn session(&self) -> Value {
        let path = self.config_path().with_file_name("sessions/mesh1/cli.json");
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) fn write_config(&self, content: &str) {
        let path = self.config_path();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn write_token(&self, token: &str) {
        fs::create_dir_all(self.data_dir()).unwrap();
        fs::write(self.data_dir().join("operator.token"), token).unwrap();
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.run_with(words, &[], "")
    }

    /// Runs the program with stdout and stderr on a terminal; returns all that the terminal was sent.
    pub(crate) fn run_on_terminal(&self, words: &[&str], env: &[(&str, &str)]) -> String {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = self.command(words, env);
        command.stdin(Stdio::null()).stdout(terminal.slave.try_clone().unwrap()).stderr(terminal.slave);
        let mut child = command.spawn().unwrap();
        // The command holds the other end open; without it the read below ends with the child's.
        drop(command);
        let mut shown = Vec::new();
        // The end of a terminal is an error on Linux (EIO); what came before it is kept.
        let _ = fs::File::from(terminal.master).read_to_end(&mut shown);
        child.wait().unwrap();
        String::from_utf8(shown).unwrap()
    }

    /// Runs a program that stays, on a terminal, until it has shown `sign`; then it is interrupted as by Ctrl-C. Returns all
    /// that it showed, and its exit code.
    pub(crate) fn interrupt_on_terminal(&self, words: &[&str], sign: &str) -> (String, Option<i32>) {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let mut command = self.command(words, &[("TERM", "xterm"), ("PATH", &std::env::var("PATH").unwrap())]);
        command.stdin(Stdio::null()).stdout(terminal.slave.try_clone().unwrap()).stderr(terminal.slave);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut shown = Vec::new();
        let mut master = fs::File::from(terminal.master);
        let mut interrupted = false;
        let mut buffer = [0; 4_096];
        while let Ok(count @ 1..) = master.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
            if !interrupted && String::from_utf8_lossy(&shown).contains(sign) {
                interrupted = true;
                let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
            }
        }
        let status = child.wait().unwrap();
        (String::from_utf8(shown).unwrap(), status.code())
    }

    /// Starts a program that stays, its outputs in pipes.
    pub(crate) fn start(&self, words: &[&str]) -> std::process::Child {
        let mut command = self.command(words, &[]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a server on standard input and output, and shakes hands with it.
    pub(crate) fn serve(&self, words: &[&str], env: &[(&str, &str)]) -> McpClient {
        McpClient::start(self.command(words, env))
    }

    /// The program with nothing in its environment but this home and `env`.
    fn command(&self, words: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_claudemesh"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.root.path())
            .env("CLAUDEMESH_DATA_DIR", self.data_dir())
            .envs(env.iter().copied());
        command
    }

    /// Runs the program, with `stdin`.
    pub(crate) fn run_with(&self, words: &[&str], env: &[(&str, &str)], stdin: &str) -> Ended {
        let mut child = self
            .command(words, env)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its stdin closes it; that is no failure of the test.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().expect("ended by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A `config.json`.
pub(crate) fn config(meshes: &[Value]) -> Value {
    json!({"version": 1, "meshes": meshes, "displayName": "Ada"})
}

/// An entry of it.
pub(crate) fn mesh(slug: &str, broker_url: &str) -> Value {
    let key = member_key();
    json!({
        "meshId": "mesh1", "memberId": "member1", "slug": slug, "name": slug,
        "pubkey": hex::encode(key.verifying_key().as_bytes()),
        "secretKey": hex::encode(key.to_keypair_bytes()),
        "brokerUrl": broker_url, "joinedAt": "2026-01-01T00:00:00Z",
    })
}

/// An address where nobody listens: it was ours a moment ago.
pub(crate) fn dead_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
