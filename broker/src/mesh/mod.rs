//! Meshes: who is in them, what they share.
//!
//! Owns one subtree per mesh: `scribe` (writes what happens, many entries a commit), `mesh` (presence, mail), `journal`
//! (what happened to its services), `hosted` (servers that peers run themselves), `peers` (one actor per connection), `services`
//! (one actor per deployed service) and `watches` (one per URL that is looked at).
//! Parent: the root.
//! A restart of one of them leaves the others alone; a restart of the whole mesh closes its sockets and
//! reads everything else back from the store and from the runners' reports.

pub mod actor;
pub mod admission;
mod clock;
pub mod directory;
pub mod hosted;
pub mod journal;
pub mod mail;
pub mod members;
pub mod pace;
pub mod peer;
mod priority;
pub mod roster;
pub mod scope;
pub mod scribe;
pub mod seats;
pub mod service;
mod spec;
pub mod watch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use supervision::{Dynamic, Slot};

use crate::files::Files;
use crate::metrics::Metrics;
use crate::runners::{Link, LinkEvent, LinkObserver, Runners, ServiceKey};
use crate::store::{Founded, Mesh, MeshId, NewMesh, Store, StoreError, UtcMs};
use crate::vault::AtRest;

use actor::MeshActor;
pub use directory::Services;
use hosted::Hosted;
use journal::Journal;
use members::Members;
use pace::{DEPLOYS_PER_MINUTE, Pace, REGISTRATIONS_PER_MINUTE};
use scribe::Scribe;
use seats::Seats;
use service::Look;
use watch::{Lookout, Watches};

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
    /// The uploaded files of all meshes.
    pub files: Arc<Files>,
    /// The runners.
    pub runners: Runners,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The mesh's own actor.
    pub presence: Slot<MeshActor>,
    /// Who belongs to it.
    pub members: Members,
    /// Connections it has.
    pub seats: Arc<Seats>,
    /// Where what happens is written down.
    pub scribe: Scribe,
    /// Its mail in figures.
    pub figures: Figures,
    /// Where transitions are written down.
    pub journal: Journal,
    /// The mesh's services.
    pub services: Services,
    /// The mesh's peer sessions.
    pub peers: Dynamic,
    /// The servers that its peers host.
    pub hosted: Arc<Hosted>,
    /// How often its members deploy.
    pub pace: Pace,
    /// The addresses that are looked at for its members.
    pub watches: Watches,
    /// What all watches share.
    pub lookout: Lookout,
    /// How often they register servers of their own.
    pub register_pace: Pace,
    /// Services a mesh may have.
    pub max_services: u32,
}

/// The mail of a mesh in figures, as of a moment ago.
#[derive(Debug, Default)]
pub struct Figures {
    waiting: AtomicU64,
    waiting_bytes: AtomicU64,
    in_flight: AtomicU64,
    live: AtomicU64,
}

impl Figures {
    fn set(&self, mail: &mail::Mail, live: usize) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.waiting.store(mail.waiting(), Ordering::Relaxed);
        self.waiting_bytes.store(mail.waiting_bytes(), Ordering::Relaxed);
        self.in_flight.store(number(mail.in_flight()), Ordering::Relaxed);
        self.live.store(number(live), Ordering::Relaxed);
    }

    /// Messages that wait, their bytes, those that are pushed and not acknowledged, and sessions with a socket.
    #[must_use]
    pub fn read(&self) -> [u64; 4] {
        [&self.waiting, &self.waiting_bytes, &self.in_flight, &self.live].map(|figure| figure.load(Ordering::Relaxed))
    }
}

/// Every mesh of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Meshes {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    at_rest: Arc<AtRest>,
    files: Arc<Files>,
    runners: Runners,
    metrics: Arc<Metrics>,
    max_services: u32,
    lookout: Lookout,
    set: Dynamic,
    by_id: RwLock<HashMap<MeshId, Arc<MeshContext>>>,
    loaded: AtomicBool,
}

impl Meshes {
    /// No mesh yet; [`Meshes::load`] brings up those in the store.
    #[must_use]
    pub fn new(
        store: Store,
        at_rest: Arc<AtRest>,
        files: Arc<Files>,
        runners: Runners,
        metrics: Arc<Metrics>,
        max_services: u32,
        lookout: Lookout,
    ) -> Self {
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
                files,
                runners: runners.clone(),
                metrics,
                max_services,
                lookout,
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

    /// The uploaded files.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.inner.files
    }

    /// What all watches share.
    #[must_use]
    pub fn lookout(&self) -> &Lookout {
        &self.inner.lookout
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
            watches: Watches::new(weak.clone()),
            lookout: self.inner.lookout.clone(),
            id: mesh.id.clone(),
            slug: mesh.slug,
            store: self.inner.store.clone(),
            at_rest: Arc::clone(&self.inner.at_rest),
            files: Arc::clone(&self.inner.files),
            runners: self.inner.runners.clone(),
            metrics: Arc::clone(&self.inner.metrics),
            presence: Slot::new(),
            members: Members::default(),
            seats: Arc::default(),
            scribe: Scribe::new(),
            figures: Figures::default(),
            journal: Journal::new(self.inner.metrics.limits.clone()),
            peers: Dynamic::new(),
            hosted: Arc::new(Hosted::new(self.inner.metrics.limits.clone())),
            pace: Pace::of(DEPLOYS_PER_MINUTE),
            register_pace: Pace::of(REGISTRATIONS_PER_MINUTE),
            max_services: self.inner.max_services,
        });
        let mut by_id = self.inner.by_id.write().unwrap_or_else(PoisonError::into_inner);
        by_id.insert(mesh.id, Arc::clone(&context));
        context
    }

    /// Makes a mesh and brings it up.
    ///
    /// # Errors
    /// When the store refuses: [`StoreError::Taken`] for a slug or an id that is in use.
    pub async fn create(&self, new: NewMesh) -> Result<Founded, StoreError> {
        let founded = self.inner.store.create_mesh_with_owner(new, UtcMs::now()).await?;
        self.bring_up(founded.mesh.clone()).await;
        Ok(founded)
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
