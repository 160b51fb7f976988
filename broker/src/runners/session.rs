//! One connection to a runner, from dialling to its end.
//!
//! The life of a `link:<runner>` child: it is ready when the handshake is done and the first complete
//! report is on the board, and it ends with the reason when the connection does; its supervisor dials
//! again after a back-off.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::identity::X25519Public;
use protocol::link::frame;
use protocol::link::proof::{self, BrokerClaim, RunnerClaim};
use protocol::link::{Header, LinkHello, MAX_FRAME_BYTES, RefuseCode, Report};
use supervision::{ExitReason, Life, NodeView};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};

use super::link::Link;
use super::spec::Dialler;
use super::table::CommandReply;
use crate::config::RunnerUrl;

/// Longest wait for the connection and for each step of the handshake.
const HANDSHAKE_STEP: Duration = Duration::from_secs(5);
/// How often a socket that is not there yet is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Room that is made for a read. The codec zeroes what is left of it at each.
const READ_BYTES: usize = 32 * 1024;
/// How often the runner is pinged.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often overdue calls are looked for.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// A runner that takes no frame for so long is given up, however much it says itself.
const WRITE_WITHIN: Duration = Duration::from_secs(15);
/// A runner that was silent for so long, pongs included, is given up.
const SILENCE: Duration = Duration::from_secs(15);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}
type Socket = WebSocketStream<Box<dyn Wire>>;

/// Dials, speaks and returns why it ended.
pub(super) async fn run(link: Link, dialler: Dialler, life: Life) -> ExitReason {
    let connected = tokio::select! {
        connected = connect(&link, &dialler, &life) => connected,
        () = life.stopping() => return ExitReason::Shutdown,
    };
    let socket = match connected {
        Ok(socket) => socket,
        Err(reason) => return ExitReason::Error(reason),
    };
    // Whatever ends this task, the calls in flight learn it.
    let _hang_up = HangUp { link: &link, life: &life };
    let (sink, stream) = socket.split();
    tokio::select! {
        ended = read(&link, &life, stream) => ended,
        ended = write(&link, sink) => ended,
        never = sweep(&link) => match never {},
        () = life.stopping() => ExitReason::Shutdown,
    }
}

struct HangUp<'a> {
    link: &'a Link,
    life: &'a Life,
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.link.disconnected();
        out_of_sight(self.life);
    }
}

async fn connect(link: &Link, dialler: &Dialler, life: &Life) -> Result<Socket, String> {
    let stream = step("connecting", dial(&dialler.address)).await?.map_err(|error| error.to_string())?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let upgrade = tokio_tungstenite::client_async_with_config("ws://runner/link", stream, Some(config));
    let (mut socket, _) = step("the upgrade", upgrade).await?.map_err(|error| error.to_string())?;
    let runner = step("the handshake", shake_hands(&mut socket, dialler)).await??;
    life.fact("build", runner.build.clone());
    life.fact("pid", runner.pid);
    life.fact("runner_id", runner.runner_id.clone());
    let runner_id = runner.runner_id.unwrap_or_default();
    link.connected(dialler.store_id.clone(), dialler.epoch, runner_id);
    Ok(socket)
}

async fn step<T>(what: &str, work: impl Future<Output = T>) -> Result<T, String> {
    timeout(HANDSHAKE_STEP, work).await.map_err(|_| format!("{what} took longer than {HANDSHAKE_STEP:?}"))
}

async fn dial(address: &RunnerUrl) -> std::io::Result<Box<dyn Wire>> {
    Ok(match address {
        RunnerUrl::Unix(path) => Box::new(appearing(path).await?),
        RunnerUrl::Ws { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}

/// Connects to a socket on this machine; waits for one that is not there yet, since its runner may be starting. The
/// caller sets the limit.
async fn appearing(path: &Path) -> std::io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                sleep(LOOK_EVERY).await;
            }
            connected => return connected,
        }
    }
}

async fn shake_hands(socket: &mut Socket, dialler: &Dialler) -> Result<LinkHello, String> {
    let nonce = super::spec::nonce();
    let hello = LinkHello::broker(&dialler.build, &nonce, &dialler.store_id, dialler.epoch);
    send(socket, &Header::LinkHello(hello)).await?;
    let runner = match receive(socket).await? {
        Header::LinkHello(hello) => hello,
        Header::LinkRefused { code, message } => return Err(refused(code, &message)),
        other => return Err(format!("expected link_hello, got {other:?}")),
    };
    let (Some(id), Some(claim)) = (runner.runner_id.as_deref(), runner.proof.as_deref()) else {
        return Err("the runner's link_hello lacks its id or its proof".to_owned());
    };
    let claim_of = RunnerClaim { broker_nonce: &nonce, runner_nonce: &runner.nonce, runner_id: id };
    if proof::verify_runner(&dialler.token, claim_of, claim).is_err() {
        return Err("the runner does not know this broker's token (RUNNER_TOKEN)".to_owned());
    }
    let ours = BrokerClaim {
        runner_nonce: &runner.nonce,
        broker_nonce: &nonce,
        store_id: &dialler.store_id,
        epoch: dialler.epoch,
    };
    let proof = proof::broker_proof(&dialler.token, ours).map_err(|error| error.to_string())?;
    send(socket, &Header::LinkProof { proof }).await?;
    if !runner.same_major() {
        // `stop_all` is understood by every version: an orderly end, then the runner can be replaced.
        send(socket, &Header::StopAll { cmd: 0 }).await?;
        return Err(format!("the runner speaks link version {}, it was asked to stop", runner.major));
    }
    Ok(runner)
}

