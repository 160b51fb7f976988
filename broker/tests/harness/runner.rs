//! A fake runner: it listens on a Unix socket and speaks the link, and every answer it gives is the test's.
//!
//! Nothing here installs or starts anything; the real runner is tested with the real broker elsewhere.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::SecretString;
use protocol::link::mux::{Delivered, Mux};
use protocol::link::proof::{self, BrokerClaim, RunnerClaim};
use protocol::link::{
    CallHeader, FailCode, Fence, Header, LinkHello, MAX_BODY_BYTES, Outcome, ReplyOutcome, Report, ServiceReport,
    ServiceSpec, ServiceState, Tool, frame,
};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{MESH, RUNNER_TOKEN, SOON};

type Socket = WebSocketStream<UnixStream>;

/// Listens; each connection of the broker is accepted by the test.
pub(crate) struct FakeRunner {
    listener: UnixListener,
    socket: PathBuf,
    name: String,
}

/// What a broker said of itself.
#[derive(Debug, Clone)]
pub(crate) struct BrokerFacts {
    pub(crate) store_id: String,
    pub(crate) epoch: u64,
}

/// One authenticated connection.
pub(crate) struct Conn {
    pub(crate) broker: BrokerFacts,
    incoming: Mutex<mpsc::UnboundedReceiver<Delivered>>,
    outgoing: mpsc::UnboundedSender<(Header, Bytes)>,
    seq: AtomicU64,
    pump: JoinHandle<()>,
}

/// A `load` that came.
pub(crate) struct Load {
    pub(crate) cmd: u64,
    pub(crate) fence: Fence,
    pub(crate) spec: ServiceSpec,
}

impl FakeRunner {
    pub(crate) fn listen(dir: &Path, name: &str) -> Self {
        let socket = dir.join(format!("{name}.sock"));
        // Left behind by an earlier one of this name.
        let _ = std::fs::remove_file(&socket);
        Self { listener: UnixListener::bind(&socket).unwrap(), socket, name: name.to_owned() }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// The broker's next connection, upgraded and no more.
    pub(crate) async fn knock(&self) -> Socket {
        let accepted = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            tokio_tungstenite::accept_async(stream).await.unwrap()
        };
        timeout(SOON, accepted).await.expect("the broker dials soon")
    }

    /// The broker's next connection, both sides proved.
    pub(crate) async fn accept(&self) -> Conn {
        let mut socket = self.knock().await;
        let (broker, nonce, ours) = greet(&mut socket, &self.name, RUNNER_TOKEN).await;
        let Some(Header::LinkProof { proof }) = receive(&mut socket).await else { panic!("the broker proves itself") };
        let claim =
            BrokerClaim { runner_nonce: &ours, broker_nonce: &nonce, store_id: &broker.store_id, epoch: broker.epoch };
        proof::verify_broker(&SecretString::from(RUNNER_TOKEN), claim, &proof).unwrap();
        Conn::new(socket, broker)
    }

    /// As [`FakeRunner::accept`], and a first complete report of these services.
    pub(crate) async fn accept_with(&self, services: Vec<ServiceReport>) -> Conn {
        let conn = self.accept().await;
        conn.report(true, services);
        conn
    }
}

/// The runner's half of the hello; the broker's facts, its nonce and ours.
pub(crate) async fn greet(socket: &mut Socket, name: &str, token: &str) -> (BrokerFacts, String, String) {
    let Some(Header::LinkHello(hello)) = receive(socket).await else { panic!("the broker says hello first") };
    let ours = hex::encode(uuid::Uuid::new_v4().as_bytes().repeat(2));
    let claim = RunnerClaim { broker_nonce: &hello.nonce, runner_nonce: &ours, runner_id: name };
    let proof = proof::runner_proof(&SecretString::from(token), claim).unwrap();
    let answer = LinkHello::runner("fake", &ours, name, name, proof);
    send(socket, &Header::LinkHello(answer)).await;
    let broker = BrokerFacts { store_id: hello.store_id.unwrap(), epoch: hello.epoch.unwrap() };
    (broker, hello.nonce, ours)
}

async fn send(socket: &mut Socket, header: &Header) {
    socket.send(Message::Binary(frame::encode(header, &[]).unwrap())).await.unwrap();
}

