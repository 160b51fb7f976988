//! What the parts of an instance hand to each other.

use std::sync::{Arc, Mutex};

use protocol::link::RestartKind;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::process::{ExitStatus, ProcessHandle};
use crate::service::{Entry, Means, lock};

/// The pipes of a process, on their way from `process` to `mcp`.
pub(super) struct Pipes {
    pub(super) generation: u64,
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) handle: ProcessHandle,
    /// Told when all that the process wrote was read.
    pub(super) all_read: Arc<Notify>,
}

/// Shared by the parts of one instance, over all its incarnations.
pub(super) struct Cell {
    /// Which of the service's instances, from 0.
    pub(super) instance: usize,
    pub(super) entry: Arc<Entry>,
    pub(super) means: Arc<Means>,
    pipes: Mutex<Option<Pipes>>,
}

impl Cell {
    pub(super) fn new(instance: usize, entry: &Arc<Entry>, means: &Arc<Means>) -> Self {
        Self { instance, entry: Arc::clone(entry), means: Arc::clone(means), pipes: Mutex::new(None) }
    }

    pub(super) fn put(&self, pipes: Pipes) {
        *lock(&self.pipes) = Some(pipes);
    }

    /// Whether they were still there: then nobody ever spoke to the process.
    pub(super) fn take(&self) -> Option<Pipes> {
        lock(&self.pipes).take()
    }

    /// Whether the policy takes this end for a good one.
    pub(super) fn may_end(&self, status: ExitStatus) -> bool {
        self.entry.spec.policy.restart != RestartKind::Permanent && status.success()
    }
}
