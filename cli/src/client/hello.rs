//! The first exchange: who we are, signed; and whether the broker agrees.
//!
//! A command is a peer of kind `cli`: it calls and asks, and is never shown among those present. [`Appearance`] says what
//! else it may be.

use futures_util::SinkExt as _;
use protocol::identity::{PublicKey, SessionCert, Signature};
use protocol::wire::{Group, PeerType, SessionKind};
use serde::Serialize;
use tokio_tungstenite::tungstenite::Message;

use super::driver::{Socket, Transport, lost, next_text};
use super::{ClientError, Frame, keys};
use crate::error::CliError;
use crate::output::age;
use crate::profile::Membership;
use crate::text;
use protocol::identity::MemberKey;

/// What this client understands beyond what every client does.
const CAPABILITIES: [&str; 5] = ["deploy_progress", "call_id", "client_ack", "e2e", "inbox"];

/// `hello`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Hello<'a> {
    #[serde(rename = "type")]
    kind_of_message: &'static str,
    mesh_id: &'a str,
    member_id: &'a str,
    pubkey: PublicKey,
    session_id: &'a str,
    pid: u32,
    cwd: String,
    timestamp: u64,
    signature: Signature,
    session_pubkey: PublicKey,
    session_cert: SessionCert,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    peer_type: PeerType,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'static str>,
    kind: SessionKind,
    #[serde(skip_serializing_if = "<[Group]>::is_empty")]
    groups: &'a [Group],
    capabilities: [&'static str; 5],
}

/// What a connection is for, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Appearance {
    /// Whether others see it.
    pub(crate) kind: SessionKind,
    /// Who is behind it.
    pub(crate) peer_type: PeerType,
    /// Through what it is connected.
    pub(crate) channel: Option<&'static str>,
    /// The groups it is in from its first moment.
    pub(crate) groups: Vec<Group>,
}

impl Appearance {
    /// A person's command.
    pub(crate) const fn command() -> Self {
        Self { kind: SessionKind::Cli, peer_type: PeerType::Human, channel: None, groups: Vec::new() }
    }
}

/// Where Linux shows this machine's name.
const HOSTNAME_FILE: &str = "/proc/sys/kernel/hostname";

/// This machine's name, where there is one to show.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string(HOSTNAME_FILE).ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The session that comes: its address, and its own id.
#[derive(Debug, Clone)]
pub(crate) struct SessionName {
    /// Its key's public half.
    pub(crate) pubkey: PublicKey,
    /// Its id.
    pub(crate) id: String,
}

/// A hello of the session, signed now.
pub(super) fn compose(
    membership: &Membership,
    key: &MemberKey,
    session: &SessionName,
    appearance: &Appearance,
) -> Result<String, CliError> {
    let mesh = &membership.mesh;
    let timestamp = age::now_ms();
    let (signature, session_cert) = keys::sign(mesh, key, session.pubkey, &session.id, timestamp)?;
    let hello = Hello {
        kind_of_message: "hello",
        mesh_id: &mesh.mesh_id,
        member_id: &mesh.member_id,
        pubkey: key.public(),
        session_id: &session.id,
        pid: std::process::id(),
        // A directory that was removed under us is no reason to do nothing.
        cwd: std::env::current_dir().map_or_else(|_| "/".to_owned(), |cwd| cwd.display().to_string()),
        timestamp,
        signature,
        session_pubkey: session.pubkey,
        session_cert,
        display_name: membership.display_name.as_deref(),
        hostname: hostname(),
        peer_type: appearance.peer_type,
        channel: appearance.channel,
        kind: appearance.kind,
        groups: &appearance.groups,
        capabilities: CAPABILITIES,
    };
    serde_json::to_string(&hello).map_err(|error| CliError::failed(format!("cannot write the hello: {error}")))
}

/// Sends the hello and waits for the verdict, and returns it. What comes before it is not for us.
pub(super) async fn exchange<S: Transport>(socket: &mut Socket<S>, hello: String) -> Result<Frame, ClientError> {
    socket.send(Message::text(hello)).await.map_err(|error| lost(&error))?;
    loop {
        let answer = next_text(socket).await?;
        let frame = Frame::parse(&answer)
            .ok_or_else(|| ClientError::Unexpected { what: "hello", reason: "it is no message".to_owned() })?;
        if let Some(refusal) = frame.refusal() {
            return Err(refusal);
        }
        if frame.kind() == "hello_ack" {
            return Ok(frame);
        }
        tracing::debug!(kind = %text::line(frame.kind()), "a message before the answer to hello");
    }
}