fn refused(code: RefuseCode, message: &str) -> String {
    let code = match code {
        RefuseCode::BadProof => "bad_proof",
        RefuseCode::Fenced => "fenced",
        RefuseCode::Major => "major",
    };
    format!("the runner refused the link ({code}): {message}")
}

async fn send(socket: &mut Socket, header: &Header) -> Result<(), String> {
    let frame = frame::encode(header, &[]).map_err(|error| error.to_string())?;
    socket.send(Message::Binary(frame)).await.map_err(|error| error.to_string())
}

async fn receive(socket: &mut Socket) -> Result<Header, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                let frame = frame::decode(bytes).map_err(|error| format!("the runner's frame: {error}"))?;
                return Ok(frame.header);
            }
            Some(Ok(Message::Close(_))) | None => return Err("the runner hung up".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}

async fn write(link: &Link, mut sink: SplitSink<Socket, Message>) -> ExitReason {
    let mut tick = interval(PING_EVERY);
    loop {
        let sent = tokio::select! {
            () = link.outgoing() => flush(link, &mut sink).await,
            _ = tick.tick() => in_time(sink.send(Message::Ping(bytes::Bytes::new()))).await,
        };
        if let Err(error) = sent {
            return ExitReason::Error(format!("writing to the runner: {error}"));
        }
    }
}

async fn flush(link: &Link, sink: &mut SplitSink<Socket, Message>) -> Result<(), String> {
    while let Some(frame) = link.next_frame() {
        link.meter().sent(frame.len());
        in_time(sink.feed(Message::Binary(frame))).await?;
    }
    in_time(sink.flush()).await
}

async fn in_time(sent: impl Future<Output = Result<(), tungstenite::Error>>) -> Result<(), String> {
    match timeout(WRITE_WITHIN, sent).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it took nothing for {WRITE_WITHIN:?}")),
    }
}

/// Apart from the writer, which may have to wait for a runner that reads slowly.
async fn sweep(link: &Link) -> Infallible {
    let mut tick = interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        link.sweep();
    }
}

async fn read(link: &Link, life: &Life, mut stream: SplitStream<Socket>) -> ExitReason {
    let mut heard = Instant::now();
    loop {
        let message = match timeout(SILENCE.saturating_sub(heard.elapsed()), stream.next()).await {
            Err(_) => return ExitReason::Error(format!("the runner was silent for {SILENCE:?}")),
            Ok(None | Some(Ok(Message::Close(_)))) => {
                return ExitReason::Error("the runner hung up".to_owned());
            }
            Ok(Some(Err(error))) => {
                return ExitReason::Error(format!("reading from the runner: {error}"));
            }
            Ok(Some(Ok(message))) => message,
        };
        heard = Instant::now();
        link.heard(now_ms());
        if let Message::Binary(bytes) = message
            && let Err(reason) = take(link, life, bytes)
        {
            return ExitReason::Error(reason);
        }
    }
}

fn take(link: &Link, life: &Life, bytes: bytes::Bytes) -> Result<(), String> {
    link.meter().received(bytes.len());
    let received = link.receive(bytes).map_err(|error| format!("a frame of the runner is wrong: {error}"))?;
    let Some(delivered) = received else {
        return Ok(());
    };
    match delivered.header {
        Header::Reply { id, outcome, attempts } => link.answered(id, outcome, delivered.body, attempts),
        Header::RunnerKey { pubkey } => link.told_key(box_key(&pubkey)?),
        Header::Report(report) => reported(link, life, report),
        Header::Done { cmd, outcome } => link.done(cmd, CommandReply::Done(outcome)),
        Header::LogsResult { cmd, lines, lost } => link.done(cmd, CommandReply::Logs { lines, lost }),
        Header::Progress { id } => link.progress(id, delivered.body),
        Header::Notify { mesh, service, method } => tracing::debug!(mesh, service, method, "a notification"),
        other => return Err(format!("a runner does not send this: {other:?}")),
    }
    Ok(())
}

fn box_key(hex_digits: &str) -> Result<X25519Public, String> {
    let mut bytes = [0; 32];
    let decoded = hex::decode_to_slice(hex_digits, &mut bytes).ok();
    let key = decoded.and_then(|()| X25519Public::from_bytes(bytes).ok());
    key.ok_or_else(|| "the runner's key is none".to_owned())
}

fn reported(link: &Link, life: &Life, mut report: Report) {
    let tree = report.tree.take();
    let complete = report.complete;
    if let Some(tree) = tree {
        match serde_json::from_str::<Vec<NodeView>>(tree.get()) {
            // The runner's root is the link's node here: its children stand below it.
            Ok(roots) => {
                let parts = roots.into_iter().flat_map(|root| root.children).collect();
                life.registry().graft(life.path(), parts);
            }
            Err(error) => {
                tracing::warn!(runner = link.name(), %error, "the runner's tree could not be read")
            }
        }
    }
    link.reported(report);
    if complete {
        life.ready();
    }
}

/// The runner's nodes stay visible, as what they are: out of sight.
fn out_of_sight(life: &Life) {
    fn fade(node: &mut NodeView, above: &str) {
        "unreachable".clone_into(&mut node.state);
        if let Some(relative) = node.id.strip_prefix(above) {
            node.id = relative.to_owned();
        }
        node.children.iter_mut().for_each(|child| fade(child, above));
    }
    let above = format!("{}/", life.path().as_str());
    // A link has no children of its own: what stands below it was grafted.
    if let Some(mut link) = life.registry().view(life.path().as_str(), usize::MAX) {
        link.children.iter_mut().for_each(|node| fade(node, &above));
        life.registry().graft(life.path(), link.children);
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
