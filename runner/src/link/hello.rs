//! The handshake of a link: both sides prove that they hold the token, and the broker's epoch is judged.

use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, Frame, Message};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use protocol::SecretString;
use protocol::identity::X25519Public;
use protocol::link::proof::{self, BrokerClaim, NONCE_BYTES, RunnerClaim};
use protocol::link::{Header, LINK_MAJOR, LinkHello, RefuseCode, Role, SEALED_SINCE_MINOR, frame};
use tokio::time::timeout;

use super::Desk;
use super::fence::Verdict;
use super::socket::Socket;
use crate::metrics::{Limit, LinkRefused};

/// The whole handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long a broker that proved itself but is refused may still say `stop_all`.
const LAST_ORDERS: Duration = Duration::from_secs(5);

/// Who this runner is.
pub struct Identity {
    /// Stays the same across restarts.
    pub runner_id: String,
    /// What people call it.
    pub name: String,
    /// Version and commit of the program.
    pub build: String,
    /// Its process.
    pub pid: u32,
    /// Start of its process in clock ticks since boot.
    pub pid_start: Option<u64>,
    /// Shared with the broker.
    pub token: SecretString,
    /// What secrets are sealed for.
    pub key: X25519Public,
}

/// A broker that may command.
pub(super) struct Admitted {
    pub(super) store: String,
    pub(super) epoch: u64,
    pub(super) build: String,
    /// Whether it knows what boxes are.
    pub(super) seals: bool,
}

/// How a handshake ended.
pub(super) enum Handshake {
    Admitted(Admitted),
    /// Refused, told so, and to be closed.
    Refused {
        code: LinkRefused,
        reason: String,
    },
    /// Refused, and orders an end of everything with this command.
    StopAll {
        code: LinkRefused,
        cmd: u64,
    },
}

/// Carries the handshake out.
pub(super) async fn shake_hands(socket: &mut Socket, desk: &Desk) -> Handshake {
    match timeout(HANDSHAKE_LIMIT, introduce(socket, desk)).await {
        Ok(Ok(broker)) => judge(socket, desk, broker).await,
        Ok(Err((code, reason))) => Handshake::Refused { code, reason },
        Err(_) => {
            desk.metrics.limits.count(Limit::HandshakeTime);
            let reason = format!("no handshake within {} s", HANDSHAKE_LIMIT.as_secs());
            Handshake::Refused { code: LinkRefused::Handshake, reason }
        }
    }
}

/// Hello, hello, proof; the hello of a broker that has proved itself.
async fn introduce(socket: &mut Socket, desk: &Desk) -> Result<LinkHello, (LinkRefused, String)> {
    exchange(socket, desk).await.map_err(|error| match error {
        Wrong::Proof(reason) => (LinkRefused::BadProof, reason),
        Wrong::Words(reason) => (LinkRefused::Handshake, reason),
    })
}

/// What can be wrong with what a broker says.
enum Wrong {
    Proof(String),
    Words(String),
}

impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self::Words(reason)
    }
}

impl From<&str> for Wrong {
    fn from(reason: &str) -> Self {
        Self::Words(reason.to_owned())
    }
}

async fn exchange(socket: &mut Socket, desk: &Desk) -> Result<LinkHello, Wrong> {
    let broker = match receive(socket).await? {
        Header::LinkHello(hello) if hello.role == Role::Broker => hello,
        _ => return Err("the first frame is not a broker's hello".into()),
    };
    let identity = &desk.identity;
    let nonce = hex::encode(rand::random::<[u8; NONCE_BYTES]>());
    let claim = RunnerClaim { broker_nonce: &broker.nonce, runner_nonce: &nonce, runner_id: &identity.runner_id };
    let ours = proof::runner_proof(&identity.token, claim).map_err(|error| error.to_string())?;
    let hello = LinkHello::runner(&identity.build, &nonce, &identity.runner_id, &identity.name, ours);
    let hello = LinkHello { pid: Some(identity.pid), pid_start: identity.pid_start, ..hello };
    send(socket, &Header::LinkHello(hello)).await?;

    let Header::LinkProof { proof } = receive(socket).await? else {
        return Err("the hello was not followed by a proof".into());
    };
    let (Some(store_id), Some(epoch)) = (broker.store_id.as_deref(), broker.epoch) else {
        return Err("the broker's hello lacks its store or its epoch".into());
    };
    let claim = BrokerClaim { runner_nonce: &nonce, broker_nonce: &broker.nonce, store_id, epoch };
    match proof::verify_broker(&identity.token, claim, &proof) {
        Ok(()) => Ok(broker),
        Err(error) => {
            refuse(socket, RefuseCode::BadProof, error.to_string()).await;
            Err(Wrong::Proof(error.to_string()))
        }
    }
}

