//! A lock that cannot be poisoned, and the signal between a supervisor and one incarnation.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU8, Ordering},
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// Locks; what a panic left behind is still consistent, since no code of others runs under these locks.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const STOP: u8 = 1;
const STOP_TAKEN: u8 = 2;
const KILL: u8 = 4;

/// One supervisor tells one incarnation to stop, or ends it. Both are final.
#[derive(Default)]
pub(crate) struct Signal {
    state: AtomicU8,
    stop: Notify,
    /// Of the task that runs the incarnation.
    pub(crate) runner: AtomicWaker,
}

impl Signal {
    pub(crate) fn stop(&self) {
        self.state.fetch_or(STOP, Ordering::AcqRel);
        self.stop.notify_waiters();
    }

    pub(crate) fn kill(&self) {
        self.state.fetch_or(KILL, Ordering::AcqRel);
        self.runner.wake();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.load(Ordering::Acquire) & STOP != 0
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.state.load(Ordering::Acquire) & KILL != 0
    }

    /// True exactly once after `stop`: for the one who passes the order on to the actor.
    pub(crate) fn take_stop(&self) -> bool {
        self.is_stopping() && self.state.fetch_or(STOP_TAKEN, Ordering::AcqRel) & STOP_TAKEN == 0
    }

    pub(crate) async fn stopping(&self) {
        let notified = self.stop.notified();
        tokio::pin!(notified);
        // Registered before the flag is read, so a stop in between is not missed.
        notified.as_mut().enable();
        if !self.is_stopping() {
            notified.await;
        }
    }
}
