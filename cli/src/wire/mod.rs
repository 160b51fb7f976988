//! The requests this program makes and the answers it reads, in the wire's own field names.
//!
//! Contract: a request type names its `type`, the `type` of its answer, and what the answer holds. Answers are read
//! leniently (unknown fields ignored, optional ones optional) so that brokers of other versions can be talked to. Text in
//! answers is [`Foreign`]; payloads that are passed on (arguments, results, schemas) are kept byte for byte.

pub(crate) mod mesh;
mod policy;

use std::collections::BTreeMap;

use protocol::SecretString;
use protocol::link::{Runtime, Source};
use protocol::sealed::SealedConfig;
use protocol::wire::{McpUpdate, RunnerKeysResult, Scope};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::text::Foreign;
pub(crate) use policy::Policy;

/// A message that gets an answer.
pub(crate) trait Request: Serialize {
    /// Its `type`.
    const TYPE: &'static str;
    /// The `type` of its answer.
    const REPLY_TYPE: &'static str;
    /// The answer.
    type Reply: DeserializeOwned;
}

/// `mcp_deploy`.
#[derive(Debug, Serialize)]
pub(crate) struct Deploy {
    pub(crate) server_name: String,
    pub(crate) source: Source,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) args: Vec<String>,
    pub(crate) config: DeployConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) scope: Option<Scope>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runner: Option<String>,
}

impl Request for Deploy {
    const TYPE: &'static str = "mcp_deploy";
    const REPLY_TYPE: &'static str = "mcp_deploy_status";
    type Reply = DeployStatus;
}

/// `mcp_deploy.config`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DeployConfig {
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "protocol::secret::reveal")]
    pub(crate) env: BTreeMap<String, SecretString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mb: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Policy::is_default")]
    pub(crate) policy: Policy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Box<SealedConfig>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) vault_refs: BTreeMap<String, String>,
}

/// `runner_keys`.
#[derive(Debug, Serialize)]
pub(crate) struct RunnerKeys {}

impl Request for RunnerKeys {
    const TYPE: &'static str = "runner_keys";
    const REPLY_TYPE: &'static str = "runner_keys_result";
    type Reply = RunnerKeysResult;
}

/// `mcp_deploy_status`; several come for one deploy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeployStatus {
    pub(crate) status: Foreign,
    #[serde(default)]
    pub(crate) tools: Option<Vec<Tool>>,
    #[serde(default)]
    pub(crate) error: Option<Foreign>,
    #[serde(default)]
    pub(crate) progress: Option<Foreign>,
    #[serde(default)]
    pub(crate) log: Vec<Foreign>,
}

/// A tool, as its server describes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tool {
    pub(crate) name: Foreign,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Foreign>,
    /// All else, the schema first of all.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// `mcp_undeploy`.
#[derive(Debug, Serialize)]
pub(crate) struct Undeploy {
    pub(crate) server_name: String,
}

impl Request for Undeploy {
    const TYPE: &'static str = "mcp_undeploy";
    const REPLY_TYPE: &'static str = "mcp_deploy_status";
    type Reply = DeployStatus;
}

impl Request for McpUpdate {
    const TYPE: &'static str = "mcp_update";
    const REPLY_TYPE: &'static str = "mcp_deploy_status";
    type Reply = DeployStatus;
}

/// A request about a service that says no more than its name, and is answered as a deploy is.
macro_rules! verbs {
    ($($name:ident = $kind:literal),+ $(,)?) => {
        $(#[doc = concat!("`", $kind, "`.")]
        #[derive(Debug, Serialize)]
        pub(crate) struct $name {
            pub(crate) server_name: String,
        }

        impl Request for $name {
            const TYPE: &'static str = $kind;
            const REPLY_TYPE: &'static str = "mcp_deploy_status";
            type Reply = DeployStatus;
        })+
    };
}

verbs! { RestartService = "mcp_restart", StopService = "mcp_stop", StartService = "mcp_start" }

/// `mcp_rollback`.
#[derive(Debug, Serialize)]
pub(crate) struct Rollback {
    pub(crate) server_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deployment: Option<String>,
}

impl Request for Rollback {
    const TYPE: &'static str = "mcp_rollback";
    const REPLY_TYPE: &'static str = "mcp_deploy_status";
    type Reply = DeployStatus;
}

/// `runner_list`.
#[derive(Debug, Serialize)]
pub(crate) struct ListRunners {}

impl Request for ListRunners {
    const TYPE: &'static str = "runner_list";
    const REPLY_TYPE: &'static str = "runner_list_result";
    type Reply = Runners;
}

/// `runner_list_result`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Runners {
    pub(crate) runners: Vec<Runner>,
}

/// A runner of the broker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Runner {
    pub(crate) name: Foreign,
    #[serde(default)]
    pub(crate) up: bool,
    #[serde(default)]
    pub(crate) services: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_seen_ms: Option<u64>,
}

/// `runner_forget`.
#[derive(Debug, Serialize)]
pub(crate) struct ForgetRunner {
    pub(crate) name: String,
}

impl Request for ForgetRunner {
    const TYPE: &'static str = "runner_forget";
    const REPLY_TYPE: &'static str = "runner_forget_result";
    type Reply = Forgotten;
}

/// `runner_forget_result`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub(crate) name: Foreign,
    pub(crate) services: Vec<ForgottenService>,
}

/// A service whose runner was given up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ForgottenService {
    pub(crate) service: Foreign,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runner: Option<Foreign>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<Foreign>,
}

/// `mcp_logs`.
#[derive(Debug, Serialize)]
pub(crate) struct Logs {
    pub(crate) server_name: String,
    pub(crate) lines: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
}

