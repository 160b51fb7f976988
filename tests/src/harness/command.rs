//! A verb, run as a person would run it.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use super::wait_until;

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The words that were typed.
    pub words: String,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Runs `command` to its end, and kills it at the deadline, which fails the test.
    #[must_use]
    pub fn of(mut command: Command, deadline: Duration) -> Self {
        let words = typed(&command);
        let mut child = command
            // A group of its own, so that the deadline ends what it started too.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{words}: {error}"));
        let stdout = drain(child.stdout.take().expect("piped above"));
        let stderr = drain(child.stderr.take().expect("piped above"));
        let ended = wait_until(&words, deadline, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it is still running".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if ended.is_err() {
            kill(&mut child);
        }
        let (stdout, stderr) = (collect(stdout), collect(stderr));
        match ended {
            Ok(status) => Self { words, code: status.code(), stdout, stderr },
            Err(error) => panic!("{error}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"),
        }
    }

    /// Exit code 0, or the test fails with all that was said.
    #[must_use]
    pub fn ok(self) -> Self {
        self.code_is(0)
    }

    /// This exit code, or the test fails with all that was said.
    #[must_use]
    pub fn code_is(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// Everything it said, on both outputs.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ended with {:?}\n--- stdout\n{}\n--- stderr\n{}", self.words, self.code, self.stdout, self.stderr)
    }
}

/// The command line, without the variables that the harness sets.
fn typed(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Reads to the end beside the waiting, so that a full pipe never holds the command up.
fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn collect(reader: JoinHandle<Vec<u8>>) -> String {
    String::from_utf8_lossy(&reader.join().expect("reading a pipe does not panic")).into_owned()
}

fn kill(child: &mut Child) {
    // Each fails only when what it is for has ended meanwhile.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.wait();
}
