//! What is told of a deployment: in a report, and in numbers.

use protocol::link::{InstanceFact, ServiceReport, ServiceState};

use super::{Entry, Inner, unix_ms};
use crate::instance::key;
use crate::process::Level;

/// A deployment in numbers.
pub struct Load {
    /// Where it is in its life.
    pub state: ServiceState,
    /// Calls before the processes.
    pub in_flight: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// The isolation level of each process that runs.
    pub levels: Vec<Level>,
}

impl Entry {
    /// What is the case, in numbers.
    #[must_use]
    pub fn load(&self) -> Load {
        let inner = self.lock();
        Load {
            state: inner.state.state(),
            in_flight: inner.gate.in_flight(),
            waiting: inner.gate.waiting(),
            levels: inner.facts.values().map(|facts| facts.level).collect(),
        }
    }

    /// Whether a process of it is there or may come by itself.
    pub(crate) fn may_have_processes(&self) -> bool {
        let inner = self.lock();
        !inner.facts.is_empty() || !inner.state.state().is_final()
    }

    /// How many of its instances are ready, and how many it has.
    pub(crate) fn instances(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.instances.ready(), inner.instances.places().len())
    }

    /// What is the case; the tool list only if it changed after the change with this number.
    #[must_use]
    pub fn report(&self, since: Option<u64>) -> ServiceReport {
        let inner = self.lock();
        let tools = inner.tools.shown.as_ref().filter(|tools| since.is_none_or(|since| tools.number > since));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        ServiceReport {
            mesh: self.key.mesh.clone(),
            service: self.key.service.clone(),
            deployment: self.key.deployment.clone(),
            state: inner.state.state(),
            since_ms: inner.state.since_ms(),
            cause: inner.state.cause().to_owned(),
            restarts_window: inner.state.restarts_window(unix_ms(), self.spec.policy.within_ms),
            restarts_total: inner.state.restarts_total(),
            version: inner.prepared.as_ref().map(|prepared| prepared.version.clone()),
            runtime: inner.runtime.clone(),
            tools: tools.map(|tools| tools.list.clone()),
            failure: inner.failure.clone(),
            instances: inner.facts_of_instances(),
            waiting: count(inner.gate.waiting()),
            in_flight: count(inner.gate.in_flight()),
            progress: inner.progress.clone(),
        }
    }
}

impl Inner {
    /// Those that have a process; of several also those that have none at the moment.
    fn facts_of_instances(&self) -> Vec<InstanceFact> {
        let several = self.instances.places().len() > 1 && !self.state.state().is_final();
        let fact = |(instance, place): (usize, &crate::service::instances::Place)| {
            let facts = self.facts.get(&instance);
            (several || facts.is_some()).then(|| InstanceFact {
                key: key(instance),
                pid: facts.map(|facts| facts.pid),
                level: facts.map(|facts| facts.level.as_str().to_owned()),
                state: place.as_str().to_owned(),
            })
        };
        self.instances.places().iter().enumerate().filter_map(fact).collect()
    }
}
