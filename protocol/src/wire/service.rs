//! Services, as peers ask for them and see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_is_default;
use crate::link::{Policy, ServiceState, Tool};
use crate::sealed::SealedConfig;
use crate::secret::{self, SecretString};
pub use crate::source::Runtime;

/// How a service is configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeployConfig {
    /// Its environment. An old client sends the values in clear; this message is then the one that carries them.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        serialize_with = "secret::reveal",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub env: BTreeMap<String, SecretString>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Hosts that it may reach; none = no restriction was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_allow: Option<Vec<String>>,
    /// What is to run its program, where its source leaves a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// How it is supervised (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Secrets that only its runner opens, and its deployer (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Box<SealedConfig>>,
    /// Which variable has which entry of the deployer's vault: names alone, for who asks what uses an entry (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub vault_refs: BTreeMap<String, String>,
}

/// With whom a service is shared: `"peer"`, `"mesh"`, `{"group": "g"}` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// With the member that deployed it.
    #[default]
    Peer,
    /// With every member.
    Mesh,
    /// With these members, by name or key.
    Peers(Vec<String>),
    /// With a group.
    Group(String),
    /// With several groups.
    Groups(Vec<String>),
    /// With those of a role.
    Role(String),
}

/// A service in `hello_ack`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceEntry {
    /// Unique within the mesh.
    pub name: String,
    /// For people and models.
    #[serde(default)]
    pub description: String,
    /// Where it stands.
    pub status: ServiceState,
    /// What it offers.
    #[serde(default)]
    pub tools: Vec<Tool>,
    /// Who deployed it.
    #[serde(default)]
    pub deployed_by: String,
}

/// A service in `mcp_catalog_result`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Unique within the mesh.
    pub name: String,
    /// `mcp`.
    pub r#type: String,
    /// For people and models.
    #[serde(default)]
    pub description: String,
    /// Where it stands.
    pub status: ServiceState,
    /// How many tools it offers.
    pub tool_count: u32,
    /// Who deployed it.
    pub deployed_by: String,
    /// With whom it is shared.
    pub scope: Scope,
    /// `npx`, `uvx`, `git`, `zip` or `command`.
    pub source_type: String,
    /// What runs its program, as the runner found it: `node 22.1`, `python 3.12`, `bun`, `program`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// ISO 8601.
    pub created_at: String,
    /// The exact version that runs (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Since when it has its status, milliseconds since the Unix epoch (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<u64>,
    /// Why it has its status (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Whether its scope keeps anybody out who wants in (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guards: Option<bool>,
    /// How often its processes were started again (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// The deployment that serves (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The runner that holds it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// The isolation of its processes, as it was proved (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// How many instances of it run (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instances: Option<u32>,
    /// What the broker has seen of its secrets: [`SECRETS_SEEN`], or nothing to say (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<String>,
}

/// `runner_keys_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerKeysResult {
    /// Those that told their key, by name. A runner that opens no boxes is not among them.
    pub runners: Vec<RunnerKey>,
}

/// The key that secrets are sealed for. It is the broker's word: a client compares it with what it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerKey {
    /// The runner's id, the same across its restarts.
    pub id: String,
    /// As a deploy names it.
    pub name: String,
    /// See [`crate::sealed::kid`].
    pub kid: String,
    /// X25519, 64 hex digits.
    pub pubkey: String,
    /// See [`crate::sealed::fingerprint`].
    pub fingerprint: String,
}

/// `mcp_update`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpUpdate {
    /// Name of the service.
    pub server_name: String,
    /// The same program with these secrets: its exact version stays what it is (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Box<SealedConfig>>,
}

/// `mcp_sealed_result`, for the deployer alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpSealedResult {
    /// The services that this member deployed and that have a box, by name.
    pub services: Vec<SealedService>,
}

/// A service with a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedService {
    /// Name of the service.
    pub server_name: String,
    /// The deployment that the box is of: the newest.
    pub deployment: String,
    /// The box as it was sent.
    pub sealed: Box<SealedConfig>,
    /// As it was deployed.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub vault_refs: BTreeMap<String, String>,
}

/// `mcp_sealed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct McpSealed {
    /// One service; none = all of the member's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Secrets came in clear: the broker has seen them.
pub const SECRETS_SEEN: &str = "seen by broker";
