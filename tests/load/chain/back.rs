//! Where a runner would be: a WebSocket from the front, and the pipes of the program.

use std::io;
use std::path::Path;
use std::process::Stdio;

use tests::frames::Side;
use tokio::net::UnixListener;
use tokio::process::Command;
use tokio_tungstenite::accept_async;

use crate::pump::{to_lines, to_messages};

pub(crate) async fn serve(socket: &Path, program: &[&str]) -> io::Result<()> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = child.stdin.take().expect("piped above");
    let mut output = child.stdout.take().expect("piped above");
    let listener = UnixListener::bind(socket)?;
    println!("ready {}", child.id().ok_or_else(|| io::Error::other("the program ended at once"))?);
    loop {
        let (front, _) = listener.accept().await?;
        let mut front = accept_async(front).await.map_err(io::Error::other)?.into_inner();
        let (mut from_front, mut to_front) = front.split();
        tokio::select! {
            ended = to_lines(&mut from_front, &mut input) => ended?,
            ended = to_messages(&mut output, &mut to_front, Side::Server) => ended?,
        }
    }
}
