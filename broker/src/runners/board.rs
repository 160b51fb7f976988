//! What a runner last reported, by service and deployment.
//!
//! Plain data. The link's session writes it, services read it; it says how fresh it is, so that
//! nobody takes an old report for the present.

use std::collections::BTreeMap;

use protocol::link::{Report, ServiceReport, ServiceState};

/// A service as a runner names it: mesh slug and service name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The mesh's slug.
    pub mesh: String,
    /// The service's name, unique in its mesh.
    pub service: String,
}

impl ServiceKey {
    /// The key of `service` in `mesh`.
    pub fn new(mesh: impl Into<String>, service: impl Into<String>) -> Self {
        Self { mesh: mesh.into(), service: service.into() }
    }
}

/// The last reports of one runner.
#[derive(Debug, Default)]
pub struct Board {
    services: BTreeMap<ServiceKey, BTreeMap<String, ServiceReport>>,
    complete: bool,
}

impl Board {
    /// True once a complete report of the present connection has been taken in.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The connection is gone: what is written here is history until the next complete report.
    pub fn out_of_sight(&mut self) {
        self.complete = false;
    }

    /// Takes a report in; returns the services about which something changed.
    ///
    /// A complete report forgets whatever it does not name. A partial one before the first
    /// complete one is ignored: it would leave gaps.
    pub fn take(&mut self, report: Report) -> Vec<ServiceKey> {
        let mut changed = Vec::new();
        if report.complete {
            changed.extend(std::mem::take(&mut self.services).into_keys());
            self.complete = true;
        } else if !self.complete {
            return changed;
        }
        for service in report.services {
            let key = ServiceKey::new(service.mesh.clone(), service.service.clone());
            self.take_one(&key, service, report.complete);
            changed.push(key);
        }
        changed.sort();
        changed.dedup();
        changed
    }

    fn take_one(&mut self, key: &ServiceKey, mut report: ServiceReport, complete: bool) {
        let known = self.services.get(key).is_some_and(|all| all.contains_key(&report.deployment));
        if report.state == ServiceState::Stopped && !known && !complete {
            // The last word about a deployment that was unloaded and forgotten.
            return;
        }
        let deployments = self.services.entry(key.clone()).or_default();
        if let Some(last) = deployments.get_mut(&report.deployment) {
            // A runner sends the tool list when it was read, not with every change.
            if report.tools.is_none() {
                report.tools = last.tools.take();
            }
            if report.version.is_none() {
                report.version = last.version.take();
            }
        }
        deployments.insert(report.deployment.clone(), report);
    }

    /// Nothing of a deployment is left on the runner.
    pub fn forget(&mut self, key: &ServiceKey, deployment: &str) {
        if let Some(deployments) = self.services.get_mut(key) {
            deployments.remove(deployment);
            if deployments.is_empty() {
                self.services.remove(key);
            }
        }
    }

    /// Everything known about one service, by deployment.
    #[must_use]
    pub fn of(&self, key: &ServiceKey) -> Vec<ServiceReport> {
        self.services.get(key).map(|all| all.values().cloned().collect()).unwrap_or_default()
    }

    /// Every service and deployment the runner holds.
    pub fn deployments(&self) -> impl Iterator<Item = (&ServiceKey, &str)> {
        self.services.iter().flat_map(|(key, all)| all.keys().map(move |id| (key, id.as_str())))
    }

    /// How many services the runner holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// True when the runner holds no service.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn report(complete: bool, services: &[(&str, &str)]) -> Report {
        let service = |(deployment, state): &(&str, &str)| {
            serde_json::json!({ "mesh": "m", "service": "s", "deployment": deployment, "state": state, "since_ms": 0,
                "cause": "", "restarts_window": 0, "restarts_total": 0, "version": "1" })
        };
        let services: Vec<_> = services.iter().map(service).collect();
        serde_json::from_value(serde_json::json!({ "seq": 1, "complete": complete, "services": services })).unwrap()
    }

    fn states(board: &Board) -> Vec<(String, ServiceState)> {
        let all = board.of(&ServiceKey::new("m", "s"));
        all.into_iter().map(|report| (report.deployment, report.state)).collect()
    }

    #[test]
    fn a_complete_report_forgets_what_it_does_not_name() {
        let mut board = Board::default();
        assert!(board.take(report(false, &[("a", "running")])).is_empty(), "nothing before the first complete one");
        board.take(report(true, &[("a", "running")]));
        assert_eq!(board.take(report(true, &[])).len(), 1, "whom it no longer names must look");
        assert!(board.is_empty());
    }

    #[test]
    fn one_that_ended_is_kept_until_it_was_unloaded() {
        let mut board = Board::default();
        board.take(report(true, &[("a", "running")]));
        board.take(report(false, &[("a", "stopped")]));
        assert_eq!(states(&board), [("a".to_owned(), ServiceState::Stopped)]);
        board.forget(&ServiceKey::new("m", "s"), "a");
        board.take(report(false, &[("a", "stopped")]));
        assert!(board.is_empty(), "a late last word brings nothing back");
    }

    #[test]
    fn what_is_not_repeated_is_kept() {
        let mut board = Board::default();
        board.take(report(true, &[("a", "running")]));
        let mut partial = report(false, &[("a", "restarting")]);
        partial.services[0].version = None;
        board.take(partial);
        assert_eq!(board.of(&ServiceKey::new("m", "s"))[0].version.as_deref(), Some("1"));
    }
}
