//! The tools of services that came up during the session: `svc__<service>__<tool>`.
//!
//! What was there when the session began has entries of its own in the client, or is called by its name; each tool that is
//! listed is read in every turn, so it is only these.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::wire::HelloAck;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::tools::{Names, PREFIX_OF_SESSION, hidden_removed, room_behind};
use crate::client::{ANSWER_TIMEOUT, Mesh};
use crate::error::CliError;
use crate::text;
use crate::wire;

/// Before the names of these tools.
pub(super) const PREFIX: &str = "svc__";
/// Tools that are listed at most; the others are called by their service's name.
const MAX_TOOLS: usize = 256;
/// States in which a service's tools can be called, or will be in a moment.
const CALLABLE: [&str; 3] = ["running", "restarting", "starting"];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Late {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was there at the beginning; none before the first connection.
    first: Option<BTreeSet<String>>,
    tools: Names<LateTool>,
}

/// A tool of a service.
#[derive(Debug, Clone)]
pub(super) struct LateTool {
    pub(super) service: String,
    pub(super) tool: String,
    raw: Arc<RawValue>,
}

impl PartialEq for LateTool {
    fn eq(&self, other: &Self) -> bool {
        (&self.service, &self.tool, self.raw.get()) == (&other.service, &other.tool, other.raw.get())
    }
}

impl Late {
    /// There is a connection; the first one says what was there before.
    pub(super) fn connected(&self, mesh: &Mesh) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.first.is_none() {
            let welcome: Option<HelloAck> = mesh.client.welcome().read().ok();
            let services = welcome.and_then(|welcome| welcome.services).unwrap_or_default();
            state.first = Some(services.into_iter().map(|service| service.name).collect());
        }
    }

    /// Asks what there is now; whether the tools are others than before.
    pub(super) async fn refresh(&self, mesh: &Mesh) -> Result<bool, CliError> {
        let catalog = mesh.client.request(&wire::Catalog {}, ANSWER_TIMEOUT).await?;
        let names = catalog.services.iter().filter(|service| CALLABLE.contains(&service.status.raw()));
        let names: Vec<String> = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_late = |name: &&str| state.first.as_ref().is_some_and(|first| !first.contains(*name));
            names.map(|service| service.name.raw()).filter(is_late).map(str::to_owned).collect()
        };
        let mut tools = Vec::new();
        for service in names {
            let request = wire::RawSchema(wire::Schema { server_name: service.clone(), tool_name: None });
            match mesh.client.request(&request, ANSWER_TIMEOUT).await {
                Ok(answer) => tools.extend(answer.tools.iter().filter_map(|raw| late(&service, raw))),
                // It went meanwhile.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        tools.truncate(MAX_TOOLS);
        let room = room_behind(PREFIX_OF_SESSION.len());
        let wanted = tools.into_iter().map(|tool| (format!("{PREFIX}{}__{}", tool.service, tool.tool), tool));
        let tools =
            Names::assign(wanted.map(|(name, tool)| (name, format!("{}/{}", tool.service, tool.tool), tool)), room);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = state.tools != tools;
        state.tools = tools;
        Ok(changed)
    }

    /// For `tools/list`.
    pub(super) fn shown(&self) -> Vec<Arc<RawValue>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tools.iter().filter_map(|(short, tool)| shown(short, tool)).collect()
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<LateTool> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tools.get(name).cloned()
    }
}

fn late(service: &str, raw: &RawValue) -> Option<LateTool> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let tool = value.get("name")?.as_str()?.to_owned();
    Some(LateTool { service: service.to_owned(), tool, raw: hidden_removed(raw) })
}

/// The tool as its server describes it, under its name here, and marked as somebody else's.
fn shown(short: &str, tool: &LateTool) -> Option<Arc<RawValue>> {
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(tool.raw.get()).ok()?;
    let own = fields.get("description").and_then(Value::as_str).map(text::block).unwrap_or_default();
    let description = format!("[service {} of the mesh] {own}", text::line(&tool.service));
    fields.insert("description".to_owned(), description.trim_end().into());
    fields.insert("name".to_owned(), short.into());
    serde_json::value::to_raw_value(&fields).ok().map(Arc::from)
}
