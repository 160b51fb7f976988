//! The broker's side of its runners.
//!
//! Owns one link per configured runner and, in the embedded default, the runner's own process.
//! Parent: the root. Children: `link:<runner>` and `process:<runner>`, members of a dynamic set.
//! A restart of a link loses its connection and what was in flight on it, and nothing else: what a
//! runner last reported stays on its board, marked as out of sight.

pub mod board;
pub mod embedded;
pub mod link;
mod session;
mod spec;
mod table;

pub use board::{Board, ServiceKey};
pub use link::{CallOutcome, Link, LinkEvent, LinkObserver, NotUp, Outbound, Placed, ProgressSink, Unsent};
pub use spec::{RunnerConfig, children};
pub use table::CommandReply;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::metrics::Metrics;

/// A name that no runner has.
#[derive(Debug, thiserror::Error)]
#[error("this broker has no such runner; it has {}", has.join(", "))]
pub struct Unknown {
    /// The names that there are.
    pub has: Vec<String>,
}

/// Every runner this broker knows, by name. Cheap to clone; outlives restarts of the links.
#[derive(Clone)]
pub struct Runners {
    links: Arc<BTreeMap<String, Link>>,
    observer: Arc<OnceLock<Arc<dyn LinkObserver>>>,
}

impl Runners {
    /// One link per configured runner, none of them connected yet.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>, metrics: &Metrics) -> Self {
        let observer = Arc::new(OnceLock::new());
        let link = |name: String| Link::new(name.clone(), Arc::clone(&observer), metrics.link(&name));
        let links = names.into_iter().map(|name| (name.clone(), link(name))).collect();
        Self { links: Arc::new(links), observer }
    }

    /// Who is told of links that come, go or report. Set once, before the tree starts.
    pub fn observe(&self, observer: Arc<dyn LinkObserver>) {
        if self.observer.set(observer).is_err() {
            tracing::error!("a second observer of the runners was refused");
        }
    }

    /// The link of the runner with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Link> {
        self.links.get(name)
    }

    /// The same, for somebody who wrote the name.
    ///
    /// # Errors
    /// [`Unknown`], when this broker has no such runner.
    pub fn known(&self, name: &str) -> Result<&Link, Unknown> {
        self.get(name).ok_or_else(|| Unknown { has: self.links.keys().cloned().collect() })
    }

    /// Every link, in the order of the names.
    pub fn all(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    /// Where a new service goes: of the runners that are up the one with the fewest services,
    /// else any (the service then waits for it).
    #[must_use]
    pub fn place(&self) -> Option<&Link> {
        self.links.values().min_by_key(|link| (!link.is_up(), link.placed()))
    }

    /// Where a service goes that cannot stay on the runner of this name: of the others that are up the one with the fewest.
    #[must_use]
    pub fn place_beside(&self, name: &str) -> Option<&Link> {
        let others = self.links.values().filter(|link| link.name() != name && link.is_up());
        others.min_by_key(|link| link.placed())
    }
}
