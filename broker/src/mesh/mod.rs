//! Meshes: who is in them, what they share.
//!
//! Owns one subtree per mesh: `mesh` (presence, routing), `journal` (what happened to its services),
//! `peers` (one actor per session) and `services` (one actor per deployed service). Parent: the root.
//! A restart of one of them leaves the others alone; a restart of the whole mesh closes its sockets and
//! reads everything else back from the store and from the runners' reports.

pub mod admission;
pub mod directory;
pub mod journal;
pub mod peer;
pub mod presence;
pub mod scope;
pub mod service;
mod spec;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use supervision::{Dynamic, Slot};

use crate::metrics::Metrics;
use crate::runners::{Link, LinkEvent, LinkObserver, Runners, ServiceKey};
use crate::store::{Mesh, MeshId, Store, StoreError};
use crate::vault::AtRest;

pub use directory::Services;
use journal::Journal;
use presence::MeshActor;
use service::Look;

/// Longest wait for a mesh at the broker's start; longer than for its services. One that is not up by then does not hold
/// the others up.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Deployments that nobody owns and that are stopped at one look; the next look takes the rest.
const MAX_STRAYS_AT_ONCE: usize = 64;

/// What everything inside one mesh needs. Immutable, shared.
pub struct MeshContext {
    /// The mesh's id.
    pub id: MeshId,
    /// The mesh's slug, by which runners know it.
    pub slug: String,
    /// The store.
    pub store: Store,
    /// What seals rows.
    pub at_rest: Arc<AtRest>,
    /// The runners.
    pub runners: Runners,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The mesh's own actor.
    pub presence: Slot<MeshActor>,
    /// Where transitions are written down.
    pub journal: Journal,
    /// The mesh's services.
    pub services: Services,
    /// The mesh's peer sessions.
    pub peers: Dynamic,
    /// Services a mesh may have.
    pub max_services: u32,
}

/// Every mesh of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Meshes {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    at_rest: Arc<AtRest>,
    runners: Runners,
    metrics: Arc<Metrics>,
    max_services: u32,
    set: Dynamic,
    by_id: RwLock<HashMap<MeshId, Arc<MeshContext>>>,
    loaded: AtomicBool,
}

impl Meshes {
    /// No mesh yet; [`Meshes::load`] brings up those in the store.
    #[must_use]
    pub fn new(store: Store, at_rest: Arc<AtRest>, runners: Runners, metrics: Arc<Metrics>, max_services: u32) -> Self {
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| {
            let seeded = weak.clone();
            let set = Dynamic::new().seed(move |_| {
                let meshes = seeded.upgrade().map(|inner| Self { inner });
                async move {
                    match meshes {
                        Some(meshes) => meshes.load().await,
                        None => Ok(()),
                    }
                }
            });
            Inner {
                store,
                at_rest,
                runners: runners.clone(),
                metrics,
                max_services,
                set,
                by_id: RwLock::default(),
                loaded: AtomicBool::new(false),
            }
        });
        let meshes = Self { inner };
        runners.observe(Arc::new(Nudge(meshes.clone())));
        meshes
    }

    /// The set that carries the meshes, for the tree.
    #[must_use]
    pub fn set(&self) -> &Dynamic {
        &self.inner.set
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The mesh with this id.
    #[must_use]
    pub fn get(&self, id: &MeshId) -> Option<Arc<MeshContext>> {
        self.inner.by_id.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Every mesh.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<MeshContext>> {
        self.inner.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Brings up every mesh in the store. Run at each start of the set.
    async fn load(&self) -> Result<(), StoreError> {
        let meshes = self.inner.store.list_meshes().await?;
        join_all(meshes.into_iter().map(|mesh| self.bring_up(mesh))).await;
        self.inner.loaded.store(true, Ordering::Release);
        self.inner.runners.all().for_each(|link| self.sweep_strays(link));
        Ok(())
    }

    async fn bring_up(&self, mesh: Mesh) {
        let context = self.get(&mesh.id).unwrap_or_else(|| self.enter(mesh));
        // Ready: its services are known, so that a peer that comes next finds them.
        if let Err(error) = self.inner.set.start_ready(spec::child(&context), READY_WITHIN).await {
            tracing::error!(mesh = context.slug, %error, "a mesh could not be started");
        }
    }

    fn enter(&self, mesh: Mesh) -> Arc<MeshContext> {
        let context = Arc::new_cyclic(|weak| MeshContext {
            services: Services::new(weak.clone(), self.inner.metrics.limits.clone()),
            id: mesh.id.clone(),
            slug: mesh.slug,
            store: self.inner.store.clone(),
            at_rest: Arc::clone(&self.inner.at_rest),
            runners: self.inner.runners.clone(),
            metrics: Arc::clone(&self.inner.metrics),
            presence: Slot::new(),
            journal: Journal::new(self.inner.metrics.limits.clone()),
            peers: Dynamic::new(),
            max_services: self.inner.max_services,
        });
        let mut by_id = self.inner.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.insert(mesh.id, Arc::clone(&context));
        context
    }

    fn by_slug(&self, slug: &str) -> Option<Arc<MeshContext>> {
        self.all().into_iter().find(|mesh| mesh.slug == slug)
    }

    /// Tells a service to look, wherever it is; a service that is down looks when it starts.
    fn nudge(&self, key: &ServiceKey) {
        if let Some(cell) = self.by_slug(&key.mesh).and_then(|mesh| mesh.services.get(&key.service)) {
            // A full mailbox holds a look already.
            let _ = cell.slot.tell(Look);
        }
    }

    fn nudge_all(&self) {
        for mesh in self.all() {
            for cell in mesh.services.all() {
                let _ = cell.slot.tell(Look);
            }
        }
    }

    /// Stops what a runner holds for meshes and services that the store does not know. What is not read from the store
    /// yet may well be known to it.
    fn sweep_strays(&self, link: &Link) {
        if self.inner.loaded.load(Ordering::Acquire) {
            sweep(link, |key| self.by_slug(&key.mesh).is_none());
        }
        self.all().iter().for_each(|mesh| mesh.services.sweep_strays(link));
    }
}

/// Unloads the deployments on `link` that are nobody's.
fn sweep(link: &Link, is_stray: impl Fn(&ServiceKey) -> bool) {
    if !link.is_up() {
        return;
    }
    let strays = link.deployments().into_iter().filter(|(key, _)| is_stray(key));
    for (key, deployment) in strays.take(MAX_STRAYS_AT_ONCE) {
        tracing::warn!(runner = link.name(), service = key.service, deployment, "stopping what nobody owns");
        let link = link.clone();
        // Ends with the answer or with the link.
        actix_rt::spawn(async move { link.unload(&key, &deployment).await });
    }
}

/// Passes the links' events down to the services they concern.
struct Nudge(Meshes);

impl LinkObserver for Nudge {
    fn on(&self, link: &Link, event: &LinkEvent) {
        match event {
            LinkEvent::Up => {
                self.0.nudge_all();
                self.0.sweep_strays(link);
            }
            LinkEvent::Down => self.0.nudge_all(),
            LinkEvent::Reported(keys) => keys.iter().for_each(|key| self.0.nudge(key)),
        }
    }
}
