//! Writes down what happened to a mesh's services, many transitions in one transaction.
//!
//! Bounded: a store that does not keep up costs the oldest history, never a service's life. Transitions
//! are told by the tree and the log as well; nothing rests on them.

use std::sync::{Arc, Mutex, PoisonError};

use meter::Counters;
use supervision::{ExitReason, Life};
use tokio::sync::mpsc;

use super::MeshContext;
use crate::metrics::Limit;
use crate::store::{MAX_EVENT_BATCH, NewServiceEvent};

/// Transitions that may wait to be written.
const MAX_WAITING: usize = 4_096;

/// Takes transitions in; never blocks.
pub struct Journal {
    entries: mpsc::Sender<NewServiceEvent>,
    limits: Counters<Limit>,
    /// Held by the writer while it lives; here between two of its lives.
    unread: Arc<Mutex<Option<mpsc::Receiver<NewServiceEvent>>>>,
}

impl Journal {
    pub(super) fn new(limits: Counters<Limit>) -> Self {
        let (entries, unread) = mpsc::channel(MAX_WAITING);
        Self { entries, limits, unread: Arc::new(Mutex::new(Some(unread))) }
    }

    /// Enters a transition.
    pub fn write(&self, event: NewServiceEvent) {
        if self.entries.try_send(event).is_err() {
            self.limits.count(Limit::JournalQueue);
            tracing::warn!("the journal is full: a transition is not written down");
        }
    }
}

/// The receiver, given back whatever ends the writer.
struct Reading<'a> {
    home: &'a Mutex<Option<mpsc::Receiver<NewServiceEvent>>>,
    unread: Option<mpsc::Receiver<NewServiceEvent>>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.unread.take();
    }
}

/// The life of the mesh's child `journal`.
pub(super) async fn run(mesh: Arc<MeshContext>, life: Life) -> ExitReason {
    let home = &mesh.journal.unread;
    let unread = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut reading = Reading { home, unread };
    let Some(unread) = reading.unread.as_mut() else {
        return ExitReason::Error("another writer holds the journal".to_owned());
    };
    let mut batch = Vec::new();
    loop {
        let stopping = tokio::select! {
            _ = unread.recv_many(&mut batch, MAX_EVENT_BATCH) => false,
            () = life.stopping() => true,
        };
        if stopping {
            while batch.len() < MAX_EVENT_BATCH
                && let Ok(event) = unread.try_recv()
            {
                batch.push(event);
            }
        }
        if !batch.is_empty()
            && let Err(error) = mesh.store.append_events(std::mem::take(&mut batch)).await
        {
            tracing::error!(mesh = mesh.slug, %error, "transitions could not be written down");
        }
        if stopping {
            return ExitReason::Shutdown;
        }
    }
}
