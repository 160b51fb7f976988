//! What a client sends.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::files::FileId;
use super::hosted::{McpCallResponse, McpRegister, McpUnregister};
use super::mail::{ClientAck, MessageStatus, ReadInbox, Send};
use super::members::{GroupSet, InviteCreate, InviteRevoke, MemberRemove, MemberSet, MeshSet};
use super::messages::messages;
use super::presence::{Changed, GroupName, Profile, Stats, Status, Summary, Visible};
use super::vault::{VaultEntry, VaultKey, VaultKeys};
use super::watch::{Watch, WatchHistory, WatchId};
use super::{
    DEFAULT_EVENTS, DEFAULT_LOG_LINES, DeployConfig, MAX_EVENTS, MAX_LOG_LINES, McpSealed, McpUpdate, Scope,
    null_is_default,
};
use crate::identity::{PublicKey, SessionCert, Signature};
use crate::source::Source;

messages! {
    /// A request, by its `type`.
    ClientMessage {
        /// The first message on a connection.
        Hello(Box<Hello>) = "hello",
        /// A message for peers.
        Send(Box<Send>) = "send",
        /// Messages that the client has (ours).
        ClientAck(ClientAck) = "client_ack",
        /// Everything that waits (ours).
        ReadInbox(ReadInbox) = "read_inbox",
        /// What became of a message.
        MessageStatus(MessageStatus) = "message_status",
        /// Who is present.
        ListPeers = "list_peers",
        /// What the session does, in its own words.
        SetSummary(Changed<Summary>) = "set_summary",
        /// What the session is doing.
        SetStatus(Changed<Status>) = "set_status",
        /// The session joins a group.
        JoinGroup(Changed<Group>) = "join_group",
        /// The session leaves a group.
        LeaveGroup(Changed<GroupName>) = "leave_group",
        /// Figures of the session.
        SetStats(Changed<Stats>) = "set_stats",
        /// Whether others find the session in their lists.
        SetVisible(Changed<Visible>) = "set_visible",
        /// What the session is.
        SetProfile(Changed<Profile>) = "set_profile",
        /// The mesh in figures.
        MeshInfo = "mesh_info",
        /// Who belongs to the mesh (ours).
        ListMembers = "list_members",
        /// A member's new certificate (ours).
        MemberSet(Box<MemberSet>) = "member_set",
        /// A member goes (ours).
        MemberRemove(MemberRemove) = "member_remove",
        /// Who belongs to a group (ours).
        GroupSet(GroupSet) = "group_set",
        /// An invite is made known (ours).
        InviteCreate(InviteCreate) = "invite_create",
        /// The mesh's invites (ours).
        InviteList = "invite_list",
        /// An invite is taken back (ours).
        InviteRevoke(InviteRevoke) = "invite_revoke",
        /// The mesh's settings (ours).
        MeshSet(MeshSet) = "mesh_set",
        /// Install, start and share a service.
        McpDeploy(Box<McpDeploy>) = "mcp_deploy",
        /// Stop and remove a service.
        McpUndeploy(ServerName) = "mcp_undeploy",
        /// Resolve a service's source anew, and replace what runs by what comes of it.
        McpUpdate(McpUpdate) = "mcp_update",
        /// Go back to an earlier deployment (ours).
        McpRollback(McpRollback) = "mcp_rollback",
        /// End a service's processes and start them again (ours).
        McpRestart(ServerName) = "mcp_restart",
        /// Stop a service and keep it (ours).
        McpStop(ServerName) = "mcp_stop",
        /// Start a service that was stopped, or that failed or crashed (ours).
        McpStart(ServerName) = "mcp_start",
        /// With whom a service is shared, or is to be.
        McpScope(McpScope) = "mcp_scope",
        /// The last lines of a service's log.
        McpLogs(McpLogs) = "mcp_logs",
        /// What happened to a service (ours).
        McpEvents(McpEvents) = "mcp_events",
        /// The tools of a service.
        McpSchema(McpSchema) = "mcp_schema",
        /// The services that the peer may see.
        McpCatalog = "mcp_catalog",
        /// Call a tool.
        McpCall(McpCall<'a>) = "mcp_call",
        /// The broker's runners (ours).
        RunnerList = "runner_list",
        /// A runner is given up: its services go to others (ours).
        RunnerForget(RunnerName) = "runner_forget",
        /// The keys that secrets are sealed for (ours).
        RunnerKeys = "runner_keys",
        /// The boxes of the member's own services (ours).
        McpSealed(McpSealed) = "mcp_sealed",
        /// Let others call a server of one's own.
        McpRegister(Box<McpRegister>) = "mcp_register",
        /// Do so no more.
        McpUnregister(McpUnregister) = "mcp_unregister",
        /// The servers that peers host.
        McpList = "mcp_list",
        /// Answers `mcp_call_forward`.
        McpCallResponse(McpCallResponse<'a>) = "mcp_call_response",
        /// Give a call up (ours).
        McpCancel(McpCancel) = "mcp_cancel",
        /// Where a file can be fetched.
        GetFile(FileId) = "get_file",
        /// The mesh's files.
        ListFiles = "list_files",
        /// A file goes.
        DeleteFile(FileId) = "delete_file",
        /// A sealed value for the member's vault.
        VaultSet(Box<VaultEntry>) = "vault_set",
        /// What the member's vault has.
        VaultList = "vault_list",
        /// Sealed values of it.
        VaultGet(VaultKeys) = "vault_get",
        /// One of them goes.
        VaultDelete(VaultKey) = "vault_delete",
        /// Look at an address, and tell when what is there changes.
        Watch(Box<Watch>) = "watch",
        /// Do so no more.
        Unwatch(WatchId) = "unwatch",
        /// The caller's watches.
        WatchList = "watch_list",
        /// What happened to a watch (ours).
        WatchHistory(WatchHistory) = "watch_history",
        /// Look once, and keep nothing (ours).
        WatchTest(Box<Watch>) = "watch_test",
    }
}

/// Who comes, signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The mesh to enter.
    pub mesh_id: String,
    /// The member that enters.
    pub member_id: String,
    /// The member's key.
    pub pubkey: PublicKey,
    /// The client's id of its session.
    pub session_id: String,
    /// The client's process.
    pub pid: u32,
    /// Where it works.
    pub cwd: String,
    /// Milliseconds since the Unix epoch.
    pub timestamp: u64,
    /// See [`crate::identity::HelloClaim`].
    pub signature: Signature,
    /// The session's key, its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_pubkey: Option<PublicKey>,
    /// What peers see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The client's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What kind of peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<PeerType>,
    /// Through what it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind an `ai` peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Groups to join.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// The member's statement about the session's key (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cert: Option<SessionCert>,
    /// What the connection is for (ours); none = a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<SessionKind>,
    /// Additions that the client understands (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// What kind of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerType {
    /// A model.
    Ai,
    /// A person.
    Human,
    /// A bridge to something else.
    Connector,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A session that others see.
    #[default]
    Session,
    /// The stdio server of one service.
    Proxy,
    /// A person's command; not shown among those present.
    Cli,
}

/// A group, and the role in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Without `@`.
    pub name: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// `mcp_deploy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpDeploy {
    /// Name of the service.
    pub server_name: String,
    /// Where its program comes from.
    pub source: Source,
    /// Arguments of its program (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// How it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<DeployConfig>,
    /// With whom it is shared; none = with the deployer, or as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// A scope that guards nobody out is refused (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// The runner that is to hold it; none = the one that does, or the one with the fewest services (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
}