impl Request for Logs {
    const TYPE: &'static str = "mcp_logs";
    const REPLY_TYPE: &'static str = "mcp_logs_result";
    type Reply = LogLines;
}

/// `mcp_logs_result`.
#[derive(Debug, Deserialize)]
pub(crate) struct LogLines {
    pub(crate) lines: Vec<Foreign>,
    /// To go on from; older brokers do not say.
    #[serde(default)]
    pub(crate) next: Option<u64>,
    #[serde(default)]
    pub(crate) lost: bool,
}

/// `mcp_schema`.
#[derive(Debug, Serialize)]
pub(crate) struct Schema {
    pub(crate) server_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tool_name: Option<String>,
}

impl Request for Schema {
    const TYPE: &'static str = "mcp_schema";
    const REPLY_TYPE: &'static str = "mcp_schema_result";
    type Reply = Tools;
}

/// `mcp_schema_result`.
#[derive(Debug, Deserialize)]
pub(crate) struct Tools {
    pub(crate) tools: Vec<Tool>,
}

/// The same, for who passes the tools on as they are.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct RawSchema(pub(crate) Schema);

impl Request for RawSchema {
    const TYPE: &'static str = Schema::TYPE;
    const REPLY_TYPE: &'static str = Schema::REPLY_TYPE;
    type Reply = RawTools;
}

/// `mcp_schema_result`, its tools as they are.
#[derive(Debug, Deserialize)]
pub(crate) struct RawTools {
    pub(crate) tools: Vec<Box<RawValue>>,
}

/// `mcp_catalog`.
#[derive(Debug, Serialize)]
pub(crate) struct Catalog {}

impl Request for Catalog {
    const TYPE: &'static str = "mcp_catalog";
    const REPLY_TYPE: &'static str = "mcp_catalog_result";
    type Reply = Services;
}

/// `mcp_catalog_result`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
}

/// One service of the catalog.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: Foreign,
    #[serde(default)]
    pub(crate) status: Foreign,
    #[serde(default)]
    pub(crate) tool_count: u64,
    #[serde(default)]
    pub(crate) deployed_by: Foreign,
    #[serde(default)]
    pub(crate) scope: Value,
    #[serde(default)]
    pub(crate) source_type: Foreign,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Foreign>,
    #[serde(default)]
    pub(crate) created_at: Foreign,
    /// Milliseconds since 1970 at which its state began; older brokers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<u64>,
    /// Whether its scope keeps anybody out; older brokers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guards: Option<bool>,
    /// All else, for `--json` and `--wide`.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, Value>,
}

/// `mcp_call`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Call {
    pub(crate) server_name: String,
    pub(crate) tool_name: String,
    pub(crate) args: Box<RawValue>,
    /// None for as long as the service's own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) call_id: String,
}

impl Request for Call {
    const TYPE: &'static str = "mcp_call";
    const REPLY_TYPE: &'static str = "mcp_call_result";
    type Reply = CallResult;
}

/// `mcp_call_result`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallResult {
    #[serde(default)]
    pub(crate) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) error: Option<Foreign>,
    /// A word for a failure of the mesh, a number for an error of the MCP server.
    #[serde(default)]
    pub(crate) error_code: Option<Value>,
    #[serde(default)]
    pub(crate) error_data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(crate) attempts: Option<u64>,
}

/// What of a CallToolResult is shown to a person. Blocks stay raw: one that is malformed must not hide the others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolResult {
    #[serde(default)]
    pub(crate) content: Vec<Value>,
    #[serde(default)]
    pub(crate) structured_content: Option<Value>,
    #[serde(default)]
    pub(crate) is_error: bool,
}

/// `mcp_cancel`; it has no answer of its own, the call's answer says what became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cancel {
    pub(crate) call_id: String,
}

/// The `type` of [`Cancel`].
pub(crate) const CANCEL_TYPE: &str = "mcp_cancel";

/// The `type` of [`Progress`].
pub(crate) const PROGRESS_TYPE: &str = "mcp_progress";

/// `mcp_progress`: the MCP progress of one call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Progress {
    #[serde(default)]
    pub(crate) call_id: String,
    #[serde(default)]
    pub(crate) progress: Option<f64>,
    #[serde(default)]
    pub(crate) total: Option<f64>,
    #[serde(default)]
    pub(crate) message: Option<Foreign>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn a_deploy_says_only_what_was_asked_for() {
        let mut deploy = Deploy {
            server_name: "time".into(),
            source: Source::Uvx { package: "mcp-server-time".into(), with: Vec::new() },
            args: vec![],
            config: DeployConfig::default(),
            scope: None,
            strict: false,
            runner: None,
        };
        assert_eq!(
            to_value(&deploy).unwrap(),
            json!({"server_name": "time", "source": {"type": "uvx", "package": "mcp-server-time"}, "config": {}})
        );
        deploy.config.policy.restart = Some(policy::Restart::Transient);
        deploy.config.policy.retry = Some(policy::Retry::Never);
        deploy.config.memory_mb = Some(64);
        deploy.config.env.insert("K".into(), "v".into());
        assert_eq!(
            to_value(&deploy).unwrap()["config"],
            json!({"env": {"K": "v"}, "memory_mb": 64, "policy": {"restart": "transient", "retry": "never"}})
        );
    }

    #[test]
    fn calls_use_the_camel_case_names() {
        let call = Call {
            server_name: "s".into(),
            tool_name: "t".into(),
            args: RawValue::from_string("{}".into()).unwrap(),
            timeout_ms: Some(5),
            call_id: "c".into(),
        };
        assert_eq!(
            to_value(call).unwrap(),
            json!({"serverName": "s", "toolName": "t", "args": {}, "timeoutMs": 5, "callId": "c"})
        );
    }
}
