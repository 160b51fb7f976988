//! What a runner says is the case.
//!
//! Contract: reports are facts, never wishes. Each has a rising `seq`; one with `complete` names every service that the
//! runner knows, and what it does not name does not exist there. Times are milliseconds since the Unix epoch on the
//! runner's clock.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Where a service stands.
///
/// ```text
/// queued → building → starting → running ⇄ restarting → crashed
///             └──────────┴→ failed   running → draining → stopped        unreachable: the link is down
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Waits for a place to be built in.
    Queued,
    /// Being fetched and installed.
    Building,
    /// Spawned; handshake and tool list under way.
    Starting,
    /// Ready.
    Running,
    /// Down after it was ready; calls wait.
    Restarting,
    /// Was ready once, then failed more often than its policy allows; waits for a person or an update.
    Crashed,
    /// A deployment that was never ready.
    Failed,
    /// Finishes its calls before it stops; takes no new ones.
    Draining,
    /// Ended as asked.
    Stopped,
    /// Nobody knows: its runner cannot be reached. Said by the broker, never by a runner.
    Unreachable,
}

impl ServiceState {
    /// Every state, in the order of a service's life.
    pub const ALL: [Self; 10] = [
        Self::Queued,
        Self::Building,
        Self::Starting,
        Self::Running,
        Self::Restarting,
        Self::Crashed,
        Self::Failed,
        Self::Draining,
        Self::Stopped,
        Self::Unreachable,
    ];

    /// The word on the wire and on the screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether the service stays so until somebody asks for something else.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Crashed | Self::Failed | Self::Stopped)
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The state of a runner's services, all of them or those that changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Rises by one with each report of a connection.
    pub seq: u64,
    /// Whether every service of this runner is named.
    pub complete: bool,
    /// The services that are named.
    pub services: Vec<ServiceReport>,
    /// The runner's own node tree, to be shown under its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Box<RawValue>>,
}

/// The facts about one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Slug of the mesh.
    pub mesh: String,
    /// Name of the service.
    pub service: String,
    /// The deployment that this is about.
    pub deployment: String,
    /// Where it stands.
    pub state: ServiceState,
    /// Since when.
    pub since_ms: u64,
    /// Why it is so, for a person.
    pub cause: String,
    /// Restarts within the policy's window.
    pub restarts_window: u32,
    /// Restarts since the runner started.
    pub restarts_total: u64,
    /// The exact version that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What runs it, as the runner found it: `node 22.1`, `python 3.12`, `bun`, `program`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The tools, in reports that follow a reading of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Present when `failed` or `crashed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Its processes.
    #[serde(default)]
    pub instances: Vec<InstanceFact>,
    /// Calls that wait for it to be ready.
    #[serde(default)]
    pub waiting: u32,
    /// Calls that a process has taken.
    #[serde(default)]
    pub in_flight: u32,
    /// While building: the last line that the installation wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Why a service gave up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In one sentence.
    pub reason: String,
    /// The last lines of its log, oldest first.
    #[serde(default)]
    pub log: Vec<String>,
}

/// One process of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFact {
    /// The affinity key it serves.
    pub key: String,
    /// Its process id on the runner's machine, to be shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The isolation level that was proved from inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The instance's own state.
    pub state: String,
}

/// A tool as its server lists it. Members that are not named here are kept in `extra`, byte for byte.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    /// Unique within its server.
    pub name: String,
    /// For the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the arguments.
    #[serde(rename = "inputSchema")]
    pub input_schema: Box<RawValue>,
    /// What the server says about the tool's behaviour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<ToolAnnotations>,
    /// Everything else, such as `title`, `outputSchema`, `_meta`.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Box<RawValue>>,
}

/// Hints of a server about one of its tools. They are claims, not guarantees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolAnnotations {
    /// Does not change anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// May destroy something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// A second call with the same arguments changes nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// Reaches beyond the server's own data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Hints of later protocol revisions.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl PartialEq for Tool {
    fn eq(&self, other: &Self) -> bool {
        fn texts(map: &BTreeMap<String, Box<RawValue>>) -> impl Iterator<Item = (&str, &str)> {
            map.iter().map(|(name, value)| (name.as_str(), value.get()))
        }
        self.name == other.name
            && self.description == other.description
            && self.annotations == other.annotations
            && self.input_schema.get() == other.input_schema.get()
            && texts(&self.extra).eq(texts(&other.extra))
    }
}

impl<'de> Deserialize<'de> for Tool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ToolVisitor)
    }
}

/// Written out because a derived `flatten` buffers the members it does not know, which raw JSON does not survive.
struct ToolVisitor;

impl<'de> Visitor<'de> for ToolVisitor {
    type Value = Tool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tool")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tool, A::Error> {
        let (mut name, mut description, mut input_schema, mut annotations) = (None, None, None, None);
        let mut extra = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" if name.is_none() => name = Some(map.next_value()?),
                "description" if description.is_none() => description = map.next_value()?,
                "inputSchema" if input_schema.is_none() => input_schema = Some(map.next_value()?),
                "annotations" if annotations.is_none() => annotations = map.next_value()?,
                // Named twice: the first stays.
                "name" | "description" | "inputSchema" | "annotations" => {
                    let IgnoredAny = map.next_value()?;
                }
                _ => drop(extra.insert(key, map.next_value()?)),
            }
        }
        Ok(Tool {
            name: name.ok_or_else(|| A::Error::missing_field("name"))?,
            description,
            input_schema: input_schema.ok_or_else(|| A::Error::missing_field("inputSchema"))?,
            annotations,
            extra,
        })
    }
}

/// One line of a service's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the runner read it.
    pub at_ms: u64,
    /// Where it came from.
    pub stream: LogStream,
    /// Without its line end.
    pub text: String,
    /// Its place in the service's log: rises from line to line, also across restarts of the runner. Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// Where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// The installation of the program.
    Install,
    /// The program's standard error.
    Stderr,
    /// A line of its standard output that is not JSON-RPC.
    Stdout,
    /// The runner itself: starts, exits, restarts.
    System,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_tool_keeps_every_byte_the_server_said() {
        let text = r#"{"name":"t","inputSchema":{"z":1.10,"a":1e2},"annotations":{"readOnlyHint":true,"newHint":[1]},"_meta":{"k":  1.0},"title":"T"}"#;
        let tool: Tool = serde_json::from_str(text).unwrap();
        assert_eq!(tool.input_schema.get(), r#"{"z":1.10,"a":1e2}"#);
        assert_eq!(tool.extra["_meta"].get(), r#"{"k":  1.0}"#);
        assert_eq!(serde_json::to_string(&tool).unwrap(), text);
    }

    #[test]
    fn states_have_one_word_each() {
        for state in ServiceState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
