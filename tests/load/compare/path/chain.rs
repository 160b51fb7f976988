//! The empty chain: two processes, two WebSockets and the pipes, and nothing that is done.

use std::process::Stdio;

use ::tests::harness::programs;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_tungstenite::client_async;

use super::{Member, SOON, ended, words};
use crate::drive::Line;
use crate::speech::{Form, Speech};

pub(crate) struct Chain {
    port: u16,
    pub(super) members: Vec<Member>,
    front: Child,
    back: Child,
    _folder: TempDir,
}

impl Chain {
    pub(super) async fn start() -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("cm-").tempdir().map_err(words)?;
        let socket = folder.path().join("back.sock");
        let mut back = Command::new(programs::chain());
        back.arg("back").arg(&socket).arg("--").arg(programs::echo());
        let (back, back_pid, server) = ready(back).await?;
        let mut front = Command::new(programs::chain());
        front.arg("front").arg(&socket);
        let (front, front_pid, port) = ready(front).await?;
        let members = vec![
            Member { role: "chain-a", pid: front_pid },
            Member { role: "chain-b", pid: back_pid },
            Member { role: "server", pid: server },
        ];
        let port = u16::try_from(port).map_err(words)?;
        Ok(Self { port, members, front, back, _folder: folder })
    }

    pub(super) async fn open(&mut self) -> Result<Line<'_>, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let (socket, _) = client_async("ws://chain/", stream).await.map_err(words)?;
        let (reader, writer) = socket.into_inner().into_split();
        Ok(Line::new(reader, writer, Speech::new(Form::Messages)))
    }

    /// The end of their inputs is the end of both halves.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        drop((self.front.stdin.take(), self.back.stdin.take()));
        ended(&mut self.front).await?;
        ended(&mut self.back).await
    }
}

/// Starts it and waits for its word: itself, its pid and the number that it said.
async fn ready(mut command: Command) -> Result<(Child, u32, u32), String> {
    // It ends when the other end of its input is gone, which is here.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(words)?;
    let pid = child.id().ok_or("a half of the chain ended at once")?;
    let output = child.stdout.take().ok_or("a half of the chain has no output")?;
    let mut word = String::new();
    timeout(SOON, BufReader::new(output).read_line(&mut word)).await.map_err(words)?.map_err(words)?;
    let number = word.trim().strip_prefix("ready ").and_then(|number| number.parse().ok());
    Ok((child, pid, number.ok_or(format!("a half of the chain said {word:?} and not `ready`"))?))
}
