//! The directory: which deployments are here, and the commands that change that.
//!
//! Contract: `load` returns when the service is accepted, not when it runs; `unload` returns when nothing of it is left.
//! Both may be repeated. An unload during a build wins over it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use protocol::link::{FILE_MISSING, LogLine, ServiceReport, ServiceSpec, Source};
use protocol::sealed::SealedError;
use sha2::{Digest as _, Sha256};
use supervision::{ChildEvent, ChildId, Dynamic, MAX_ID_BYTES, Observer, StopError};

use super::board::Board;
use super::child;
use super::entry::{Entry, Key, lock};
use super::logs::Logs;
use super::observe;
use super::redact::Redactor;
use super::spec::SharedMeans;
use crate::metrics::Limit;
use crate::prepare::{FileError, Wanted};

/// Deployments on one runner.
pub const SERVICES_MAX: usize = 1_000;
/// Last reports of what was unloaded, for sessions that have not sent them yet.
const DEPARTED_MAX: usize = 1_024;
/// How long calls may go on when their service is unloaded.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The specification is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Limits were asked for that this machine's runner cannot hold it to.
    #[error("this runner cannot enforce a limit of: {0}; deploy without it")]
    Unenforced(String),
    /// The uploaded file that it is built from is not here: it is to be sent first.
    #[error("the uploaded file is not here")]
    FileMissing,
    /// Its secrets do not open, or were sealed for another process than this.
    #[error(transparent)]
    Sealed(#[from] SealedError),
    /// There is no such deployment here.
    #[error("no such deployment here")]
    NotFound,
    /// It, or another deployment of its service, must be alone, and the other one has a process or may get one.
    #[error("deployment {0} of this service is still here, and one of the two is exclusive")]
    Exclusive(String),
    /// It is being unloaded.
    #[error("it is being stopped; try again when it is gone")]
    Leaving,
    /// The runner holds as many as it may.
    #[error("this runner holds {SERVICES_MAX} services already")]
    Full,
    /// The set of services does not take it.
    #[error("{0}")]
    Set(String),
}

impl CommandError {
    /// For a program.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::Unenforced(_) => "unenforced",
            Self::FileMissing => FILE_MISSING,
            Self::Sealed(_) => "sealed",
            Self::NotFound => "not_found",
            Self::Exclusive(_) => "exclusive",
            Self::Leaving => "leaving",
            Self::Full => "limit",
            Self::Set(_) => "not_running",
        }
    }
}

/// See the module.
pub struct Directory {
    set: Dynamic,
    board: Arc<Board>,
    means: SharedMeans,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    entries: BTreeMap<Key, Arc<Entry>>,
    by_id: HashMap<String, Arc<Entry>>,
    logs: Logs,
    departed: VecDeque<(u64, ServiceReport)>,
    /// Changes up to this one may have departed reports that are no longer kept.
    forgotten: u64,
}

/// What changed since a number.
pub struct Changes {
    /// Whether `services` is all there is, rather than what changed.
    pub is_complete: bool,
    /// The reports.
    pub services: Vec<ServiceReport>,
    /// The number to ask with next.
    pub number: u64,
}

struct Members(Arc<Mutex<Book>>);

impl Observer for Members {
    fn on(&self, event: &ChildEvent) {
        let entry = lock(&self.0).by_id.get(event.id.as_str()).cloned();
        if let Some(entry) = entry {
            observe::member(&entry, &event.transition);
        }
    }
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new(board: Arc<Board>, means: SharedMeans) -> Arc<Self> {
        let book: Arc<Mutex<Book>> = Arc::default();
        let (seeded, seed_means) = (Arc::clone(&book), Arc::clone(&means));
        let set = Dynamic::new()
            .bounded(SERVICES_MAX)
            .observe(Arc::new(Members(Arc::clone(&book))))
            // After a restart of the set itself: what was loaded is still wanted.
            .seed(move |set| seed(set, Arc::clone(&seeded), Arc::clone(&seed_means)));
        Arc::new(Self { set, board, means, book })
    }

    /// The set, for the tree.
    #[must_use]
    pub fn set(&self) -> &Dynamic {
        &self.set
    }

