//! The messages between a peer and the broker: one JSON object in one WebSocket text frame.
//!
//! Contract: the field names here are published, their mixed spelling included; `golden/` holds one example of each
//! message, and a test compares. What this project adds to a published message is an optional field. A reader ignores
//! members it does not know, so old and new sides understand each other. Payloads that only pass through (arguments,
//! results, schemas) are never parsed.
//!
//! [`parse`] reads what a peer sent. Whatever is wrong with it, the answer can name the request it belongs to: `_reqId` is
//! found first, by a scan that needs no valid JSON.

mod client;
mod error;
mod files;
mod hosted;
mod mail;
mod members;
mod messages;
mod parse;
mod presence;
mod scan;
mod server;
mod service;
mod vault;
mod watch;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};

pub use client::{
    ClientMessage, Group, Hello, McpCall, McpCancel, McpDeploy, McpEvents, McpLogs, McpRollback, McpSchema, McpScope,
    PeerType, RunnerName, ServerName, SessionKind,
};
pub use error::{ErrorCode, WireError, WireLimit};
pub use files::{FileEntry, FileId, FileList, FileUrl};
pub use hosted::{
    HostedServer, McpCallForward, McpCallResponse, McpListResult, McpRegister, McpRegisterAck, McpUnregister,
};
pub use mail::{
    Ack, ClientAck, E2e, InboxResult, MessageStatus, MessageStatusResult, Priority, Push, ReadInbox, RecipientStatus,
    Send, SendFault, Skipped,
};
pub use members::{
    GroupResult, GroupSet, InviteCreate, InviteEntry, InviteListResult, InviteResult, InviteRevoke, MemberEntry,
    MemberRemove, MemberResult, MemberSet, MembersList, MeshSet, MeshSetResult,
};
pub use parse::{parse, parse_reply};
pub use presence::{
    Changed, GroupName, MeshInfoResult, Peer, PeerStatus, PeersList, Profile, Stats, Status, Summary, Tasks, Visible,
};
pub use server::{
    CallErrorCode, ErrorMessage, ForgottenService, HelloAck, McpCallResult, McpCatalogResult, McpDeployStatus,
    McpEventsResult, McpLogsResult, McpProgress, McpSchemaResult, McpScopeResult, RunnerEntry, RunnerForgetResult,
    RunnerListResult, ServerMessage, ServiceEventEntry,
};
pub use service::{
    CatalogEntry, DeployConfig, McpSealed, McpSealedResult, McpUpdate, RunnerKey, RunnerKeysResult, Runtime,
    SECRETS_SEEN, Scope, SealedService, ServiceEntry,
};
pub use vault::{
    EntryType, VaultAck, VaultAction, VaultEntry, VaultGetResult, VaultKey, VaultKeys, VaultListResult, VaultListing,
};
pub use watch::{
    Seconds, Watch, WatchAck, WatchChange, WatchEntry, WatchHistory, WatchHistoryResult, WatchId, WatchListResult,
    WatchMode, WatchTestResult,
};

/// Deepest nesting of a frame that is read.
pub const MAX_DEPTH: usize = 64;
/// Longest `_reqId`.
pub const MAX_REQ_ID_BYTES: usize = 256;
/// Log lines that are sent when the request names no number.
pub const DEFAULT_LOG_LINES: u32 = 50;
/// Events of a service that are sent when the request names no number.
pub const DEFAULT_EVENTS: u32 = 50;
/// Most events of a service that are sent.
pub const MAX_EVENTS: u32 = 1_000;
/// Most log lines that are sent.
pub const MAX_LOG_LINES: u32 = 1_000;

/// A message and the request id that it carries.
#[derive(Clone, Debug, Serialize)]
pub struct Envelope<'a, M> {
    /// What is said.
    #[serde(flatten)]
    pub message: M,
    /// Chosen by the client; echoed on everything that answers the request. Pushes have none.
    #[serde(rename = "_reqId", skip_serializing_if = "Option::is_none")]
    pub req_id: Option<Cow<'a, str>>,
}

/// What a client sends.
pub type Request<'a> = Envelope<'a, ClientMessage<'a>>;
/// What the broker sends: a reply, or a push.
pub type Reply<'a> = Envelope<'a, ServerMessage<'a>>;

impl<'a, M: Serialize> Envelope<'a, M> {
    /// A message that belongs to a request.
    pub fn new(message: M, req_id: Option<&'a str>) -> Self {
        Self { message, req_id: req_id.map(Cow::Borrowed) }
    }

    /// The frame's text.
    ///
    /// # Errors
    /// None for messages that were read by this module; a number that is not finite has no JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// A message without members of its own.
#[derive(Deserialize)]
struct Nothing {}

/// Old clients write `null` for what they do not have.
fn null_is_default<'de, T: Default + Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
