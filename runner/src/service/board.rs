//! What every service shares: the clock, the number of the last change, and the way back to the callers.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use protocol::link::ServiceState;
use supervision::{NodePath, Registry};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::{Answer, Origin};
use crate::metrics::Metrics;

/// Takes answers back to where the calls came from. Implemented by the link.
pub trait Callers: Send + Sync {
    /// Hands on one answer; never blocks. A session that is gone is no error.
    fn reply(&self, origin: Origin, answer: Answer, attempts: u8);

    /// Hands on how far a call is; never blocks. What cannot be sent is left out.
    fn progress(&self, origin: Origin, word: Bytes);
}

/// See the module. Every change that a report shows gets a number, so that a session can ask what changed since.
pub struct Board {
    started: Instant,
    changes: watch::Sender<u64>,
    callers: OnceLock<Arc<dyn Callers>>,
    registry: Registry,
    metrics: Arc<Metrics>,
}

impl Board {
    /// A board whose clock starts now, for services that are nodes of this registry.
    #[must_use]
    pub fn new(registry: Registry, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            changes: watch::Sender::new(0),
            callers: OnceLock::new(),
            registry,
            metrics,
        })
    }

    /// Says who takes the answers; once.
    pub fn connect(&self, callers: Arc<dyn Callers>) {
        // A second connection would be a fault in the tree's construction; the first stays.
        drop(self.callers.set(callers));
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Time since the start of this program.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When a time of this clock is, for timers.
    #[must_use]
    pub fn instant(&self, at: Duration) -> Instant {
        self.started + at
    }

    /// The number of a change that has just been made; wakes whoever reports.
    pub fn changed(&self) -> u64 {
        let mut number = 0;
        self.changes.send_modify(|last| {
            *last += 1;
            number = *last;
        });
        number
    }

    /// The number of the last change, and a wake-up at each.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Shows a service's node as what its parts amount to: its supervisor runs, while its process may be down.
    pub(super) fn show(&self, service: &NodePath, state: ServiceState) {
        let condition = (state != ServiceState::Running).then(|| state.as_str());
        self.registry.condition(service, condition);
    }

    pub(super) fn reply(&self, origin: Origin, answer: Answer, attempts: u8) {
        if let Some(callers) = self.callers.get() {
            callers.reply(origin, answer, attempts);
        }
    }

    pub(super) fn progress(&self, origin: Origin, word: Bytes) {
        if let Some(callers) = self.callers.get() {
            callers.progress(origin, word);
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