    /// What all services share.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// One deployment.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        lock(&self.book).entries.get(key).cloned()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Entry>> {
        lock(&self.book).entries.values().cloned().collect()
    }

    /// Builds under way, and those that wait.
    #[must_use]
    pub fn builds(&self) -> (usize, usize) {
        self.means.preparer.under_way()
    }

    /// Whether anything is loaded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.book).entries.is_empty()
    }

    /// Accepts a deployment and begins to build and start it; one that is here already is left as it is.
    ///
    /// # Errors
    /// See [`CommandError`]; nothing was started then.
    pub async fn load(&self, spec: ServiceSpec) -> Result<(), CommandError> {
        spec.validate().map_err(|error| CommandError::Invalid(error.to_string()))?;
        let unenforced = self.means.launcher.unenforced(&crate::instance::limits(&spec.limits));
        if !unenforced.is_empty() {
            // A limit that nobody enforces must not look like one that somebody does.
            return Err(CommandError::Unenforced(unenforced.join(", ")));
        }
        let key = Key { mesh: spec.mesh.clone(), service: spec.service.clone(), deployment: spec.deployment.clone() };
        let id = child_id(&key)?;
        if self.get(&key).is_none() && !self.has_file_of(&spec) {
            return Err(CommandError::FileMissing);
        }
        let redactor = self.means.redactor(&spec)?;
        let admitted = lock(&self.book).admit(&key, &id, spec, redactor, &self.board);
        if matches!(admitted, Err(CommandError::Full)) {
            self.board.metrics().limits.count(Limit::Services);
        }
        let entry = match admitted? {
            Some(entry) => entry,
            None => return Ok(()),
        };
        let child = child::service(id.as_str(), &entry, &self.means);
        if let Err(error) = self.set.start(child).await {
            lock(&self.book).remove(&key, &id);
            return Err(CommandError::Set(error.to_string()));
        }
        Ok(())
    }

    fn has_file_of(&self, spec: &ServiceSpec) -> bool {
        let wanted = Wanted { source: &spec.source, runtime: spec.runtime, deployment: &spec.deployment };
        match (&spec.source, spec.version.as_deref()) {
            (Source::Zip { .. }, Some(version)) => self.means.preparer.has_file_of(wanted, version),
            _ => true,
        }
    }

    /// Takes the uploaded file that a deployment is to be built from.
    ///
    /// # Errors
    /// [`FileError`]; nothing of it is kept then.
    pub async fn take_file(&self, deployment: String, sha256: String, bytes: Bytes) -> Result<(), FileError> {
        let files = self.means.preparer.files().clone();
        let kept = tokio::task::spawn_blocking(move || files.keep(&deployment, &sha256, &bytes));
        kept.await.unwrap_or_else(|error| Err(FileError::Disk(std::io::Error::other(error))))
    }

    /// Stops a deployment and forgets it; returns when nothing of it is left.
    ///
    /// # Errors
    /// When the set does not run.
    pub async fn unload(&self, key: &Key) -> Result<(), CommandError> {
        let Some(entry) = self.get(key) else { return Ok(()) };
        let id = child_id(key)?;
        entry.leave();
        entry.drained(DRAIN_LIMIT).await;
        match self.set.stop(&id).await {
            Ok(_) | Err(StopError::NotFound) => {}
            Err(error @ StopError::NotRunning) => return Err(CommandError::Set(error.to_string())),
        }
        entry.gone();
        self.means.preparer.files().forget(&key.deployment);
        let number = self.board.changed();
        lock(&self.book).depart(key, &id, number, entry.report(Some(number)));
        Ok(())
    }

    /// Ends the processes of a deployment and starts them again; clears `crashed` and `failed`.
    ///
    /// # Errors
    /// When there is none, or it is leaving.
    pub async fn restart(&self, key: &Key) -> Result<(), CommandError> {
        let entry = self.get(key).ok_or(CommandError::NotFound)?;
        if entry.is_leaving() {
            return Err(CommandError::Leaving);
        }
        match self.set.restart(&child_id(key)?).await {
            Ok(()) => Ok(()),
            Err(StopError::NotFound) => Err(CommandError::NotFound),
            Err(error @ StopError::NotRunning) => Err(CommandError::Set(error.to_string())),
        }
    }

    /// Unloads everything.
    pub async fn unload_all(&self) {
        let keys: Vec<Key> = self.all().iter().map(|entry| entry.key.clone()).collect();
        for (key, result) in keys.iter().zip(join_all(keys.iter().map(|key| self.unload(key))).await) {
            if let Err(error) = result {
                tracing::warn!(service = %key, %error, "not unloaded");
            }
        }
    }

    /// Takes no new calls anywhere and lets those in flight finish.
    pub async fn drain_all(&self) {
        let entries = self.all();
        join_all(entries.iter().map(|entry| async {
            entry.leave();
            entry.drained(DRAIN_LIMIT).await;
        }))
        .await;
    }

    /// The last lines of a service's log, whatever became of it.
    #[must_use]
    pub fn logs(&self, mesh: &str, service: &str, lines: usize) -> Vec<LogLine> {
        let log = lock(&self.book).logs.get(mesh, service);
        log.map(|log| lock(&log).last(lines)).unwrap_or_default()
    }

    /// The first lines of a service's log behind the one with this number, and whether some may have been lost.
    #[must_use]
    pub fn logs_after(&self, mesh: &str, service: &str, seq: u64, lines: usize) -> (Vec<LogLine>, bool) {
        let log = lock(&self.book).logs.get(mesh, service);
        log.map_or((Vec::new(), seq > 0), |log| lock(&log).after(seq, lines))
    }

    /// What changed after the change with this number; everything for `None`.
    #[must_use]
    pub fn changes_since(&self, number: Option<u64>) -> Changes {
        let latest = *self.board.changes().borrow();
        let book = lock(&self.book);
        match number {
            Some(number) if number >= book.forgotten => {
                let departed = book.departed.iter().filter(|(at, _)| *at > number).map(|(_, report)| report.clone());
                let changed = book.entries.values().filter(|entry| entry.changed() > number);
                let changed = changed.map(|entry| entry.report(Some(number)));
                Changes { is_complete: false, services: departed.chain(changed).collect(), number: latest }
            }
            _ => {
                let services = book.entries.values().map(|entry| entry.report(None)).collect();
                Changes { is_complete: true, services, number: latest }
            }
        }
    }
}

