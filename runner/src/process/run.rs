//! A command from its start to its end: installs, clones, probes of versions.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::command::Command;
use super::error::RunError;
use super::keeper::Process;
use super::launcher::Launcher;
use super::lines::{LineSplitter, MAX_LINE};
use super::status::ExitStatus;

/// Output of one run that is handed on, in bytes. What follows is read, so
/// that the command does not block, and dropped.
pub const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// Read at once.
const CHUNK: usize = 16 * 1024;

/// The stream a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Runs a command to its end with an empty standard input and hands its output
/// on by lines, as it comes: lines cut at [`MAX_LINE`], [`MAX_OUTPUT`] in all,
/// other bytes than UTF-8 replaced. Returns when nothing of it remains, also
/// when `limit` made it end. Dropping the future kills it, without waiting
/// until it is gone.
///
/// # Errors
/// The command did not start, or ran longer than `limit`.
pub async fn run(
    launcher: &Launcher,
    command: &Command,
    limit: Duration,
    on_line: &mut dyn FnMut(OutputStream, &str),
) -> Result<ExitStatus, RunError> {
    run_unless(launcher, command, limit, std::future::pending(), on_line).await
}

/// As [`run`], and the command is killed when `given_up` resolves. That too
/// returns when nothing of it remains; a start under way is finished first.
///
/// # Errors
/// As [`run`], and [`RunError::GivenUp`].
pub async fn run_unless(
    launcher: &Launcher,
    command: &Command,
    limit: Duration,
    given_up: impl Future<Output = ()>,
    on_line: &mut dyn FnMut(OutputStream, &str),
) -> Result<ExitStatus, RunError> {
    let Process { stdin, mut stdout, mut stderr, handle, mut exit } = launcher.spawn(command).await?;
    drop(stdin);
    let mut output = Output::new(on_line);
    let whole = async {
        let mut out = [0; CHUNK];
        let mut err = [0; CHUNK];
        let (mut out_open, mut err_open) = (true, true);
        // The pipes end before the exit resolves: it waits for every writer.
        while out_open || err_open {
            tokio::select! {
                read = read(&mut stdout, &mut out), if out_open => out_open = output.take(OutputStream::Stdout, read),
                read = read(&mut stderr, &mut err), if err_open => err_open = output.take(OutputStream::Stderr, read),
            }
            // A flood of short lines costs more than its bytes; everything else has a turn between two chunks of it.
            yield_now().await;
        }
        (&mut exit).await
    };
    let ended = tokio::select! {
        ended = timeout(limit, whole) => ended.map_err(|_| RunError::TimedOut(limit)),
        () = given_up => Err(RunError::GivenUp),
    };
    if ended.is_err() {
        handle.kill();
        exit.await;
    }
    output.finish();
    ended
}

/// What was read; a pipe that fails has ended.
async fn read<'a>(pipe: &mut (impl AsyncRead + Unpin), chunk: &'a mut [u8]) -> &'a [u8] {
    let length = pipe.read(chunk).await.unwrap_or(0);
    chunk.get(..length).unwrap_or_default()
}

struct Output<'a> {
    sink: &'a mut dyn FnMut(OutputStream, &str),
    stdout: LineSplitter,
    stderr: LineSplitter,
    room: usize,
}

impl<'a> Output<'a> {
    fn new(sink: &'a mut dyn FnMut(OutputStream, &str)) -> Self {
        Self { sink, stdout: LineSplitter::new(MAX_LINE), stderr: LineSplitter::new(MAX_LINE), room: MAX_OUTPUT }
    }

    /// Hands the chunk's lines on; `false` at the end of the stream.
    fn take(&mut self, stream: OutputStream, chunk: &[u8]) -> bool {
        if self.room > 0 {
            let taken = chunk.get(..self.room).unwrap_or(chunk);
            self.room -= taken.len();
            let splitter = match stream {
                OutputStream::Stdout => &mut self.stdout,
                OutputStream::Stderr => &mut self.stderr,
            };
            splitter.push(taken, &mut |line| (self.sink)(stream, line));
            if self.room == 0 {
                self.finish();
                (self.sink)(stream, &format!("[output after {MAX_OUTPUT} bytes is dropped]"));
            }
        }
        !chunk.is_empty()
    }

    fn finish(&mut self) {
        self.stdout.finish(&mut |line| (self.sink)(OutputStream::Stdout, line));
        self.stderr.finish(&mut |line| (self.sink)(OutputStream::Stderr, line));
    }
}
