//! A runner's process without its broker: what a broker says on the link is said here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ::tests::frames::{self, Frame, READ_BYTES, Side};
use ::tests::harness::{processes, programs};
use bytes::BytesMut;
use nix::sys::signal::Signal;
use protocol::SecretString;
use protocol::link::mux::{Delivered, Mux};
use protocol::link::proof::{self, BrokerClaim};
use protocol::link::{Fence, Header, Limits, LinkHello, Outcome, Policy, ServiceSpec, ServiceState, Source, frame};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use super::{Member, SERVICE, SOON, ended, wardens, words};
use crate::drive::Line;
use crate::speech::{Form, LinkForm, Speech};

const MESH: &str = "default";
const STORE: &str = "load-compare";
const DEPLOYMENT: &str = "0190aaaa-load";
const EPOCH: u64 = 1;
/// Nobody else reaches the socket: it lies in a directory of our own.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(5);

pub(crate) struct Runner {
    socket: PathBuf,
    pub(super) members: Vec<Member>,
    runner: Child,
    _folder: TempDir,
}

impl Runner {
    pub(super) async fn start() -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("cm-").tempdir().map_err(words)?;
        let (socket, token) = (folder.path().join("link.sock"), folder.path().join("token"));
        write_secret(&token)?;
        let log = fs::File::create(folder.path().join("runner.log")).map_err(words)?;
        let runner = Command::new(programs::claudemesh())
            .arg("runner")
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .arg("--token-file")
            .arg(&token)
            // Should this program be killed, the runner does not stay for ever.
            .args(["--orphan-timeout", "5m"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Its wardens kill what they watch when it is gone.
            .kill_on_drop(true)
            .spawn()
            .map_err(words)?;
        let pid = runner.id().ok_or("the runner ended at once")?;
        let server = match timeout(SOON, load(&socket)).await.map_err(words).and_then(|loaded| loaded) {
            Ok(server) => server,
            Err(error) => {
                let log = fs::read_to_string(folder.path().join("runner.log")).unwrap_or_default();
                return Err(format!("the runner: {error}\n{log}"));
            }
        };
        let mut members = vec![Member { role: "runner", pid }];
        members.extend(wardens(pid, server));
        members.push(Member { role: "server", pid: server });
        Ok(Self { socket, members, runner, _folder: folder })
    }

    pub(super) async fn open(&mut self) -> Result<Line<'_>, String> {
        let link = timeout(SOON, Link::connect(&self.socket)).await.map_err(words)??;
        let form = Form::Link(Box::new(LinkForm::new(link.mux, MESH, SERVICE, DEPLOYMENT)));
        let (reader, writer) = link.stream.into_split();
        Ok(Line::new(reader, writer, Speech::new(form)))
    }

    /// As an init system would end it.
    pub(super) async fn stop(mut self) -> Result<(), String> {
        if let Some(pid) = self.runner.id() {
            processes::send(pid, Signal::SIGTERM);
        }
        ended(&mut self.runner).await
    }
}

fn write_secret(path: &Path) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(words)?;
    file.write_all(TOKEN.as_bytes()).map_err(words)
}

/// Makes the server a service of the runner; the pid of its process.
async fn load(socket: &Path) -> Result<u32, String> {
    let mut link = loop {
        match Link::connect(socket).await {
            Ok(link) => break link,
            // It does not listen yet.
            Err(_) => sleep(LOOK_EVERY).await,
        }
    };
    let spec = ServiceSpec {
        mesh: MESH.to_owned(),
        mesh_id: None,
        service: SERVICE.to_owned(),
        deployment: DEPLOYMENT.to_owned(),
        source: Source::Command { argv: vec![programs::echo().display().to_string()] },
        version: None,
        runtime: None,
        args: Vec::new(),
        env: BTreeMap::new(),
        sealed: None,
        limits: Limits::default(),
        policy: Policy::default(),
    };
    let fence = Fence { store: STORE.to_owned(), epoch: EPOCH, deployment: DEPLOYMENT.to_owned() };
    link.send(&Header::Load { cmd: 1, fence, spec: Box::new(spec) }).await?;
    loop {
        match link.next().await?.header {
            Header::Done { outcome: Outcome::Ok, .. } | Header::RunnerKey { .. } => {}
            Header::Done { outcome, .. } => return Err(format!("the load was answered with {outcome:?}")),
            Header::Report(report) => {
                let running = report.services.iter().find(|service| service.state == ServiceState::Running);
                let pid = running.and_then(|service| service.instances.first()?.pid);
                if let Some(pid) = pid {
                    return Ok(pid);
                }
                if let Some(failure) = report.services.iter().find_map(|service| service.failure.as_ref()) {
                    return Err(format!("the service failed: {failure:?}"));
                }
            }
            other => return Err(format!("not expected from a runner: {other:?}")),
        }
    }
}

/// A link that was proved from both sides.
struct Link {
    stream: UnixStream,
    mux: Mux,
    input: BytesMut,
}

impl Link {
    async fn connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).await.map_err(words)?;
        let (socket, _) = client_async("ws://runner/link", stream).await.map_err(words)?;
        // Nothing is lost with the library's buffer: a runner does not speak first.
        let mut link = Self { stream: socket.into_inner(), mux: Mux::new(), input: BytesMut::new() };
        let ours = LinkHello::broker("load-compare", NONCE, STORE, EPOCH);
        link.send(&Header::LinkHello(ours)).await?;
        let hello = match link.next().await?.header {
            Header::LinkHello(hello) => hello,
            other => return Err(format!("the hello was answered with {other:?}")),
        };
        let claim = BrokerClaim { runner_nonce: &hello.nonce, broker_nonce: NONCE, store_id: STORE, epoch: EPOCH };
        let proof = proof::broker_proof(&SecretString::from(TOKEN), claim).map_err(words)?;
        link.send(&Header::LinkProof { proof }).await?;
        Ok(link)
    }

    async fn send(&mut self, header: &Header) -> Result<(), String> {
        let message = frame::encode(header, &[]).map_err(words)?;
        let mut out = BytesMut::new();
        frames::put(Side::Client, Data::Binary, &[&message], &mut out);
        self.stream.write_all(&out).await.map_err(words)
    }

    async fn next(&mut self) -> Result<Delivered, String> {
        loop {
            match frames::take(&mut self.input).map_err(words)? {
                Some(Frame::Message(message)) => {
                    if let Some(delivered) = self.mux.receive(message).map_err(words)? {
                        return Ok(delivered);
                    }
                }
                // A start is over before a pong is missed.
                Some(Frame::Ping(_)) => {}
                Some(Frame::Close) => return Err("the runner closed the link".to_owned()),
                None => {
                    self.input.reserve(READ_BYTES);
                    if self.stream.read_buf(&mut self.input).await.map_err(words)? == 0 {
                        return Err("the runner ended the link".to_owned());
                    }
                }
            }
        }
    }
}