async fn seed(set: Dynamic, book: Arc<Mutex<Book>>, means: SharedMeans) -> Result<(), supervision::StartError> {
    let entries: Vec<(String, Arc<Entry>)> =
        lock(&book).by_id.iter().map(|(id, entry)| (id.clone(), Arc::clone(entry))).collect();
    for (id, entry) in entries {
        set.start(child::service(&id, &entry, &means)).await?;
    }
    Ok(())
}

impl Book {
    /// A new entry, or `None` when it is here already.
    fn admit(
        &mut self,
        key: &Key,
        id: &ChildId,
        spec: ServiceSpec,
        redactor: Redactor,
        board: &Arc<Board>,
    ) -> Result<Option<Arc<Entry>>, CommandError> {
        if let Some(present) = self.entries.get(key) {
            return if present.is_leaving() { Err(CommandError::Leaving) } else { Ok(None) };
        }
        if self.by_id.contains_key(id.as_str()) {
            return Err(CommandError::Invalid("another deployment here has the same last 8 characters".to_owned()));
        }
        if self.entries.len() >= SERVICES_MAX {
            return Err(CommandError::Full);
        }
        if let Some(other) = self.in_the_way(key, spec.policy.exclusive) {
            return Err(CommandError::Exclusive(other.key.deployment.clone()));
        }
        let entry = Entry::new(spec, Arc::clone(board), self.logs.come(key), redactor);
        self.entries.insert(key.clone(), Arc::clone(&entry));
        self.by_id.insert(id.as_str().to_owned(), Arc::clone(&entry));
        Ok(Some(entry))
    }

    /// A deployment of the same service beside which this one must not be.
    fn in_the_way(&self, key: &Key, is_exclusive: bool) -> Option<&Arc<Entry>> {
        let mut others = self.entries.values().filter(|entry| entry.key.is_beside(key));
        others.find(|other| (is_exclusive || other.spec.policy.exclusive) && other.may_have_processes())
    }

    fn remove(&mut self, key: &Key, id: &ChildId) -> bool {
        self.by_id.remove(id.as_str());
        let was_here = self.entries.remove(key).is_some();
        if was_here && !self.entries.keys().any(|other| other.is_beside(key)) {
            self.logs.gone(key);
        }
        was_here
    }

    fn depart(&mut self, key: &Key, id: &ChildId, number: u64, report: ServiceReport) {
        // Two unloads of one deployment may end together.
        if !self.remove(key, id) {
            return;
        }
        if self.departed.len() >= DEPARTED_MAX
            && let Some((oldest, _)) = self.departed.pop_front()
        {
            self.forgotten = oldest;
        }
        self.departed.push_back((number, report));
    }
}

/// `<mesh>:<service>@<last 8 of the deployment>`; a name that is too long for a node keeps its end and gets a hash.
fn child_id(key: &Key) -> Result<ChildId, CommandError> {
    let tail: String = {
        let mut tail: Vec<char> = key.deployment.chars().rev().take(8).collect();
        tail.reverse();
        tail.into_iter().collect()
    };
    let mut id = format!("{}:{}@{tail}", key.mesh, key.service);
    if id.len() > MAX_ID_BYTES {
        let digest = hex::encode(Sha256::digest(key.mesh.as_bytes()));
        let short: String = digest.chars().take(16).collect();
        id = format!("{short}:{}@{tail}", key.service);
    }
    ChildId::try_from(id.as_str()).map_err(|error| CommandError::Invalid(format!("deployment: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn key(mesh: &str, deployment: &str) -> Key {
        Key { mesh: mesh.to_owned(), service: "time".to_owned(), deployment: deployment.to_owned() }
    }

    #[test]
    fn a_node_is_named_after_mesh_service_and_deployment() {
        let id = |mesh, deployment| child_id(&key(mesh, deployment)).unwrap().as_str().to_owned();
        assert_eq!(id("default", "0190-1234567890ab"), "default:time@567890ab");
        let long = id(&"m".repeat(120), "0190-1234567890ab");
        assert!(long.ends_with(":time@567890ab") && long.len() <= MAX_ID_BYTES, "{long}");
        assert!(child_id(&key("default", "a/b")).is_err());
    }
}