/// The next header of a connection that is not multiplexed yet; `None` when the broker hung up.
pub(crate) async fn receive(socket: &mut Socket) -> Option<Header> {
    loop {
        match timeout(SOON, socket.next()).await.expect("a frame comes soon")? {
            Ok(Message::Binary(bytes)) => return Some(frame::decode(bytes).unwrap().header),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

impl Conn {
    fn new(socket: Socket, broker: BrokerFacts) -> Self {
        let (outgoing, to_send) = unbounded();
        let (arrived, incoming) = unbounded();
        let pump = tokio::spawn(pump(socket, to_send, arrived));
        Self { broker, incoming: Mutex::new(incoming), outgoing, seq: AtomicU64::new(0), pump }
    }

    pub(crate) fn send(&self, header: Header, body: impl Into<Bytes>) {
        self.outgoing.send((header, body.into())).unwrap();
    }

    /// Says what is the case.
    pub(crate) fn report(&self, complete: bool, services: Vec<ServiceReport>) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        self.send(Header::Report(Report { seq, complete, services, tree: None }), Bytes::new());
    }

    /// Says what is the case, and how the runner's own tree looks.
    pub(crate) fn report_with_tree(&self, services: Vec<ServiceReport>, tree: Value) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let tree = Some(serde_json::value::to_raw_value(&tree).unwrap());
        self.send(Header::Report(Report { seq, complete: true, services, tree }), Bytes::new());
    }

    pub(crate) fn done(&self, cmd: u64, outcome: Outcome) {
        self.send(Header::Done { cmd, outcome }, Bytes::new());
    }

    /// What the broker sends next.
    pub(crate) async fn next(&self) -> Delivered {
        self.next_within(SOON).await.expect("the broker sends something soon")
    }

    /// What the broker sends in that time, if anything.
    pub(crate) async fn next_within(&self, within: std::time::Duration) -> Option<Delivered> {
        let mut incoming = self.incoming.lock().await;
        timeout(within, incoming.recv()).await.ok().map(|delivered| delivered.expect("the link is up"))
    }

    /// The next command, which must be a load; not answered yet.
    pub(crate) async fn load(&self) -> Load {
        match self.next().await.header {
            Header::Load { cmd, fence, spec } => Load { cmd, fence, spec: *spec },
            other => panic!("a load was due: {other:?}"),
        }
    }

    /// The next command, which must be an unload: its number and the deployment. Not answered yet.
    pub(crate) async fn unload(&self) -> (u64, String) {
        match self.next().await.header {
            Header::Unload { cmd, fence, .. } => (cmd, fence.deployment),
            other => panic!("an unload was due: {other:?}"),
        }
    }

    /// The next frame, which must be a call.
    pub(crate) async fn call(&self) -> (CallHeader, Value) {
        let Delivered { header, body } = self.next().await;
        match header {
            Header::Call(call) => (call, serde_json::from_slice(&body).unwrap()),
            other => panic!("a call was due: {other:?}"),
        }
    }

    /// Answers a call with a text.
    pub(crate) fn reply(&self, id: u64, text: &str) {
        let result = json!({ "content": [{ "type": "text", "text": text }] });
        self.send(Header::Reply { id, outcome: ReplyOutcome::Result, attempts: 1 }, result.to_string());
    }

    /// Answers a call that its server did not answer.
    pub(crate) fn fail(&self, id: u64, code: FailCode) {
        let outcome = ReplyOutcome::Failed { code, message: "as the test says".to_owned() };
        self.send(Header::Reply { id, outcome, attempts: 1 }, Bytes::new());
    }

    /// Accepts the next load and says that the deployment runs with these tools; its id.
    pub(crate) async fn bring_up(&self, tools: Vec<Tool>) -> String {
        let Load { cmd, spec, .. } = self.load().await;
        self.done(cmd, Outcome::Ok);
        let mut up = report(&spec.service, &spec.deployment, ServiceState::Running);
        up.tools = Some(tools);
        self.report(false, vec![up]);
        spec.deployment
    }

    /// Cuts the connection.
    pub(crate) fn cut(self) {
        self.pump.abort();
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test sends what it sends, and never waits to say so")]
fn unbounded<T>() -> (mpsc::UnboundedSender<T>, mpsc::UnboundedReceiver<T>) {
    mpsc::unbounded_channel()
}

async fn pump(
    mut socket: Socket,
    mut to_send: mpsc::UnboundedReceiver<(Header, Bytes)>,
    arrived: mpsc::UnboundedSender<Delivered>,
) {
    let mut mux = Mux::new();
    loop {
        while let Some(frame) = mux.outbox.next() {
            if socket.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            Some((header, body)) = to_send.recv(), if mux.outbox.queued_bytes() < MAX_BODY_BYTES => mux.outbox.push(&header, body).unwrap(),
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(delivered) = mux.receive(bytes).unwrap() {
                        let _ = arrived.send(delivered);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
}

/// What a runner says of a deployment of `service`.
pub(crate) fn report(service: &str, deployment: &str, state: ServiceState) -> ServiceReport {
    ServiceReport {
        mesh: MESH.to_owned(),
        service: service.to_owned(),
        deployment: deployment.to_owned(),
        state,
        since_ms: 1,
        cause: "as the test says".to_owned(),
        restarts_window: 0,
        restarts_total: 0,
        version: None,
        runtime: None,
        tools: None,
        failure: None,
        instances: Vec::new(),
        waiting: 0,
        in_flight: 0,
        progress: None,
    }
}

/// A tool, with its hints.
pub(crate) fn tool(name: &str, annotations: Value) -> Tool {
    let listed = json!({ "name": name, "inputSchema": { "type": "object" }, "annotations": annotations });
    serde_json::from_value(listed).unwrap()
}
