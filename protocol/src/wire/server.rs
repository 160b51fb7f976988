//! What the broker sends.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::files::{FileList, FileUrl};
use super::hosted::{McpCallForward, McpListResult, McpRegisterAck};
use super::mail::{Ack, InboxResult, MessageStatusResult, Push};
use super::members::{GroupResult, InviteListResult, InviteResult, MemberResult, MembersList, MeshSetResult};
use super::messages::messages;
use super::presence::{MeshInfoResult, PeersList};
use super::vault::{VaultAck, VaultGetResult, VaultListResult};
use super::watch::{WatchAck, WatchHistoryResult, WatchListResult, WatchTestResult};
use super::{
    CatalogEntry, ErrorCode, Group, McpSealedResult, RunnerKeysResult, Scope, ServerName, ServiceEntry, null_is_default,
};
use crate::link::{ServiceState, Tool};

messages! {
    /// A reply or a push, by its `type`.
    ServerMessage {
        /// Answers `hello`.
        HelloAck(Box<HelloAck>) = "hello_ack",
        /// Answers anything that is refused.
        Error(ErrorMessage) = "error",
        /// Answers `send`, and what has no answer of its own.
        Ack(Box<Ack>) = "ack",
        /// A message, or an event of the mesh.
        Push(Box<Push>) = "push",
        /// Answers `read_inbox` (ours).
        InboxResult(InboxResult) = "inbox_result",
        /// Answers `message_status`.
        MessageStatusResult(MessageStatusResult) = "message_status_result",
        /// Answers `list_peers`.
        PeersList(PeersList) = "peers_list",
        /// Answers `mesh_info`.
        MeshInfoResult(Box<MeshInfoResult>) = "mesh_info_result",
        /// Answers `list_members` (ours).
        MembersList(MembersList) = "members_list",
        /// Answers `member_set` and `member_remove` (ours).
        MemberResult(MemberResult) = "member_result",
        /// Answers `group_set` (ours).
        GroupResult(GroupResult) = "group_result",
        /// Answers `invite_create` and `invite_revoke` (ours).
        InviteResult(InviteResult) = "invite_result",
        /// Answers `invite_list` (ours).
        InviteListResult(InviteListResult) = "invite_list_result",
        /// Answers `mesh_set` (ours).
        MeshSetResult(MeshSetResult) = "mesh_set_result",
        /// Answers `mcp_deploy` and `mcp_undeploy`, once or several times.
        McpDeployStatus(McpDeployStatus) = "mcp_deploy_status",
        /// Answers `mcp_scope`.
        McpScopeResult(McpScopeResult) = "mcp_scope_result",
        /// Answers `mcp_logs`.
        McpLogsResult(McpLogsResult) = "mcp_logs_result",
        /// Answers `mcp_events` (ours).
        McpEventsResult(McpEventsResult) = "mcp_events_result",
        /// Answers `mcp_schema`.
        McpSchemaResult(McpSchemaResult) = "mcp_schema_result",
        /// Answers `mcp_catalog`.
        McpCatalogResult(McpCatalogResult) = "mcp_catalog_result",
        /// Answers `mcp_call`.
        McpCallResult(McpCallResult<'a>) = "mcp_call_result",
        /// Answers `runner_list` (ours).
        RunnerListResult(RunnerListResult) = "runner_list_result",
        /// Answers `runner_forget` (ours).
        RunnerForgetResult(RunnerForgetResult) = "runner_forget_result",
        /// Answers `runner_keys` (ours).
        RunnerKeysResult(RunnerKeysResult) = "runner_keys_result",
        /// Answers `mcp_sealed` (ours).
        McpSealedResult(McpSealedResult) = "mcp_sealed_result",
        /// Answers `mcp_register`.
        McpRegisterAck(McpRegisterAck) = "mcp_register_ack",
        /// Answers `mcp_list`.
        McpListResult(McpListResult) = "mcp_list_result",
        /// A call for a server that this peer hosts.
        McpCallForward(McpCallForward<'a>) = "mcp_call_forward",
        /// A call progresses (ours).
        McpProgress(McpProgress) = "mcp_progress",
        /// A service offers other tools than before (ours).
        McpToolsChanged(ServerName) = "mcp_tools_changed",
        /// Answers `get_file`.
        FileUrl(FileUrl) = "file_url",
        /// Answers `list_files`.
        FileList(FileList) = "file_list",
        /// Answers `vault_set` and `vault_delete`.
        VaultAck(VaultAck) = "vault_ack",
        /// Answers `vault_list`.
        VaultListResult(VaultListResult) = "vault_list_result",
        /// Answers `vault_get`.
        VaultGetResult(VaultGetResult) = "vault_get_result",
        /// Answers `watch` and `unwatch`.
        WatchAck(WatchAck) = "watch_ack",
        /// Answers `watch_list`.
        WatchListResult(WatchListResult) = "watch_list_result",
        /// Answers `watch_history` (ours).
        WatchHistoryResult(WatchHistoryResult) = "watch_history_result",
        /// Answers `watch_test` (ours).
        WatchTestResult(WatchTestResult) = "watch_test_result",
    }
}

/// `hello_ack`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HelloAck {
    /// The broker's id of this connection's presence.
    pub presence_id: String,
    /// The name that peers see.
    pub member_display_name: String,
    /// Whether an earlier session was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<bool>,
    /// Of the earlier session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_summary: Option<String>,
    /// Of the earlier session, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<String>,
    /// Of the earlier session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_groups: Option<Vec<Group>>,
    /// Of the earlier session, as it sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_stats: Option<Value>,
    /// What this peer may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<ServiceEntry>>,
    /// Additions that the broker understands (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The broker's version (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
}

/// `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorMessage {
    /// For a program.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// The client's id of a message that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// `mcp_deploy_status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpDeployStatus {
    /// Name of the service.
    pub server_name: String,
    /// Where it stands. `running`, `failed`, `crashed` and `stopped` end the answer.
    pub status: ServiceState,
    /// With `running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// With `failed` and `crashed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The last line of the installation (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// With `running`: what the broker has seen of its secrets, as in the catalog (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
    /// The last lines of the log, with `failed` and `crashed` (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// `mcp_scope_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpScopeResult {
    /// Name of the service.
    pub server_name: String,
    /// With whom it is shared; members by their ids.
    pub scope: Scope,
    /// Who deployed it.
    pub deployed_by: String,
    /// Whether the scope keeps anybody out who wants in: one that rests on an open group does not (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<bool>,
}

