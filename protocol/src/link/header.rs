//! Every frame header of the link.
//!
//! Contract: `t` names the variant and comes first. Commands flow from broker to runner and each is answered by exactly
//! one [`Header::Done`] (or [`Header::LogsResult`]) with the same `cmd`; each [`Header::Call`] by exactly one
//! [`Header::Reply`] with the same `id`. Ids are chosen by the side that asks and are unique among what it has open.

use serde::{Deserialize, Deserializer, Serialize};

use super::handshake::{Fence, LinkHello, RefuseCode};
use super::policy::RetryKind;
use super::report::{LogLine, Report};
use super::spec::ServiceSpec;
use super::tagged;

/// What a frame says. Its body, where a variant has one, is named in the variant's description.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum Header {
    /// First frame in each direction, the broker's before the runner's. Its form never changes.
    LinkHello(LinkHello),
    /// Broker → runner: the broker's proof, once it has accepted the runner's.
    LinkProof {
        /// See [`super::proof::broker_proof`].
        proof: String,
    },
    /// The last frame before a side closes during the handshake.
    LinkRefused {
        /// Why, for a program.
        code: RefuseCode,
        /// Why, for a person.
        message: String,
    },

    /// Runner → broker, once, before its first report: the key that secrets for it are sealed for. Since 1.2; a broker
    /// of an earlier version is not told.
    RunnerKey {
        /// X25519, 64 hex digits.
        pubkey: String,
    },

    /// Broker → runner: make this deployment the one that runs.
    Load {
        /// Names the command; echoed by its `done`.
        cmd: u64,
        /// On whose authority.
        fence: Fence,
        /// All that shapes the service.
        spec: Box<ServiceSpec>,
    },
    /// Broker → runner: the file that a deployment is built from, for a runner that answered its `load` with
    /// `file_missing`; the `load` follows again. Body: the whole file.
    File {
        /// Names the command.
        cmd: u64,
        /// On whose authority, and for which deployment.
        fence: Fence,
        /// Of the body, 64 hex digits.
        sha256: String,
    },
    /// Broker → runner: stop the service and forget it.
    Unload {
        /// Names the command.
        cmd: u64,
        /// On whose authority.
        fence: Fence,
        /// Slug of the mesh.
        mesh: String,
        /// Name of the service.
        service: String,
    },
    /// Broker → runner: end the service's processes and start them again; clears `crashed` and `failed`.
    Restart {
        /// Names the command.
        cmd: u64,
        /// On whose authority.
        fence: Fence,
        /// Slug of the mesh.
        mesh: String,
        /// Name of the service.
        service: String,
    },
    /// Broker → runner: the last lines of a service's log.
    Logs {
        /// Names the command; echoed by its `logs_result`.
        cmd: u64,
        /// Slug of the mesh.
        mesh: String,
        /// Name of the service.
        service: String,
        /// At most this many, newest last.
        lines: u32,
        /// The first ones behind this one, instead of the last ones. Since 1.1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Broker → runner: stop every service, then the runner. Its form never changes.
    StopAll {
        /// Names the command.
        cmd: u64,
    },

    /// Runner → broker: how a command ended.
    Done {
        /// The command that is answered.
        cmd: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// Runner → broker: answers `logs`.
    LogsResult {
        /// The command that is answered.
        cmd: u64,
        /// Oldest first.
        lines: Vec<LogLine>,
        /// Lines behind `after` may have been lost, since only the last ones are kept. Since 1.1.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
    },
    /// Runner → broker: what is the case, complete once after the handshake and then as it changes. Its form never changes.
    Report(Report),

    /// A JSON-RPC request for a service, or from one. Body: its `params`, raw JSON.
    Call(CallHeader),
    /// Answers a call. Body: the raw `result`, or the raw error object; none for [`ReplyOutcome::Failed`].
    Reply {
        /// The call that is answered.
        id: u64,
        /// What kind of answer.
        outcome: ReplyOutcome,
        /// How many processes saw the request: 0 = it reached none.
        attempts: u8,
    },
    /// The asking side no longer waits. The reply still comes, most often [`FailCode::Cancelled`].
    Cancel {
        /// The call that is given up.
        id: u64,
        /// For the server's log.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Body: the MCP progress `params` without their token, raw JSON.
    Progress {
        /// The call that progresses.
        id: u64,
    },
    /// A notification of a service, or for one. Body: its `params`, raw JSON.
    Notify {
        /// Slug of the mesh.
        mesh: String,
        /// Name of the service.
        service: String,
        /// JSON-RPC method.
        method: String,
    },

    /// Body: the next bytes of a stream that an earlier frame announced.
    Chunk {
        /// The sender's stream.
        stream: u64,
        /// Whether these bytes are its last.
        last: bool,
    },
    /// The receiver of a stream allows more of it.
    Credit {
        /// A stream of the side that gets this frame.
        stream: u64,
        /// Bytes in addition to what was allowed before.
        bytes: u64,
    },
}

/// The same variants as [`Header`], by name, for [`tagged::deserialize`] to choose from. Derived deserialization of an
/// internally tagged enum buffers the content, and a `RawValue` does not survive that.
#[derive(Deserialize)]
#[serde(remote = "Header", rename_all = "snake_case")]
enum HeaderByName {
    LinkHello(LinkHello),
    LinkProof {
        proof: String,
    },
    LinkRefused {
        code: RefuseCode,
        message: String,
    },
    RunnerKey {
        pubkey: String,
    },
    Load {
        cmd: u64,
        fence: Fence,
        spec: Box<ServiceSpec>,
    },
    File {
        cmd: u64,
        fence: Fence,
        sha256: String,
    },
    Unload {
        cmd: u64,
        fence: Fence,
        mesh: String,
        service: String,
    },
    Restart {
        cmd: u64,
        fence: Fence,
        mesh: String,
        service: String,
    },
    Logs {
        cmd: u64,
        mesh: String,
        service: String,
        lines: u32,
        #[serde(default)]
        after: Option<u64>,
    },
    StopAll {
        cmd: u64,
    },
    Done {
        cmd: u64,
        outcome: Outcome,
    },
    LogsResult {
        cmd: u64,
        lines: Vec<LogLine>,
        #[serde(default)]
        lost: bool,
    },
    Report(Report),
    Call(CallHeader),
    Reply {
        id: u64,
        outcome: ReplyOutcome,
        attempts: u8,
    },
    Cancel {
        id: u64,
        #[serde(default)]
        reason: Option<String>,
    },
    Progress {
        id: u64,
    },
    Notify {
        mesh: String,
        service: String,
        method: String,
    },
    Chunk {
        stream: u64,
        last: bool,
    },
    Credit {
        stream: u64,
        bytes: u64,
    },
}

impl Header {
    /// Whether frames with this header may have a body.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        matches!(
            self,
            Self::Call(_)
                | Self::Reply { .. }
                | Self::Progress { .. }
                | Self::Notify { .. }
                | Self::Chunk { .. }
                | Self::File { .. }
        )
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        tagged::deserialize(deserializer, "t")
    }
}

