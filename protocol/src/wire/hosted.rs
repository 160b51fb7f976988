//! Servers that a peer runs itself and lets others call through the mesh.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::null_is_default;
use crate::identity::{PublicKey, SessionCert};
use crate::link::Tool;

/// `mcp_register`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpRegister {
    /// What the server is called in the mesh.
    pub server_name: String,
    /// For people and models.
    pub description: String,
    /// What it offers.
    pub tools: Vec<Tool>,
    /// Whether its name is kept while its host is away for longer than a moment.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub persistent: bool,
}

/// `mcp_register_ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpRegisterAck {
    /// The server.
    pub server_name: String,
    /// How many tools of it are known now.
    pub tool_count: u32,
}

/// `mcp_unregister`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpUnregister {
    /// The server.
    pub server_name: String,
}

/// `mcp_list_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpListResult {
    /// By name.
    pub servers: Vec<HostedServer>,
}

/// A server that a peer runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostedServer {
    /// Unique within the mesh, services included.
    pub name: String,
    /// For people and models.
    #[serde(default)]
    pub description: String,
    /// What its host is called.
    pub hosted_by: String,
    /// What it offers.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// They had no room in the list: `mcp_schema` has them (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools_omitted: bool,
    /// Whether its host is here.
    pub online: bool,
    /// Since when not, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offline_since: Option<String>,
}

/// `mcp_call_forward`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCallForward<'a> {
    /// Names the call in its `mcp_call_response`.
    pub call_id: String,
    /// The server.
    pub server_name: String,
    /// The tool.
    pub tool_name: String,
    /// Its arguments, as the caller wrote them.
    #[serde(borrow)]
    pub args: &'a RawValue,
    /// What the caller calls itself; it proves nothing.
    pub caller_name: String,
    /// The caller's member (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_pubkey: Option<PublicKey>,
    /// The member's word for the caller's session (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cert: Option<SessionCert>,
}

/// `mcp_call_response`: `result` or `error`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct McpCallResponse<'a> {
    /// The call, as it was forwarded.
    pub call_id: String,
    /// The CallToolResult.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub result: Option<&'a RawValue>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
