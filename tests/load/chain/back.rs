//! Where a runner would be: a WebSocket from the front, and the pipes of the program.

use std::io;
use std::path::Path;
use std::process::Stdio;

use ::tests::frames::{self, Side};
use tokio::net::UnixListener;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio_tungstenite::accept_async;

use crate::pump::{to_lines, to_messages};

/// Serves until `stop` ends, then ends the program.
pub(crate) async fn serve(socket: &Path, program: &[&str], stop: impl Future<Output = ()>) -> io::Result<()> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().expect("piped above");
    let mut output = child.stdout.take().expect("piped above");
    frames::widen(&input);
    frames::widen(&output);
    let listener = UnixListener::bind(socket)?;
    println!("ready {}", child.id().ok_or_else(|| io::Error::other("the program ended at once"))?);
    let served = tokio::select! {
        served = connections(&listener, &mut input, &mut output) => served,
        () = stop => Ok(()),
    };
    // The end of its input is the end of the program.
    drop(input);
    child.wait().await?;
    served
}

async fn connections(listener: &UnixListener, input: &mut ChildStdin, output: &mut ChildStdout) -> io::Result<()> {
    loop {
        let (front, _) = listener.accept().await?;
        let mut front = accept_async(front).await.map_err(io::Error::other)?.into_inner();
        let (mut from_front, mut to_front) = front.split();
        tokio::select! {
            ended = to_lines(&mut from_front, input) => ended?,
            ended = to_messages(output, &mut to_front, Side::Server) => {
                ended?;
                return Err(io::Error::other("the program ended"));
            }
        }
    }
}
