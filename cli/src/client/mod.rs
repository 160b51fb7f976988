//! The connection to a broker.
//!
//! Contract: [`Client::connect`] returns once the broker has accepted the hello. A request's answers are matched by
//! `_reqId`; what nobody asked for comes out of [`Client::next_push`]. Every wait has a limit, and a limit that is reached
//! is an error that says so. One task owns the socket; it ends with the client, or when the broker is gone.

mod backoff;
mod driver;
mod error;
mod frame;
mod hello;
mod keys;
mod mesh;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use backoff::Backoff;
pub(crate) use driver::Pushes;
pub(crate) use error::ClientError;
use error::seconds;
pub(crate) use frame::Frame;
pub(crate) use hello::{Appearance, SessionName};
pub(crate) use mesh::{ANSWER_TIMEOUT, Mesh, Trusted, is_lost};

use protocol::identity::MemberKey;
use serde::Serialize;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::profile::Membership;
use crate::text;
use crate::wire::Request;

/// The refusal of a hello that was seen before.
const REPLAYED: &str = "replayed";

/// How long connecting may take, the WebSocket handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the broker may think about a hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a hello is signed anew when another command of the same session said the same in the same millisecond.
const HELLO_TRIES: u32 = 3;

/// How long saying goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Larger messages than this are not read: the largest result a broker passes on, and its envelope.
const MAX_MESSAGE_BYTES: usize = 65 * 1024 * 1024;

/// Requests on their way to the socket.
const REQUESTS_QUEUED: usize = 16;

/// Answers to one request that were not looked at yet. A reader that does not keep up slows the socket down.
const REPLIES_QUEUED: usize = 64;

/// Pushes that were not looked at yet; as many messages as a broker sends before it wants to hear of them.
const PUSHES_QUEUED: usize = 256;

/// A message with its `type` and its `_reqId`.
#[derive(Serialize)]
struct Envelope<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(flatten)]
    body: &'a T,
}

impl<T: Serialize> Envelope<'_, T> {
    fn write(&self) -> Result<String, ClientError> {
        serde_json::to_string(self).map_err(|error| ClientError::Request(error.to_string()))
    }
}

/// What of the answer to hello is looked at here.
#[derive(serde::Deserialize)]
struct Welcome {
    #[serde(default)]
    capabilities: Vec<String>,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    outgoing: mpsc::Sender<driver::Outgoing>,
    pushes: mpsc::Receiver<Frame>,
    driver: JoinHandle<()>,
    last_id: AtomicU64,
    welcome: Frame,
}

impl Client {
    /// Connects and says hello.
    pub(crate) async fn connect(
        membership: &Membership,
        key: &MemberKey,
        session: &SessionName,
        appearance: &Appearance,
        mode: Pushes,
    ) -> Result<Self, CliError> {
        let endpoint = Endpoint::parse(&membership.mesh.broker_url)?;
        for _ in 1..HELLO_TRIES {
            let hello = hello::compose(membership, key, session, appearance)?;
            match Self::dial(&endpoint, hello, mode).await {
                Err(ClientError::Refused { code, .. }) if code == REPLAYED => {}
                other => return Ok(other?),
            }
        }
        Ok(Self::dial(&endpoint, hello::compose(membership, key, session, appearance)?, mode).await?)
    }

    async fn dial(endpoint: &Endpoint, hello: String, mode: Pushes) -> Result<Self, ClientError> {
        match endpoint {
            Endpoint::Tcp { host, port, .. } => {
                let dial = async {
                    let stream = TcpStream::connect((host.as_str(), *port)).await?;
                    // Frames are small, and each waits for an answer.
                    stream.set_nodelay(true)?;
                    Ok(stream)
                };
                Self::start(open(endpoint, dial).await?, hello, mode).await
            }
            Endpoint::Unix { path } => Self::start(open(endpoint, UnixStream::connect(path)).await?, hello, mode).await,
        }
    }

    /// Says hello, then hands the socket to its task.
    async fn start<S: driver::Transport>(
        mut socket: driver::Socket<S>,
        hello: String,
        mode: Pushes,
    ) -> Result<Self, ClientError> {
        let welcome = timeout(HELLO_TIMEOUT, hello::exchange(&mut socket, hello))
            .await
            .unwrap_or(Err(ClientError::TimedOut { what: "hello", after: HELLO_TIMEOUT }))?;
        let (outgoing, requests) = mpsc::channel(REQUESTS_QUEUED);
        let (push, pushes) = mpsc::channel(PUSHES_QUEUED);
        let driver = tokio::spawn(driver::run(socket, requests, push, mode));
        Ok(Self { outgoing, pushes, driver, last_id: AtomicU64::new(0), welcome })
    }

    /// Whether the broker says that it understands an addition. An answer that cannot be read says that it does not.
    pub(crate) fn can(&self, capability: &str) -> bool {
        let welcome = self.welcome().read::<Welcome>();
        welcome.is_ok_and(|welcome| welcome.capabilities.iter().any(|known| known == capability))
    }