/// Whether a broker that proved itself may command.
async fn judge(socket: &mut Socket, desk: &Desk, broker: LinkHello) -> Handshake {
    let store = broker.store_id.clone().unwrap_or_default();
    let epoch = broker.epoch.unwrap_or_default();
    if !broker.same_major() {
        let message = format!("this runner speaks version {LINK_MAJOR} of the link, not {}", broker.major);
        return last_orders(socket, RefuseCode::Major, message).await;
    }
    match desk.fencing.admit(&store, epoch, !desk.directory.is_empty()).await {
        Ok(Verdict::Current | Verdict::Raise(_)) => {
            let seals = broker.minor >= SEALED_SINCE_MINOR;
            Handshake::Admitted(Admitted { store, epoch, build: broker.build, seals })
        }
        // It was replaced, and commands nothing any more: not even an end.
        Ok(Verdict::Lower { epoch: highest }) => {
            let message = format!("a broker with epoch {highest} was here, this one has {epoch}");
            refuse(socket, RefuseCode::Fenced, message.clone()).await;
            Handshake::Refused { code: LinkRefused::Fenced, reason: message }
        }
        Ok(Verdict::Other { store: other, .. }) => {
            let message = format!("services of store {other} are loaded; stop them first");
            last_orders(socket, RefuseCode::Fenced, message).await
        }
        Err(error) => {
            let reason = format!("the epoch cannot be stored: {error}");
            Handshake::Refused { code: LinkRefused::Handshake, reason }
        }
    }
}

/// Refuses, and listens for `stop_all`, which every version understands.
async fn last_orders(socket: &mut Socket, code: RefuseCode, message: String) -> Handshake {
    let told = send(socket, &Header::LinkRefused { code, message: message.clone() }).await;
    if let Err(error) = told {
        return Handshake::Refused { code: code.into(), reason: error };
    }
    let order = async {
        loop {
            if let Header::StopAll { cmd } = receive(socket).await? {
                return Ok::<u64, String>(cmd);
            }
        }
    };
    match timeout(LAST_ORDERS, order).await {
        Ok(Ok(cmd)) => Handshake::StopAll { code: code.into(), cmd },
        Ok(Err(_)) | Err(_) => {
            close(socket, &message).await;
            Handshake::Refused { code: code.into(), reason: message }
        }
    }
}

async fn refuse(socket: &mut Socket, code: RefuseCode, message: String) {
    // The broker may have hung up; then there is nobody to tell.
    if send(socket, &Header::LinkRefused { code, message: message.clone() }).await.is_ok() {
        close(socket, &message).await;
    }
}

async fn close(socket: &mut Socket, why: &str) {
    let reason = CloseReason::from((CloseCode::Policy, why.chars().take(100).collect::<String>()));
    drop(socket.send(Message::Close(Some(reason))).await);
}

pub(super) async fn send(socket: &mut Socket, header: &Header) -> Result<(), String> {
    let frame = frame::encode(header, &[]).map_err(|error| error.to_string())?;
    socket.send(Message::Binary(frame)).await.map_err(|error| error.to_string())
}

async fn receive(socket: &mut Socket) -> Result<Header, String> {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Binary(bytes))) => {
                return frame::decode(bytes).map(|frame| frame.header).map_err(|error| error.to_string());
            }
            Some(Ok(Frame::Ping(data))) => {
                socket.send(Message::Pong(data)).await.map_err(|error| error.to_string())?;
            }
            Some(Ok(Frame::Pong(_))) => {}
            Some(Ok(Frame::Close(_))) | None => return Err("the broker hung up".to_owned()),
            Some(Ok(Frame::Text(_) | Frame::Continuation(_))) => return Err("not a binary message".to_owned()),
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}

/// Nothing to send with a frame.
pub(super) const NO_BODY: Bytes = Bytes::new();