/// `mcp_scope`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpScope {
    /// Name of the service.
    pub server_name: String,
    /// With whom it is shared from now on; none = what it is now is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// A scope that guards nobody out is refused (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
}

/// A message about a service that says no more than its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerName {
    /// Name of the service.
    pub server_name: String,
}

/// `runner_forget`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerName {
    /// As `runner_list` names it.
    pub name: String,
}

/// `mcp_rollback`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpRollback {
    /// Name of the service.
    pub server_name: String,
    /// Which deployment; none = the one before the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// `mcp_logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpLogs {
    /// Name of the service.
    pub server_name: String,
    /// How many lines; see [`McpLogs::wanted`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
    /// The `next` of the answer before: the first lines behind it, instead of the last ones (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// `mcp_events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpEvents {
    /// Name of the service.
    pub server_name: String,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the answer before: the first events behind it, instead of the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

impl McpEvents {
    /// How many events to send: [`DEFAULT_EVENTS`] unless asked, never more than [`MAX_EVENTS`].
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_EVENTS).min(MAX_EVENTS)
    }
}

impl McpLogs {
    /// How many lines to send: [`DEFAULT_LOG_LINES`] unless asked, never more than [`MAX_LOG_LINES`].
    #[must_use]
    pub fn wanted(&self) -> u32 {
        self.lines.unwrap_or(DEFAULT_LOG_LINES).min(MAX_LOG_LINES)
    }
}

/// `mcp_schema`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpSchema {
    /// Name of the service.
    pub server_name: String,
    /// One tool; none = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
}

/// `mcp_call`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCall<'a> {
    /// Name of the service.
    pub server_name: String,
    /// Name of the tool.
    pub tool_name: String,
    /// Its arguments, as they stand in the frame.
    #[serde(borrow)]
    pub args: &'a RawValue,
    /// How long the caller waits (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Names the call in `mcp_cancel` and `mcp_progress` (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// `mcp_cancel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCancel {
    /// The caller's own call.
    pub call_id: String,
}
