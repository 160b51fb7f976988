//! A mesh's services by name: the cells that calls, catalogs and deploys find them by.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use meter::Counters;
use protocol::link::FailCode;
use protocol::wire::Scope;
use supervision::{CallError, ChildEvent, ChildId, Dynamic, Observer, StartError, Transition};

use super::MeshContext;
use super::scope::{Principal, Verb, may};
use super::service::desk::Phase;
use super::service::{
    self, Change, Deploy, DeployRequest, Forget, Manage, News, Refused, ServiceCell, Share, Teller, Undeploy, View,
};
use crate::metrics::Limit;
use crate::runners::{Link, Runners, ServiceKey};
use crate::store::StoreError;

/// Longest wait for a service's actor to take a deploy or an undeploy in (not for its outcome).
const ACCEPT_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for the services of a mesh at its start. One that is not up by then is shown as what it is, and does
/// not hold the others up.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long a name is given to become free or its service's actor to come up, and how often: [`ACCEPT_WITHIN`] in all.
const FREE_WITHIN: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 50;

/// The services of one mesh.
pub struct Services {
    mesh: Weak<MeshContext>,
    set: Dynamic,
    cells: RwLock<BTreeMap<String, Arc<ServiceCell>>>,
    loaded: AtomicBool,
    limits: Counters<Limit>,
}

impl Services {
    pub(super) fn new(mesh: Weak<MeshContext>, limits: Counters<Limit>) -> Self {
        let seeded = mesh.clone();
        let parked = Arc::new(CloseParked(mesh.clone()));
        let set = Dynamic::new().observe(parked).seed(move |_| {
            let mesh = seeded.upgrade();
            async move {
                match mesh {
                    Some(mesh) => mesh.services.load(&mesh).await,
                    None => Ok(()),
                }
            }
        });
        Self { mesh, set, cells: RwLock::default(), loaded: AtomicBool::new(false), limits }
    }

    /// The set that carries the services, for the tree.
    #[must_use]
    pub fn set(&self) -> &Dynamic {
        &self.set
    }