impl tagged::ByName for Header {
    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HeaderByName::deserialize(deserializer)
    }
}

/// The code of a `load` that needs the uploaded file first: [`Header::File`], and then the `load` again.
pub const FILE_MISSING: &str = "file_missing";

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Accepted, or already so. What becomes of it is told by reports.
    Ok,
    /// A newer broker was here.
    Fenced {
        /// The highest epoch that the runner knows.
        epoch: u64,
    },
    /// Not done.
    Error {
        /// For a program.
        code: String,
        /// For a person.
        message: String,
    },
}

/// A call on its way; its params are the frame's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallHeader {
    /// Names the call among those that its sender has open.
    pub id: u64,
    /// Slug of the mesh.
    pub mesh: String,
    /// Name of the service.
    pub service: String,
    /// The deployment of it that is meant: during an update there are two.
    pub deployment: String,
    /// Whose call it is, opaque and the same for all calls of one member: members take turns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<String>,
    /// JSON-RPC method.
    pub method: String,
    /// Time that is left when the frame is sent.
    pub timeout_ms: u64,
    /// Whether it may be sent again after a process death.
    pub retry: RetryKind,
    /// Processes that saw it before this frame.
    #[serde(default)]
    pub attempts_before: u8,
    /// Whether [`Header::Progress`] is wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress: bool,
    /// Whether it has all of the time that its deployment gives a call, rather than a caller's own that is shorter; what is
    /// missing from that was lost on the way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_time: bool,
}

/// What kind of answer a reply is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplyOutcome {
    /// Body: the result as the server gave it.
    Result,
    /// Body: the JSON-RPC error object as the server gave it.
    Error,
    /// The server gave no answer.
    Failed {
        /// Why, for a program.
        code: FailCode,
        /// Why, for a person.
        message: String,
    },
}

/// Why a call has no answer from its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailCode {
    /// No such service here.
    NotFound,
    /// The service is crashed, failed or stopped; the message says which and why.
    NotRunning,
    /// A process took the request and died; nobody knows what it did.
    OutcomeUnknown,
    /// In flight at two process deaths: suspected of causing them.
    Poison,
    /// The caller had too many calls that were poison. Said by the broker, never by a runner.
    Poisoned,
    /// The service let so many calls in a row run out of time that no more are passed on for a while.
    CircuitOpen,
    /// Not answered within its time.
    Timeout,
    /// A queue on the way is full.
    Overloaded,
    /// The asking side gave it up.
    Cancelled,
    /// The runner cannot be reached.
    Unreachable,
    /// Larger than a body may be.
    TooLarge,
    /// The service takes no new calls because it is being replaced or stopped.
    Draining,
    /// The link broke while the call was under way.
    LinkLost,
}
