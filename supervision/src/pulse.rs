//! The signs of life of one incarnation: a handful of atomics that cost nothing to write.

use std::{
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::prelude::Message;

/// Zero of the clock of this file.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// "Not" in an atomic that holds a time.
const NEVER: u64 = 0;

/// Milliseconds since [`ORIGIN`], never [`NEVER`].
fn now_ms() -> u64 {
    u64::try_from(ORIGIN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

type Prober = Box<dyn Fn(Probe) + Send + Sync>;

/// Written by the incarnation and its callers, read by the watchdog and the views.
#[derive(Default)]
pub(crate) struct Pulse {
    queued: AtomicU64,
    handled: AtomicU64,
    /// Since when a turn of it holds the thread.
    busy_since: AtomicU64,
    /// Since when a probe is unanswered.
    probed_at: AtomicU64,
    /// When the last probe was answered.
    answered_at: AtomicU64,
    prober: OnceLock<Prober>,
}

impl Pulse {
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Takes a place in the mailbox, unless `bound` places are taken.
    pub(crate) fn reserve(self: &Arc<Self>, bound: u64) -> Option<Place> {
        let taken = self.queued.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        (taken < bound).then_some(place)
    }

    pub(crate) fn count_handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn turn_begins(&self) {
        self.busy_since.store(now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn turn_ends(&self) {
        self.busy_since.store(NEVER, Ordering::Relaxed);
    }

    pub(crate) fn set_prober(&self, prober: Prober) {
        // Set once, when the actor is made; there is no second one to lose.
        let _ = self.prober.set(prober);
    }

    /// Looks for signs of life: `Some(since)` when there were none for `stall_after`.
    /// Sends a probe when the last answer is older than half of that.
    pub(crate) fn check(self: &Arc<Self>, stall_after: Duration, probe: bool) -> Option<Instant> {
        let now = now_ms();
        let limit = u64::try_from(stall_after.as_millis()).unwrap_or(u64::MAX);
        let overdue = |at: u64| at != NEVER && now.saturating_sub(at) >= limit;
        let busy = self.busy_since.load(Ordering::Relaxed);
        if overdue(busy) {
            return Some(instant(busy));
        }
        let probed = self.probed_at.load(Ordering::Acquire);
        if overdue(probed) {
            return Some(instant(probed));
        }
        let answered = self.answered_at.load(Ordering::Relaxed);
        if probe && probed == NEVER && now.saturating_sub(answered) >= limit / 2 {
            self.probe(now);
        }
        None
    }

    fn probe(self: &Arc<Self>, now: u64) {
        if let Some(prober) = self.prober.get() {
            self.probed_at.store(now, Ordering::Release);
            prober(Probe(Arc::clone(self)));
        }
    }
}

/// The moment that [`now_ms`] gave this number.
fn instant(ms: u64) -> Instant {
    *ORIGIN + Duration::from_millis(ms.saturating_sub(1))
}

/// The watchdog's question, sent through the mailbox like any message: an actor that never gets to it is stuck.
pub struct Probe(Arc<Pulse>);

impl Message for Probe {
    type Result = ();
}

impl Probe {
    /// The answer. [`supervised!`](crate::supervised) writes the handler that gives it.
    pub fn answer(self) {
        self.0.answered_at.store(now_ms(), Ordering::Relaxed);
        self.0.probed_at.store(NEVER, Ordering::Release);
    }
}

/// A place in the mailbox, given back when the message is taken out or dropped.
pub(crate) struct Place(Arc<Pulse>);

impl Place {
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}
