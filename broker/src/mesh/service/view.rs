//! What others see of a service: an immutable snapshot, replaced as a whole.

use std::sync::{Arc, PoisonError, RwLock};

use meter::Counters;
use protocol::link::{ServiceState, Tool};
use supervision::Slot;

use super::actor::ServiceActor;
use super::desk::Desk;
use crate::mesh::scope::{Principal, Verb, may};
use crate::metrics::Limit;
use crate::store::UtcMs;
use protocol::wire::Scope;

/// A service as it stands.
#[derive(Debug, Clone)]
pub struct View {
    /// Where it is in its life.
    pub state: ServiceState,
    /// Why it is there.
    pub cause: String,
    /// With whom it is shared.
    pub scope: Scope,
    /// The deployer's member id.
    pub deployed_by: String,
    /// What the deployer was called.
    pub deployed_by_name: String,
    /// Shown to people.
    pub description: String,
    /// `npx`, `uvx`, `git`, `zip` or `command`.
    pub source_type: &'static str,
    /// The exact version that runs, once known.
    pub version: Option<String>,
    /// Its tools, as the server listed them.
    pub tools: Arc<[Tool]>,
    /// When the service was first deployed.
    pub created_at: UtcMs,
    /// Whether its secrets came in clear.
    pub secrets_seen: bool,
    /// The active deployment.
    pub deployment: Option<String>,
    /// How often its processes were started again, as far as its runner says.
    pub restarts: Option<u64>,
    /// The isolation of its processes.
    pub level: Option<String>,
    /// What runs it, as its runner found it.
    pub runtime: Option<String>,
    /// How many of them run.
    pub instances: usize,
    /// Which runner holds it.
    pub runner: Option<String>,
    /// Which one it is on its way to.
    pub moving_to: Option<String>,
}

impl View {
    /// Whether it is on this runner, or on its way there.
    pub(in crate::mesh) fn concerns(&self, runner: &str) -> bool {
        [&self.runner, &self.moving_to].into_iter().flatten().any(|name| name == runner)
    }
}

/// One service, as everybody who uses it holds it. Outlives restarts of its actor.
pub struct ServiceCell {
    /// Its name, unique in its mesh.
    pub name: String,
    /// Its actor.
    pub slot: Slot<ServiceActor>,
    /// Where its calls are taken in.
    pub desk: Desk,
    view: RwLock<Option<Arc<View>>>,
}

impl ServiceCell {
    pub(crate) fn new(name: String, limits: Counters<Limit>) -> Self {
        Self { name, slot: Slot::new(), desk: Desk::new(limits), view: RwLock::new(None) }
    }

    /// The service as it stands; `None` before it was first deployed and after it is gone.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The service as it stands, if `who` may do `verb` with it.
    #[must_use]
    pub fn view_for(&self, who: &Principal, verb: Verb) -> Option<Arc<View>> {
        self.view().filter(|view| may(who, verb, &view.scope, &view.deployed_by))
    }

    pub(super) fn show(&self, view: Option<View>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view.map(Arc::new);
    }
}
