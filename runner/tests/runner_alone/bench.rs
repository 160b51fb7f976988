//! The runner's process, and a broker of a few lines.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::SecretString;
use protocol::identity::X25519Public;
use protocol::link::mux::Mux;
use protocol::link::proof::{self, BrokerClaim, RunnerClaim};
use protocol::link::{
    CallHeader, FailCode, Fence, Header, LinkHello, LogLine, Outcome, Policy, RefuseCode, ReplyOutcome, RetryKind,
    ServiceReport, ServiceSpec, ServiceState, Source, frame,
};
use runner::process::Level;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::levels::HINT;

pub(super) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For what takes milliseconds unless it is broken.
pub(super) const SOON: Duration = Duration::from_secs(40);
pub(super) const MESH: &str = "default";

/// A runner's process on a data directory of its own.
pub(super) struct Runner {
    pub(super) dir: TempDir,
    pub(super) child: Child,
    /// The level that was forced, if one was: what every process must be shown at.
    level: Option<Level>,
}

impl Runner {
    pub(super) async fn start(settings: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    /// One that is forced to this level. Its brokers fail their test if a process is told at another.
    pub(super) async fn at(level: Level, settings: &[&str]) -> Self {
        let forced = format!("level={level}");
        let settings: Vec<&str> = settings.iter().copied().chain([forced.as_str()]).collect();
        Self { level: Some(level), ..Self::start(&settings).await }
    }

    pub(super) async fn start_in(dir: TempDir, settings: &[&str]) -> Self {
        // Before there is a link: one that is silent while the fixture is built would be given up.
        fixture();
        // Of an earlier life that was killed.
        drop(std::fs::remove_file(dir.path().join("runner.json")));
        let child = command(dir.path(), settings).stderr(Stdio::inherit()).spawn().unwrap();
        let mut runner = Self { dir, child, level: None };
        timeout(SOON, async {
            while !runner.dir.path().join("runner.json").exists() {
                assert!(runner.child.try_wait().unwrap().is_none(), "the runner ended at its start");
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the runner did not start");
        runner
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("runner.sock")
    }

    pub(super) async fn broker(&self, epoch: u64) -> Broker {
        let mut broker = Broker::connect(&self.socket(), TOKEN, "store", epoch).await.unwrap();
        broker.level = self.level;
        broker.services.values().for_each(|service| broker.check_level(service));
        broker
    }

    pub(super) fn signal(&self, signal: nix::sys::signal::Signal) {
        send_signal(self.child.id().unwrap(), signal);
    }

    /// The exit code, once it ended.
    pub(super) async fn ended(&mut self) -> Option<i32> {
        let status = timeout(SOON, self.child.wait()).await.expect("the runner did not end").unwrap();
        status.code()
    }
}

pub(super) fn send_signal(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
}

/// A runner, as a command.
pub(super) fn command(dir: &Path, settings: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(super::alone::WORD).arg(dir).arg(TOKEN).args(settings).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The fixture server as its source is now: built once per process, since one that lies there may be an older one.
pub(super) fn fixture() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().unwrap().parent().unwrap();
        // The folder of every profile but this one is called like it.
        let profile = folder.file_name().unwrap().to_str().map(|name| if name == "debug" { "dev" } else { name });
        let package = ["build", "-p", "tests", "--bin", "fixture-mcp", "--profile", profile.unwrap()];
        let built = std::process::Command::new(env!("CARGO")).args(package).status().unwrap();
        assert!(built.success(), "the fixture server cannot be built");
        folder.join("fixture-mcp")
    });
    built.clone()
}

/// A specification of the fixture with these flags.
pub(super) fn spec(service: &str, flags: &[&str]) -> ServiceSpec {
    ServiceSpec {
        mesh: MESH.to_owned(),
        mesh_id: None,
        service: service.to_owned(),
        deployment: format!("0190aaaa-{service}"),
        source: Source::Command { argv: vec![fixture().to_str().unwrap().to_owned()] },
        version: None,
        runtime: None,
        args: flags.iter().map(|&flag| flag.to_owned()).collect(),
        env: BTreeMap::new(),
        sealed: None,
        limits: protocol::link::Limits::default(),
        policy: Policy { stop_timeout_ms: 1_000, ..Policy::default() },
    }
}

type Socket = WebSocketStream<UnixStream>;
pub(super) type Reply = (ReplyOutcome, Bytes, u8);

/// Why a runner did not take us.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Option<RefuseCode>);

/// What a broker knows of its runner.
pub(super) struct Broker {
    socket: Socket,
    mux: Mux,
    pub(super) hello: LinkHello,
    /// What its boxes are sealed for.
    pub(super) box_key: Option<X25519Public>,
    store: String,
    epoch: u64,
    last: u64,
    pub(super) services: HashMap<String, ServiceReport>,
    /// Every state that was reported, by service.
    pub(super) states: HashMap<String, Vec<ServiceState>>,
    pub(super) tree: Option<Value>,
    replies: HashMap<u64, Reply>,
    /// What was said of calls' progress before they were answered.
    pub(super) progress: HashMap<u64, Vec<Value>>,
    done: HashMap<u64, Outcome>,
    logs: HashMap<u64, Vec<LogLine>>,
    /// Pieces of large bodies that came.
    pub(super) pieces: usize,
    /// Whether credit is kept back, so that no large body can come to its end.
    pub(super) keeps_credit: bool,
    credit: Vec<Bytes>,
    pub(super) is_complete: bool,
    /// The level that its runner was forced to, if it was.
    level: Option<Level>,
}

impl Broker {
    pub(super) async fn connect(socket: &Path, token: &str, store: &str, epoch: u64) -> Result<Self, Refused> {
        let (mut socket, hello) = introduce(socket, token, LinkHello::broker("test", NONCE, store, epoch)).await;
        let first = receive(&mut socket).await;
        let mut broker = Self {
            socket,
            mux: Mux::new(),
            hello,
            box_key: None,
            store: store.to_owned(),
            epoch,
            last: 0,
            services: HashMap::new(),
            states: HashMap::new(),
            tree: None,
            replies: HashMap::new(),
            progress: HashMap::new(),
            done: HashMap::new(),
            logs: HashMap::new(),
            pieces: 0,
            keeps_credit: false,
            credit: Vec::new(),
            is_complete: false,
            level: None,
        };
        match first {
            Some(frame) => match frame::decode(frame.clone()).unwrap().header {
                Header::LinkRefused { code, .. } => Err(Refused(Some(code))),
                _ => {
                    broker.take(frame);
                    // Its key comes ahead of the report that says all.
                    while !broker.is_complete {
                        let Some(frame) = receive(&mut broker.socket).await else { return Err(Refused(None)) };
                        broker.take(frame);
                    }
                    Ok(broker)
                }
            },
            None => Err(Refused(None)),
        }
    }

    fn take(&mut self, message: Bytes) {
        self.pieces += usize::from(is_piece(&message));
        let Some(delivered) = self.mux.receive(message).unwrap() else { return };
        match delivered.header {
            Header::Report(report) => {
                self.is_complete |= report.complete;
                if let Some(tree) = report.tree {
                    self.tree = Some(serde_json::from_str(tree.get()).unwrap());
                }
                for mut service in report.services {
                    let states = self.states.entry(service.service.clone()).or_default();
                    if states.last() != Some(&service.state) {
                        states.push(service.state);
                    }
                    if let Some(last) = self.services.get(&service.deployment) {
                        service.tools = service.tools.or_else(|| last.tools.clone());
                    }
                    self.check_level(&service);
                    self.services.insert(service.deployment.clone(), service);
                }
            }
            Header::Reply { id, outcome, attempts } => {
                let twice = self.replies.insert(id, (outcome, delivered.body, attempts));
                assert!(twice.is_none(), "call {id} was answered twice");
            }
            Header::Progress { id } => {
                assert!(!self.replies.contains_key(&id), "progress of call {id} after its answer");
                self.progress.entry(id).or_default().push(serde_json::from_slice(&delivered.body).unwrap());
            }
            Header::Done { cmd, outcome } => drop(self.done.insert(cmd, outcome)),
            Header::LogsResult { cmd, lines, .. } => drop(self.logs.insert(cmd, lines)),
            Header::RunnerKey { pubkey } => {
                let bytes = hex::decode(pubkey).unwrap();
                let key = X25519Public::from_bytes(bytes.try_into().unwrap()).unwrap();
                assert!(self.box_key.replace(key).is_none(), "the key is told once");
            }
            other => panic!("a runner does not send {other:?}"),
        }
    }

    fn check_level(&self, service: &ServiceReport) {
        let Some(forced) = self.level else { return };
        for process in service.instances.iter().filter(|instance| instance.pid.is_some()) {
            assert_eq!(process.level.as_deref(), Some(forced.as_str()), "{process:?}: {HINT}");
        }
    }

    /// Receives until the question has an answer.
    pub(super) async fn until<T>(&mut self, what: &str, question: impl FnMut(&Self) -> Option<T>) -> T {
        self.until_within(SOON, what, question).await
    }

    /// The same for what may take as long as `limit`.
    pub(super) async fn until_within<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut question: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let answered = timeout(limit, async {
            loop {
                if let Some(answer) = question(self) {
                    return answer;
                }
                self.send_queued().await;
                let message = receive(&mut self.socket).await.unwrap_or_else(|| panic!("link lost: {what}"));
                self.take(message);
            }
        })
        .await;
        answered.unwrap_or_else(|_| {
            let tree = serde_json::to_string_pretty(&self.tree).unwrap();
            let causes: Vec<_> = self.services.values().map(|report| (&report.service, &report.cause)).collect();
            panic!("not in time: {what}; {:?}; {causes:?}; {tree}", self.states)
        })
    }

    pub(super) async fn send(&mut self, header: &Header, body: Bytes) {
        self.mux.outbox.push(header, body).unwrap();
        self.send_queued().await;
    }

    async fn send_queued(&mut self) {
        if !self.keeps_credit {
            for message in std::mem::take(&mut self.credit) {
                self.socket.send(Message::Binary(message)).await.unwrap();
            }
        }
        while let Some(message) = self.mux.outbox.next() {
            if self.keeps_credit && matches!(header(&message), Header::Credit { .. }) {
                self.credit.push(message);
            } else {
                self.socket.send(Message::Binary(message)).await.unwrap();
            }
        }
    }

    /// Whether the answer is here, all of it.
    pub(super) fn has_reply(&self, id: u64) -> bool {
        self.replies.contains_key(&id)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(super) fn fence(&self, deployment: &str) -> Fence {
        Fence { store: self.store.clone(), epoch: self.epoch, deployment: deployment.to_owned() }
    }

    async fn command(&mut self, make: impl FnOnce(u64, &Self) -> Header) -> Outcome {
        let cmd = self.number();
        let header = make(cmd, self);
        self.send(&header, Bytes::new()).await;
        self.until("the command's end", |broker| broker.done.get(&cmd).cloned()).await
    }

    pub(super) async fn load(&mut self, spec: &ServiceSpec) -> Outcome {
        let spec = Box::new(spec.clone());
        self.command(|cmd, broker| Header::Load { cmd, fence: broker.fence(&spec.deployment), spec }).await
    }

    pub(super) async fn unload(&mut self, spec: &ServiceSpec) -> Outcome {
        let (mesh, service) = (spec.mesh.clone(), spec.service.clone());
        self.command(|cmd, broker| Header::Unload { cmd, fence: broker.fence(&spec.deployment), mesh, service }).await
    }

    pub(super) async fn restart(&mut self, spec: &ServiceSpec) -> Outcome {
        let (mesh, service) = (spec.mesh.clone(), spec.service.clone());
        self.command(|cmd, broker| Header::Restart { cmd, fence: broker.fence(&spec.deployment), mesh, service }).await
    }

    pub(super) async fn stop_all(&mut self) -> Outcome {
        self.command(|cmd, _| Header::StopAll { cmd }).await
    }

    pub(super) async fn logs(&mut self, service: &str) -> Vec<String> {
        self.logs_in(MESH, service).await
    }

    pub(super) async fn logs_in(&mut self, mesh: &str, service: &str) -> Vec<String> {
        let cmd = self.number();
        let header =
            Header::Logs { cmd, mesh: mesh.to_owned(), service: service.to_owned(), lines: 1_000, after: None };
        self.send(&header, Bytes::new()).await;
        let lines = self.until("the log", |broker| broker.logs.get(&cmd).cloned()).await;
        lines.into_iter().map(|line| line.text).collect()
    }

    /// Loads it and waits until it runs.
    pub(super) async fn run(&mut self, spec: &ServiceSpec) {
        assert_eq!(self.load(spec).await, Outcome::Ok);
        self.in_state(spec, ServiceState::Running).await;
    }

    pub(super) async fn in_state(&mut self, spec: &ServiceSpec, state: ServiceState) -> ServiceReport {
        let of = |broker: &Self| broker.services.get(&spec.deployment).filter(|report| report.state == state).cloned();
        self.until(&format!("{} {state}", spec.service), of).await
    }

    /// The service runs a process with another pid than this one.
    pub(super) async fn in_another_process(&mut self, spec: &ServiceSpec, than: u32) -> u32 {
        self.until("another process", |broker| {
            let report = broker.services.get(&spec.deployment)?;
            let pid = report.instances.first()?.pid?;
            (report.state == ServiceState::Running && pid != than).then_some(pid)
        })
        .await
    }

    pub(super) fn pid(&self, spec: &ServiceSpec) -> u32 {
        self.services[&spec.deployment].instances[0].pid.unwrap()
    }

    /// Calls a tool and does not wait.
    pub(super) async fn ask(&mut self, spec: &ServiceSpec, tool: &str, arguments: Value) -> u64 {
        let params = serde_json::json!({ "name": tool, "arguments": arguments });
        self.request(spec, "tools/call", Bytes::from(params.to_string())).await
    }

    /// The same with more to say about the call.
    pub(super) async fn ask_as(
        &mut self,
        spec: &ServiceSpec,
        tool: &str,
        arguments: Value,
        change: impl FnOnce(&mut CallHeader),
    ) -> u64 {
        let params = serde_json::json!({ "name": tool, "arguments": arguments });
        self.request_as(spec, "tools/call", Bytes::from(params.to_string()), change).await
    }

    async fn request(&mut self, spec: &ServiceSpec, method: &str, params: Bytes) -> u64 {
        self.request_as(spec, method, params, |_| ()).await
    }

    async fn request_as(
        &mut self,
        spec: &ServiceSpec,
        method: &str,
        params: Bytes,
        change: impl FnOnce(&mut CallHeader),
    ) -> u64 {
        let id = self.number();
        let mut call = CallHeader {
            id,
            mesh: spec.mesh.clone(),
            service: spec.service.clone(),
            deployment: spec.deployment.clone(),
            affinity: None,
            method: method.to_owned(),
            timeout_ms: 60_000,
            retry: RetryKind::Auto,
            attempts_before: 0,
            whole_time: false,
            progress: false,
        };
        change(&mut call);
        self.send(&Header::Call(call), params).await;
        id
    }

    /// The pids of its instances, in their order, once all of them run.
    pub(super) async fn pids(&mut self, spec: &ServiceSpec) -> Vec<u32> {
        let count = usize::try_from(spec.policy.instances).unwrap();
        self.until("all instances", |broker| {
            let instances = &broker.services.get(&spec.deployment)?.instances;
            let all = instances.iter().filter(|one| one.state == "running").filter_map(|one| one.pid);
            Some(all.collect::<Vec<_>>()).filter(|pids| pids.len() == count)
        })
        .await
    }

    /// Returns when the server has read everything that it was asked before.
    pub(super) async fn caught_up(&mut self, spec: &ServiceSpec) {
        let id = self.request(spec, "ping", Bytes::new()).await;
        assert_eq!(self.reply(id).await.0, ReplyOutcome::Result);
    }

    pub(super) async fn reply(&mut self, id: u64) -> Reply {
        self.until("the reply", |broker| broker.replies.get(&id).cloned()).await
    }

    pub(super) async fn call(&mut self, spec: &ServiceSpec, tool: &str, arguments: Value) -> Reply {
        let id = self.ask(spec, tool, arguments).await;
        self.reply(id).await
    }

    /// The text of a call that has a result.
    pub(super) async fn text(&mut self, spec: &ServiceSpec, tool: &str, arguments: Value) -> String {
        let (outcome, body, _) = self.call(spec, tool, arguments).await;
        assert_eq!(outcome, ReplyOutcome::Result, "{}", String::from_utf8_lossy(&body));
        let result: Value = serde_json::from_slice(&body).unwrap();
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}

fn header(message: &Bytes) -> Header {
    frame::decode(message.clone()).unwrap().header
}

fn is_piece(message: &Bytes) -> bool {
    matches!(header(message), Header::Chunk { .. })
}

pub(super) fn failed(reply: &Reply) -> (FailCode, &str) {
    match &reply.0 {
        ReplyOutcome::Failed { code, message } => (*code, message),
        other => panic!("not failed: {other:?} {}", String::from_utf8_lossy(&reply.1)),
    }
}

pub(super) const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Hello, hello, proof, whatever comes of it.
pub(super) async fn introduce(path: &Path, token: &str, ours: LinkHello) -> (Socket, LinkHello) {
    let stream = UnixStream::connect(path).await.unwrap();
    let (mut socket, _) = client_async("ws://runner/link", stream).await.unwrap();
    send(&mut socket, &Header::LinkHello(ours.clone())).await;
    let answer = frame::decode(receive(&mut socket).await.unwrap()).unwrap().header;
    let Header::LinkHello(hello) = answer else { panic!("no hello: {answer:?}") };
    let claim = RunnerClaim {
        broker_nonce: &ours.nonce,
        runner_nonce: &hello.nonce,
        runner_id: hello.runner_id.as_deref().unwrap(),
    };
    if token == TOKEN {
        proof::verify_runner(&SecretString::new(token.to_owned()), claim, hello.proof.as_deref().unwrap()).unwrap();
    }
    let claim = BrokerClaim {
        runner_nonce: &hello.nonce,
        broker_nonce: &ours.nonce,
        store_id: ours.store_id.as_deref().unwrap(),
        epoch: ours.epoch.unwrap(),
    };
    let proof = proof::broker_proof(&SecretString::new(token.to_owned()), claim).unwrap();
    send(&mut socket, &Header::LinkProof { proof }).await;
    (socket, hello)
}

pub(super) async fn send(socket: &mut Socket, header: &Header) {
    socket.send(Message::Binary(frame::encode(header, &[]).unwrap())).await.unwrap();
}

/// The next binary message; `None` at the end.
pub(super) async fn receive(socket: &mut Socket) -> Option<Bytes> {
    loop {
        match timeout(SOON, socket.next()).await.expect("the runner is mute")? {
            Ok(Message::Binary(bytes)) => return Some(bytes),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// Waits until no process has this token among its arguments.
pub(super) async fn nothing_left_of(token: &str) {
    let gone = timeout(SOON, async {
        while !processes_with(token).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(gone.await.is_ok(), "left: {:?}", processes_with(token));
}

/// Pids whose arguments hold this token.
pub(super) fn processes_with(token: &str) -> Vec<u32> {
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == token.as_bytes())
    };
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}
