//! What the broker sends.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::{CatalogEntry, ErrorCode, Group, PeerType, ServerName, ServiceEntry, null_is_default};
use crate::identity::{PublicKey, SessionCert};
use crate::link::{ServiceState, Tool};

/// A reply or a push, by its `type`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage<'a> {
    /// Answers `hello`.
    HelloAck(Box<HelloAck>),
    /// Answers anything that is refused.
    Error(ErrorMessage),
    /// Answers `mcp_deploy` and `mcp_undeploy`, once or several times.
    McpDeployStatus(McpDeployStatus),
    /// Answers `mcp_logs`.
    McpLogsResult(McpLogsResult),
    /// Answers `mcp_schema`.
    McpSchemaResult(McpSchemaResult),
    /// Answers `mcp_catalog`.
    McpCatalogResult(McpCatalogResult),
    /// Answers `mcp_call`.
    McpCallResult(McpCallResult<'a>),
    /// A call progresses (ours).
    McpProgress(McpProgress),
    /// A service offers other tools than before (ours).
    McpToolsChanged(ServerName),
    /// Answers `list_peers`.
    PeersList(PeersList),
}

impl<'a> ServerMessage<'a> {
    /// Every `type`.
    pub const TYPES: &'static [&'static str] = &[
        "hello_ack",
        "error",
        "mcp_deploy_status",
        "mcp_logs_result",
        "mcp_schema_result",
        "mcp_catalog_result",
        "mcp_call_result",
        "mcp_progress",
        "mcp_tools_changed",
        "peers_list",
    ];

    /// Reads the message of a type; none if there is no such type.
    pub(super) fn read(kind: &str, text: &'a str) -> Option<Result<Self, serde_json::Error>> {
        Some(match kind {
            "hello_ack" => serde_json::from_str(text).map(Self::HelloAck),
            "error" => serde_json::from_str(text).map(Self::Error),
            "mcp_deploy_status" => serde_json::from_str(text).map(Self::McpDeployStatus),
            "mcp_logs_result" => serde_json::from_str(text).map(Self::McpLogsResult),
            "mcp_schema_result" => serde_json::from_str(text).map(Self::McpSchemaResult),
            "mcp_catalog_result" => serde_json::from_str(text).map(Self::McpCatalogResult),
            "mcp_call_result" => serde_json::from_str(text).map(Self::McpCallResult),
            "mcp_progress" => serde_json::from_str(text).map(Self::McpProgress),
            "mcp_tools_changed" => serde_json::from_str(text).map(Self::McpToolsChanged),
            "peers_list" => serde_json::from_str(text).map(Self::PeersList),
            _ => return None,
        })
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
    /// The last lines of the log, with `failed` and `crashed` (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// `mcp_logs_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpLogsResult {
    /// Name of the service.
    pub server_name: String,
    /// Oldest first.
    pub lines: Vec<String>,
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

/// `peers_list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersList {
    /// The sessions that are present.
    pub peers: Vec<Peer>,
}

/// A session, as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The session's key, its address.
    pub pubkey: PublicKey,
    /// What it calls itself.
    pub display_name: String,
    /// `idle`, `working` or `dnd`.
    pub status: String,
    /// What it says it does.
    #[serde(default)]
    pub summary: Option<String>,
    /// The groups it is in.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The client's id of the session.
    pub session_id: String,
    /// ISO 8601.
    pub connected_at: String,
    /// Where it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What kind of peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<PeerType>,
    /// Through what it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As it sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Value>,
    /// Whether it shows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
    /// As it sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Value>,
    /// The member behind the session (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_pubkey: Option<PublicKey>,
    /// That member's word for it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cert: Option<SessionCert>,
}