    async fn load(&self, mesh: &Arc<MeshContext>) -> Result<(), String> {
        let stored = mesh.store.services_with_deployments(&mesh.id).await.map_err(|error| error.to_string())?;
        let cells: Vec<_> = stored.iter().map(|row| self.enter(&row.service.name)).collect();
        // All of them are known by what the store says before anybody may ask for one.
        let started = cells.iter().map(|cell| self.set.start_ready(service::child(mesh, cell), READY_WITHIN));
        for (cell, started) in cells.iter().zip(join_all(started).await) {
            match started {
                Ok(()) => {}
                Err(error @ (StartError::Exited(_) | StartError::Timeout)) => {
                    tracing::error!(mesh = mesh.slug, service = cell.name, %error, "a service could not be taken up");
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        self.loaded.store(true, Ordering::Release);
        self.sweep_runners(&mesh.runners);
        Ok(())
    }

    /// Looks through what all runners hold.
    pub(super) fn sweep_runners(&self, runners: &Runners) {
        runners.all().for_each(|link| self.sweep_strays(link));
    }

    /// Stops what a runner holds for services of this mesh that the store does not know, or has on another runner.
    pub(super) fn sweep_strays(&self, link: &Link) {
        if let Some(mesh) = self.mesh.upgrade().filter(|_| self.loaded.load(Ordering::Acquire)) {
            super::sweep(link, |key| key.mesh == mesh.slug && self.is_stray(&key.service, link));
        }
    }

    /// The same for one service.
    pub(super) fn sweep_strays_of(&self, name: &str, link: &Link) {
        if let Some(mesh) = self.mesh.upgrade().filter(|_| self.loaded.load(Ordering::Acquire))
            && self.is_stray(name, link)
        {
            super::sweep(link, |key| key.mesh == mesh.slug && key.service == name);
        }
    }

    fn is_stray(&self, name: &str, link: &Link) -> bool {
        let elsewhere = |view: Arc<View>| view.runner.is_some() && !view.concerns(link.name());
        self.get(name).is_none_or(|cell| cell.view().is_some_and(elsewhere))
    }

    fn enter(&self, name: &str) -> Arc<ServiceCell> {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(ServiceCell::new(name.to_owned(), self.limits.clone()));
        Arc::clone(cells.entry(name.to_owned()).or_insert_with(new))
    }

    /// The service of this name, whoever asks.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<ServiceCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every service, whoever asks.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<ServiceCell>> {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Every service that `who` may see, with how it stands.
    #[must_use]
    pub fn seen_by(&self, who: &Principal) -> Vec<(Arc<ServiceCell>, Arc<View>)> {
        self.all().into_iter().filter_map(|cell| cell.view_for(who, Verb::See).map(|view| (cell, view))).collect()
    }

    /// The service of this name if `who` may do `verb` with it. One that must not be seen is not found.
    ///
    /// # Errors
    /// [`Refused::NotFound`], or [`Refused::Forbidden`] for one that may be seen but not that.
    pub fn find(&self, name: &str, who: &Principal, verb: Verb) -> Result<(Arc<ServiceCell>, Arc<View>), Refused> {
        let not_found = || Refused::NotFound(name.to_owned());
        let cell = self.get(name).ok_or_else(not_found)?;
        if let Some(view) = cell.view_for(who, verb) {
            return Ok((cell, view));
        }
        Err(if cell.view_for(who, Verb::See).is_some() { Refused::Forbidden } else { not_found() })
    }

    /// Records and brings up a deployment. Accepted when the store holds it; the outcome is the teller's.
    ///
    /// # Errors
    /// [`Refused`] when it was not accepted.
    pub async fn deploy(&self, name: &str, request: DeployRequest, teller: Teller) -> Result<(), Refused> {
        let mesh = self.mesh.upgrade().ok_or_else(|| Refused::Internal("the mesh is gone".to_owned()))?;
        // Again when the actor of an undeployed service of that name was just leaving.
        for _ in 0..ATTEMPTS {
            let cell = self.enter(name);
            match self.set.start(service::child(&mesh, &cell)).await {
                Ok(()) => {}
                Err(StartError::AlreadyPresent) => {
                    if cell.slot.up(FREE_WITHIN).await.is_err() {
                        continue;
                    }
                }
                Err(error) => {
                    self.forget(&cell);
                    return Err(Refused::Internal(error.to_string()));
                }
            }
            let deploy = Deploy { request: request.clone(), teller: Arc::clone(&teller) };
            match cell.slot.call(deploy, ACCEPT_WITHIN).await {
                Ok(accepted) => return accepted,
                Err(CallError::Gone { .. } | CallError::Down) => {}
                Err(error) => {
                    return Err(unknown("the deploy's outcome", &error));
                }
            }
        }
        Err(Refused::Internal("the broker's part for this service is not up, the tree says why".to_owned()))
    }

    /// Forgets a service; the teller learns when nothing of it is left.
    ///
    /// # Errors
    /// [`Refused`] when it was not accepted.
    pub async fn undeploy(&self, name: &str, by: Principal, teller: Teller) -> Result<(), Refused> {
        let cell = self.get(name).ok_or_else(|| Refused::NotFound(name.to_owned()))?;
        let undeploy = Undeploy { by: by.clone(), teller: Arc::clone(&teller) };
        match cell.slot.call(undeploy, ACCEPT_WITHIN).await {
            Ok(accepted) => accepted,
            Err(CallError::Gone { .. }) => self.remove_parked(&cell, &by, &teller).await,
            Err(error) => Err(unknown("the undeploy's outcome", &error)),
        }
    }

    /// Changes a service that is there; the outcome is the teller's.
    ///
    /// # Errors
    /// [`Refused`] when it was not accepted.
    pub async fn manage(&self, name: &str, by: Principal, change: Change, teller: Teller) -> Result<(), Refused> {
        let (cell, _) = self.find(name, &by, Verb::Manage)?;
        let accepted = cell.slot.call(Manage { by, change, teller }, ACCEPT_WITHIN).await;
        accepted.unwrap_or_else(|error| Err(unknown("what becomes of the service", &error)))
    }

    /// Gives everything that is on a runner, or on its way there, to others: where each went, or why it did not.
    pub async fn forget_runner(&self, runner: &str) -> Vec<(String, Result<Option<String>, Refused>)> {
        let concerned = |cell: &Arc<ServiceCell>| cell.view().is_some_and(|view| view.concerns(runner));
        let mut all = Vec::new();
        for cell in self.all().into_iter().filter(concerned) {
            let forgotten = cell.slot.call(Forget { runner: runner.to_owned() }, ACCEPT_WITHIN).await;
            let forgotten = forgotten.unwrap_or_else(|error| Err(unknown("where the service goes", &error)));
            let now = forgotten.map(|()| cell.view().and_then(|view| view.runner.clone()));
            all.push((cell.name.clone(), now));
        }
        all
    }

    /// Shares a service with others than before; the scope is settled.
    ///
    /// # Errors
    /// [`Refused`] when it is not.
    pub async fn share(&self, name: &str, by: Principal, scope: Scope) -> Result<(), Refused> {
        let (cell, _) = self.find(name, &by, Verb::Manage)?;
        let accepted = cell.slot.call(Share { by, scope }, ACCEPT_WITHIN).await;
        accepted.unwrap_or_else(|error| Err(unknown("with whom the service is shared", &error)))
    }

    /// Does the work of an actor that is given up: what it could not read must not keep anybody from removing it.
    async fn remove_parked(&self, cell: &Arc<ServiceCell>, by: &Principal, teller: &Teller) -> Result<(), Refused> {
        let not_found = || Refused::NotFound(cell.name.clone());
        let internal = |error: StoreError| Refused::Internal(error.to_string());
        let mesh = self.mesh.upgrade().ok_or_else(not_found)?;
        let stored = mesh.store.service_with_deployments(&mesh.id, &cell.name).await.map_err(internal)?;
        let row = stored.ok_or_else(not_found)?.service;
        // A scope that cannot be read lets nobody in who does not manage the service.
        let scope = row.scope.read().unwrap_or_default();
        if !may(by, Verb::Manage, &scope, row.deployed_by.as_str()) {
            return Err(not_found());
        }
        mesh.store.remove_service(&mesh.id, &cell.name).await.map_err(internal)?;
        if let Ok(id) = ChildId::try_from(cell.name.as_str()) {
            // Parked, so there is nothing to stop but its node.
            let _ = self.set.stop(&id).await;
        }
        self.forget(cell);
        let key = ServiceKey::new(mesh.slug.clone(), cell.name.clone());
        for link in mesh.runners.all() {
            for report in link.reports(&key) {
                // A link that goes meanwhile is swept when it returns.
                let _ = link.unload(&key, &report.deployment).await;
            }
        }
        teller(&News::Stopped);
        Ok(())
    }

    /// The service is gone: its name is free again.
    pub(super) fn forget(&self, cell: &Arc<ServiceCell>) {
        let mut cells = self.cells.write().unwrap_or_else(PoisonError::into_inner);
        if cells.get(&cell.name).is_some_and(|present| Arc::ptr_eq(present, cell)) {
            cells.remove(&cell.name);
        }
    }
}

/// A service whose actor is not restarted any more answers its calls with that, instead of letting them wait.
struct CloseParked(Weak<MeshContext>);

impl Observer for CloseParked {
    fn on(&self, event: &ChildEvent) {
        let Transition::Parked { exit, .. } = &event.transition else { return };
        let cell = self.0.upgrade().and_then(|mesh| mesh.services.get(event.id.as_str()));
        if let Some(cell) = cell {
            let words = format!("service \"{}\": the broker's part for it failed too often: {exit}", cell.name);
            cell.desk.set(Phase::Closed(FailCode::NotRunning, words));
        }
    }
}

/// The actor was asked and did not say.
fn unknown(what: &str, error: &CallError) -> Refused {
    Refused::Internal(format!("{what} is unknown: {error}"))
}
