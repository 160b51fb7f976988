//! A mesh's watches by id: made, listed, removed, each by its owner alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use protocol::wire::{Watch as WatchRequest, WatchEntry, WatchTestResult};
use supervision::{ChildId, Dynamic, StartError, StopError};

use super::request::{self, BadField};
use super::state::{Committed, Look};
use super::{record, spec};
use crate::mesh::MeshContext;
use crate::metrics::Limit;
use crate::store::{MemberId, StoreError, UtcMs, Watch, WatchChange};

/// Tries to find an id that no watch of the mesh has.
const MAX_ID_TRIES: u32 = 8;
/// Things that happened to a watch which are shown when no number is said.
pub const DEFAULT_CHANGES: u32 = 50;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A field is wrong.
    #[error(transparent)]
    Field(#[from] BadField),
    /// The address is one that watches may not reach.
    #[error("`url` is an address that watches may not reach: they look at the public internet")]
    Inside,
    /// Too many.
    #[error("limit: {0}")]
    Limit(String),
    /// No such watch of this member.
    #[error("this member has no watch {0:?}")]
    NotFound(String),
    /// Something of the broker's own.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Limit { .. } => Self::Limit(error.to_string()),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// A watch, and how it stands.
pub struct Cell {
    /// As it was made.
    pub(super) row: Watch,
    seen: Mutex<Seen>,
}

/// How a watch stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) committed: Committed,
    pub(super) header_names: Vec<String>,
    pub(super) last_look: Option<UtcMs>,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
}

impl Cell {
    fn new(row: Watch) -> Arc<Self> {
        let committed = record::committed(&row);
        Arc::new(Self { row, seen: Mutex::new(Seen { committed, ..Seen::default() }) })
    }