/// `mcp_logs_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpLogsResult {
    /// Name of the service.
    pub server_name: String,
    /// Oldest first.
    pub lines: Vec<String>,
    /// To go on from: `after` of the next request (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Lines behind `after` may have been lost, since only the last ones are kept (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
}

/// `runner_list_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerListResult {
    /// By name.
    pub runners: Vec<RunnerEntry>,
}

/// A runner of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerEntry {
    /// As a deploy names it.
    pub name: String,
    /// Whether it is connected.
    pub up: bool,
    /// How many services it holds, of all meshes; as of when it was last connected.
    pub services: u32,
    /// When it was last heard, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_ms: Option<u64>,
}

/// `runner_forget_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerForgetResult {
    /// The runner.
    pub name: String,
    /// What was on it, or on its way there, of this mesh; by name.
    pub services: Vec<ForgottenService>,
}

/// A service whose runner was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenService {
    /// Its name.
    pub service: String,
    /// The runner that it is on now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Why it stays where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `mcp_events_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpEventsResult {
    /// Name of the service.
    pub server_name: String,
    /// Oldest first.
    pub events: Vec<ServiceEventEntry>,
    /// To go on from: `after` of the next request.
    pub next: u64,
}

/// A transition of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEventEntry {
    /// Its place in the order of what happened.
    pub seq: u64,
    /// ISO 8601.
    pub at: String,
    /// The state before; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The state after.
    pub to: String,
    /// Why.
    pub cause: String,
    /// Of which deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// `mcp_schema_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpSchemaResult {
    /// Name of the service.
    pub server_name: String,
    /// What was asked for.
    pub tools: Vec<Tool>,
}

/// `mcp_catalog_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpCatalogResult {
    /// Those that the peer may see.
    pub services: Vec<CatalogEntry>,
}

/// `mcp_call_result`: `result` or `error`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCallResult<'a> {
    /// The CallToolResult as the server gave it.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// For a person: `MCP error <code>: <message>`, or why the server gave no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// For a program (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<CallErrorCode>,
    /// The `data` of the server's error, as it gave it (ours).
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub error_data: Option<&'a RawValue>,
    /// How many processes saw the call (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u8>,
}

/// Why a call has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CallErrorCode {
    /// The server's JSON-RPC code.
    Server(i64),
    /// A word of the mesh.
    Mesh(ErrorCode),
}

/// `mcp_progress`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpProgress {
    /// The caller's own id of the call.
    pub call_id: String,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Number>,
    /// How far it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
