//! What the instances of a deployment tell their entry: processes, clients, tool lists.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::link::{LogStream, Tool};

use super::{Entry, GateEvent, Open};
use crate::instance::{Client, key};
use crate::process::ProcessFacts;
use crate::service::gate::Repeatable;

/// The tool lists. Shown is that of the first instance that is ready, the last one while none is.
#[derive(Default)]
pub(super) struct Tools {
    /// Of those that are ready, by instance.
    listed: BTreeMap<usize, Vec<Tool>>,
    pub(super) shown: Option<Shown>,
}

/// The tool list, and the number of the change that brought it.
pub(super) struct Shown {
    pub(super) list: Vec<Tool>,
    pub(super) number: u64,
}

impl Tools {
    /// Takes the list of an instance that is ready; another one that lists otherwise.
    fn listed(&mut self, instance: usize, list: Vec<Tool>) -> Option<usize> {
        let other = self.listed.iter().find(|(other, tools)| **other != instance && **tools != list);
        let other = other.map(|(other, _)| *other);
        self.listed.insert(instance, list);
        other
    }

    /// Shows the first list. The same list again is no news: a restart does not send it again.
    fn show(&mut self, changed: impl FnOnce() -> u64) {
        let Some(first) = self.listed.values().next() else { return };
        if self.shown.as_ref().is_none_or(|shown| shown.list != *first) {
            self.shown = Some(Shown { list: first.clone(), number: changed() });
        }
    }
}

impl Entry {
    /// A process can be asked from now on. Tells the gate.
    pub(crate) fn opened(&self, instance: usize, generation: u64, client: &Arc<Client>, tools: Vec<Tool>) {
        let repeatable = repeatable(&tools);
        self.set_tools(instance, tools);
        self.lock().clients.insert(generation, Open { instance, client: Arc::clone(client) });
        self.gate(GateEvent::Opened { generation, repeatable });
        self.touch();
    }

    /// An open process lists other tools now.
    pub(crate) fn relisted(&self, instance: usize, generation: u64, tools: Vec<Tool>) {
        let repeatable = repeatable(&tools);
        self.set_tools(instance, tools);
        self.gate(GateEvent::Relisted { generation, repeatable });
        self.touch();
    }

    fn set_tools(&self, instance: usize, list: Vec<Tool>) {
        let other = {
            let mut inner = self.lock();
            let other = inner.tools.listed(instance, list);
            inner.tools.show(|| self.board().changed());
            other
        };
        if let Some(other) = other {
            let words = format!("instance {} lists other tools than {}", key(instance), key(other));
            self.say(LogStream::System, &words);
        }
    }

    /// The process of this generation is dead or no longer spoken to. Harmless when said twice.
    pub(crate) fn closed(&self, generation: u64) {
        {
            let mut inner = self.lock();
            if let Some(open) = inner.clients.remove(&generation) {
                inner.tools.listed.remove(&open.instance);
                inner.tools.show(|| self.board().changed());
            }
        }
        self.gate(GateEvent::Died { generation });
    }

    /// Whoever speaks to the open process of an instance, and its generation.
    pub(crate) fn client(&self, instance: usize) -> Option<(u64, Arc<Client>)> {
        let inner = self.lock();
        let of = inner.clients.iter().find(|(_, open)| open.instance == instance);
        of.map(|(generation, open)| (*generation, Arc::clone(&open.client)))
    }

    /// Whoever speaks to the process of this generation.
    pub(super) fn client_of(&self, generation: u64) -> Option<Arc<Client>> {
        self.lock().clients.get(&generation).map(|open| Arc::clone(&open.client))
    }

    /// For how long calls may keep the process of this generation from giving a sign of life; see the gate.
    pub(crate) fn patience(&self, generation: u64) -> Option<Duration> {
        self.lock().gate.patience(generation)
    }

    /// Calls before the processes that are within their time.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().gate.in_flight()
    }

    /// The process of an instance that runs, or `None`.
    pub(crate) fn set_facts(&self, instance: usize, facts: Option<ProcessFacts>) {
        match facts {
            Some(facts) => drop(self.lock().facts.insert(instance, facts)),
            None => drop(self.lock().facts.remove(&instance)),
        }
        self.touch();
    }
}

/// The tools that say of themselves that a second call does no harm.
fn repeatable(tools: &[Tool]) -> Repeatable {
    let harmless = |tool: &&Tool| {
        tool.annotations
            .as_ref()
            .is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
    };
    Arc::new(tools.iter().filter(harmless).map(|tool| tool.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn tool(name: &str) -> Vec<Tool> {
        vec![serde_json::from_value(serde_json::json!({ "name": name, "inputSchema": {} })).unwrap()]
    }

    #[test]
    fn the_first_ready_ones_list_is_shown_and_the_last_one_while_none_is() {
        let mut tools = Tools::default();
        let mut number = 0;
        let mut change = |tools: &mut Tools| {
            tools.show(|| {
                number += 1;
                number
            });
            tools.shown.as_ref().map(|shown| (shown.list.first().unwrap().name.clone(), shown.number)).unwrap()
        };
        assert_eq!(tools.listed(1, tool("b")), None);
        assert_eq!(change(&mut tools), ("b".to_owned(), 1));
        assert_eq!(tools.listed(2, tool("b")), None, "the same");
        assert_eq!(tools.listed(0, tool("a")), Some(1));
        assert_eq!(change(&mut tools), ("a".to_owned(), 2));
        assert_eq!(change(&mut tools), ("a".to_owned(), 2), "no news");
        tools.listed.remove(&0);
        assert_eq!(change(&mut tools), ("b".to_owned(), 3));
        tools.listed.clear();
        assert_eq!(change(&mut tools), ("b".to_owned(), 3));
    }
}