    pub(super) fn show(&self, change: impl FnOnce(&Seen) -> Seen) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = change(&seen);
    }

    fn entry(&self) -> WatchEntry {
        record::entry(self, &self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The watches of one mesh.
pub struct Watches {
    mesh: Weak<MeshContext>,
    set: Dynamic,
    cells: RwLock<BTreeMap<String, Arc<Cell>>>,
}

impl Watches {
    pub(crate) fn new(mesh: Weak<MeshContext>) -> Self {
        let seeded = mesh.clone();
        let set = Dynamic::new().seed(move |_| {
            let mesh = seeded.upgrade();
            async move {
                match mesh {
                    Some(mesh) => mesh.watches.load(&mesh).await,
                    None => Ok(()),
                }
            }
        });
        Self { mesh, set, cells: RwLock::default() }
    }

    /// The set that carries the watches, for the tree.
    #[must_use]
    pub fn set(&self) -> &Dynamic {
        &self.set
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    async fn load(&self, mesh: &Arc<MeshContext>) -> Result<(), String> {
        let rows = mesh.store.watches(&mesh.id).await.map_err(|error| error.to_string())?;
        let rows = rows.into_iter().map(|row| record::at_least(row, mesh.lookout.min_interval_ms));
        let cells: Vec<Arc<Cell>> = {
            let mut known = self.cells.write().unwrap_or_else(PoisonError::into_inner);
            // What was made while this was reading has its cell, which its child shows itself in.
            rows.map(|row| Arc::clone(known.entry(row.id.clone()).or_insert_with(|| Cell::new(row)))).collect()
        };
        for cell in &cells {
            match self.set.start(spec::child(mesh, cell)).await {
                // Made while this was reading.
                Ok(()) | Err(StartError::AlreadyPresent) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Makes a watch of `owner`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn add(&self, owner: &MemberId, wanted: WatchRequest) -> Result<WatchEntry, Refused> {
        let mesh = self.mesh()?;
        let wanted = request::checked(wanted, mesh.lookout.min_interval_ms)?;
        if !mesh.lookout.fetcher.allows(&wanted.target.url) {
            return Err(Refused::Inside);
        }
        let internal = |error: &dyn std::fmt::Display| Refused::Internal(error.to_string());
        for _ in 0..MAX_ID_TRIES {
            let id = format!("w_{:08x}", rand::random::<u32>());
            let row = record::row(&wanted, &id, (&mesh.id, owner), &mesh.at_rest, UtcMs::now())
                .map_err(|error| internal(&error))?;
            match mesh.store.add_watch(row.clone()).await {
                Ok(()) => return self.start(&mesh, row).await,
                Err(StoreError::Taken { .. }) => {}
                Err(error @ StoreError::Limit { .. }) => {
                    mesh.metrics.limits.count(Limit::WatchesPerMember);
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Internal("no id is free: try again".to_owned()))
    }

    async fn start(&self, mesh: &Arc<MeshContext>, row: Watch) -> Result<WatchEntry, Refused> {
        let cell = Cell::new(row);
        self.cells.write().unwrap_or_else(PoisonError::into_inner).insert(cell.row.id.clone(), Arc::clone(&cell));
        match self.set.start(spec::child(mesh, &cell)).await {
            // It is stored: a set that just starts again reads it, too.
            Ok(()) | Err(StartError::AlreadyPresent | StartError::NotRunning) => Ok(cell.entry()),
            Err(error) => Err(Refused::Internal(error.to_string())),
        }
    }

    /// Ends a watch of `owner`, with its history.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn remove(&self, owner: &MemberId, id: &str) -> Result<WatchEntry, Refused> {
        let mesh = self.mesh()?;
        let cell = self.find(owner, id)?;
        let removed = mesh.store.remove_watch(&mesh.id, owner, id).await?;
        self.stop(&cell).await;
        if removed { Ok(cell.entry()) } else { Err(Refused::NotFound(id.to_owned())) }
    }

    /// A member is one no more: the store has forgotten its watches.
    pub async fn removed(&self, owner: &MemberId) {
        for cell in self.of(owner) {
            self.stop(&cell).await;
        }
    }

    async fn stop(&self, cell: &Cell) {
        let id = &cell.row.id;
        self.cells.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        if let Ok(child) = ChildId::try_from(id.as_str()) {
            match self.set.stop(&child).await {
                // A set that is not running starts without it.
                Ok(_) | Err(StopError::NotFound | StopError::NotRunning) => {}
            }
        }
    }

    /// The watches of `owner`, in the order of their making.
    #[must_use]
    pub fn list(&self, owner: &MemberId) -> Vec<WatchEntry> {
        let mut own = self.of(owner);
        own.sort_by(|a, b| (a.row.created_at, &a.row.id).cmp(&(b.row.created_at, &b.row.id)));
        own.iter().map(|cell| cell.entry()).collect()
    }

    /// What happened to a watch of `owner`.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn history(&self, owner: &MemberId, id: &str, limit: u32) -> Result<Vec<WatchChange>, Refused> {
        let mesh = self.mesh()?;
        self.find(owner, id)?;
        Ok(mesh.store.watch_changes(&mesh.id, id, limit).await?)
    }

    /// Looks once for `owner`, and keeps nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn test(&self, owner: &MemberId, wanted: WatchRequest) -> Result<WatchTestResult, Refused> {
        let mesh = self.mesh()?;
        let wanted = request::checked(wanted, 0)?;
        if !mesh.lookout.fetcher.allows(&wanted.target.url) {
            return Err(Refused::Inside);
        }
        let plan = record::plan(wanted);
        let fetcher = &mesh.lookout.fetcher;
        let Some(_turn) = fetcher.turns.take(owner.as_str(), &plan.host()).await else {
            return Err(busy(&mesh));
        };
        let looked = plan.look(fetcher, None).await;
        let bytes = u64::try_from(looked.bytes).unwrap_or_default();
        let result = WatchTestResult { status: looked.status, bytes, ..WatchTestResult::default() };
        Ok(match looked.look {
            Look::Seen(seen) => WatchTestResult { value: Some(seen.text), hash: Some(seen.hash), ..result },
            Look::Failed { reason, .. } => WatchTestResult { error: Some(reason), ..result },
            Look::Skipped => return Err(busy(&mesh)),
            Look::Unchanged => result,
        })
    }

    fn of(&self, owner: &MemberId) -> Vec<Arc<Cell>> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        cells.values().filter(|cell| cell.row.member_id == *owner).cloned().collect()
    }

    /// One that is another's is not found.
    fn find(&self, owner: &MemberId, id: &str) -> Result<Arc<Cell>, Refused> {
        let cells = self.cells.read().unwrap_or_else(PoisonError::into_inner);
        let own = cells.get(id).filter(|cell| cell.row.member_id == *owner).cloned();
        own.ok_or_else(|| Refused::NotFound(id.to_owned()))
    }

    fn mesh(&self) -> Result<Arc<MeshContext>, Refused> {
        self.mesh.upgrade().ok_or_else(|| Refused::Internal("the mesh is gone".to_owned()))
    }
}

fn busy(mesh: &MeshContext) -> Refused {
    mesh.metrics.limits.count(Limit::WatchLooks);
    Refused::Limit("too many looks are under way: try again".to_owned())
}