    /// Sends a request whose answers are taken one by one.
    pub(crate) async fn start_request<R: Request>(&self, request: &R) -> Result<Replies<R>, ClientError> {
        let id = format!("r{}", self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let text = Envelope { kind: R::TYPE, request_id: Some(&id), body: request }.write()?;
        let (reply_to, answers) = mpsc::channel(REPLIES_QUEUED);
        let outgoing = driver::Outgoing { text, awaiting: Some((id, reply_to)) };
        // A driver that is gone has dropped the queue; the reason reaches whoever waits for the answer.
        let _ = self.outgoing.send(outgoing).await;
        Ok(Replies { answers, request: std::marker::PhantomData })
    }

    /// Sends a request that has one answer, and waits for it.
    pub(crate) async fn request<R: Request>(&self, request: &R, limit: Duration) -> Result<R::Reply, ClientError> {
        let deadline = Deadline::after(limit);
        self.start_request(request).await?.next(deadline).await
    }

    /// Sends a message that has no answer.
    pub(crate) async fn tell(&self, kind: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let text = Envelope { kind, request_id: None, body }.write()?;
        let outgoing = driver::Outgoing { text, awaiting: None };
        self.outgoing.send(outgoing).await.map_err(|_| ClientError::Lost("it has ended".to_owned()))
    }

    /// The broker's answer to the hello.
    pub(crate) fn welcome(&self) -> &Frame {
        &self.welcome
    }

    /// All that answers nothing, for who takes it apart from the requests: they can be made from several places then.
    pub(crate) fn take_pushes(&mut self) -> mpsc::Receiver<Frame> {
        // A channel that nobody sends to: who asks here gets nothing more.
        let (_, none) = mpsc::channel(1);
        std::mem::replace(&mut self.pushes, none)
    }

    /// The next message that answers nothing, if one is here already.
    pub(crate) fn ready_push(&mut self) -> Option<Frame> {
        self.pushes.try_recv().ok()
    }

    /// The next message that answers nothing; none once the connection is gone.
    pub(crate) async fn push_or_end(&mut self) -> Option<Frame> {
        self.pushes.recv().await
    }

    /// The next message that answers nothing. Never returns once the connection is gone: whoever waits for an answer
    /// beside it is told why.
    pub(crate) async fn next_push(&mut self) -> Frame {
        match self.pushes.recv().await {
            Some(frame) => frame,
            None => std::future::pending().await,
        }
    }

    /// Sends what is queued and a close frame, so that the broker sees an end and not a break.
    pub(crate) async fn close(self) {
        drop(self.outgoing);
        // The result is on screen already; a broker that does not answer a goodbye changes nothing.
        let _ = timeout(CLOSE_TIMEOUT, self.driver).await;
    }
}

/// Dials and shakes hands, within the limit.
async fn open<S: driver::Transport>(
    endpoint: &Endpoint,
    dial: impl Future<Output = std::io::Result<S>>,
) -> Result<driver::Socket<S>, ClientError> {
    let connect_error = |reason: String| ClientError::Connect { endpoint: endpoint.to_string(), reason };
    let limits =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE_BYTES)).max_frame_size(Some(MAX_MESSAGE_BYTES));
    let open = async {
        let stream = dial.await.map_err(|error| connect_error(error.to_string()))?;
        client_async_with_config(endpoint.websocket_url(), stream, Some(limits))
            .await
            .map(|(socket, _)| socket)
            .map_err(|error| ClientError::NotABroker {
                endpoint: endpoint.to_string(),
                reason: text::line(&error.to_string()),
            })
    };
    timeout(CONNECT_TIMEOUT, open)
        .await
        .unwrap_or_else(|_| Err(connect_error(format!("nothing within {}", seconds(CONNECT_TIMEOUT)))))
}

/// A moment by which an answer is due, and how long that was from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// That long from now.
    pub(crate) fn after(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, after: limit }
    }
}

/// The answers to one request. Dropped, it stops listening.
#[derive(Debug)]
pub(crate) struct Replies<R> {
    answers: mpsc::Receiver<Result<Frame, ClientError>>,
    request: std::marker::PhantomData<fn() -> R>,
}

impl<R: Request> Replies<R> {
    /// The next answer.
    pub(crate) async fn next(&mut self, deadline: Deadline) -> Result<R::Reply, ClientError> {
        let frame = timeout_at(deadline.at, self.answers.recv())
            .await
            .map_err(|_| ClientError::TimedOut { what: R::TYPE, after: deadline.after })?
            .unwrap_or_else(|| Err(ClientError::Lost("it has ended".to_owned())))?;
        let unexpected = |reason: String| ClientError::Unexpected { what: R::TYPE, reason };
        if frame.kind() != R::REPLY_TYPE {
            return Err(unexpected(format!("a {} instead of a {}", text::line(frame.kind()), R::REPLY_TYPE)));
        }
        frame.read().map_err(|error| unexpected(error.to_string()))
    }
}
