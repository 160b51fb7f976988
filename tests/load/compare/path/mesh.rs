//! The whole of it: `claudemesh up`, a peer on the wire, the server deployed as a person would.

use ::tests::frames::{self, Frame, READ_BYTES, Side};
use ::tests::harness::peer::{Peer, converse, hello};
use ::tests::harness::{Mesh, Options, programs};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{Member, SERVICE, SOON, wardens, words};
use crate::drive::Line;
use crate::speech::{Form, Speech};

pub(crate) struct Meshed {
    membership: Value,
    pub(super) members: Vec<Member>,
    mesh: Mesh,
}

impl Meshed {
    pub(super) fn start() -> Result<Self, String> {
        let mesh = Mesh::with(Options { alone: true, ..Options::default() });
        let membership = mesh.membership();
        deploy(&membership).map_err(|error| format!("the deploy failed: {error}\n{}", mesh.logs()))?;
        mesh.look();
        let (broker, runner, server) = (mesh.broker_pid(), mesh.runner_pid(), mesh.pid(SERVICE));
        let mut members = vec![Member { role: "broker", pid: broker }, Member { role: "runner", pid: runner }];
        members.extend(wardens(runner, server));
        members.push(Member { role: "server", pid: server });
        Ok(Self { membership, members, mesh })
    }

    pub(super) async fn open(&mut self) -> Result<Line<'_>, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.mesh.port())).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let address = self.membership["brokerUrl"].as_str().ok_or("config.json has no brokerUrl")?;
        let (socket, _) = client_async(address, stream).await.map_err(words)?;
        // Nothing is lost with the library's buffer: a broker does not speak first.
        let mut stream = socket.into_inner();
        timeout(SOON, greet(&mut stream, &self.membership)).await.map_err(words)??;
        let (reader, writer) = stream.into_split();
        Ok(Line::new(reader, writer, Speech::new(Form::Peer { service: SERVICE })))
    }

    /// As Ctrl-C would end it; nothing may be left.
    pub(super) fn stop(mut self) -> Result<(), String> {
        let status = self.mesh.stop();
        if status.success() { Ok(()) } else { Err(format!("`up` ended with {status}")) }
    }
}

fn deploy(membership: &Value) -> Result<(), String> {
    let message = json!({
        "type": "mcp_deploy",
        "server_name": SERVICE,
        "source": { "type": "command", "argv": [programs::echo()] },
        "config": { "env": {} },
        "scope": "peer",
    });
    converse(async {
        let mut peer = Peer::connect(membership).await?;
        let id = peer.send(message).await?;
        loop {
            let status = timeout(SOON, peer.reply_to(&id)).await.map_err(words)??;
            match status["status"].as_str() {
                Some("running") => return Ok(()),
                Some("queued" | "building" | "starting") => {}
                _ => return Err(status.to_string()),
            }
        }
    })
}

async fn greet(stream: &mut TcpStream, membership: &Value) -> Result<(), String> {
    let word = |name: &str| membership[name].as_str().ok_or(format!("config.json has no {name}"));
    let hello = hello(word("meshId")?, word("memberId")?, word("secretKey")?)?.to_string();
    let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
    frames::put(Side::Client, Data::Text, &[hello.as_bytes()], &mut out);
    stream.write_all(&out).await.map_err(words)?;
    loop {
        match frames::take(&mut input).map_err(words)? {
            Some(Frame::Message(message)) => {
                let answer: Value = serde_json::from_slice(&message).map_err(words)?;
                match answer["type"].as_str() {
                    Some("hello_ack") if input.is_empty() => return Ok(()),
                    Some("hello_ack") => return Err("something came with the hello_ack".to_owned()),
                    Some("push") => {}
                    _ => return Err(format!("hello was answered with {answer}")),
                }
            }
            Some(Frame::Ping(_)) => {}
            Some(Frame::Close) => return Err("the broker closed the socket".to_owned()),
            None => {
                input.reserve(READ_BYTES);
                if stream.read_buf(&mut input).await.map_err(words)? == 0 {
                    return Err("the broker ended the connection".to_owned());
                }
            }
        }
    }
}
