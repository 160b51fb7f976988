//! What the broker counts, and the handles that its parts count with.
//!
//! Contract: plain handles, made once at the start and cloned into whoever counts; on the path of a call an addition and
//! a look at the clock, nothing is looked up. What can be read from the parts themselves (sockets, calls under way, the
//! tree) is not counted here but read when somebody asks, see [`crate::http`]. Imports nothing of the broker, so every
//! folder may use it.

mod cases;
pub mod family;

use std::time::{Duration, Instant};

use meter::{Counter, Counters, Exposition, Histogram};
use protocol::link::ReplyOutcome;

pub use cases::{CallEnd, DeployEnd, HelloEnd, Limit, LookEnd, MailEnd, SendEnd, StoreEnd};

/// Every handle of one broker.
pub struct Metrics {
    /// Where the handles are from.
    pub exposition: Exposition,
    /// Of sockets.
    pub sockets: SocketMeter,
    /// Of calls.
    pub calls: CallMeter,
    /// Of the store.
    pub store: StoreMeter,
    /// How hellos were answered.
    pub hellos: Counters<HelloEnd>,
    /// How messages were answered.
    pub sends: Counters<SendEnd>,
    /// Messages that were pushed; some more than once.
    pub pushes: Counter,
    /// How deliveries ended.
    pub deliveries: Counters<MailEnd>,
    /// How deploys ended.
    pub deploys: Counters<DeployEnd>,
    /// Of watches.
    pub watches: WatchMeter,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// What comes and goes on the sockets of clients.
#[derive(Debug, Clone)]
pub struct SocketMeter {
    /// Sockets that were opened.
    pub opened: Counter,
    /// Messages of clients.
    pub received: Counter,
    /// Bytes of clients, as they arrived.
    pub received_bytes: Counter,
    sent: Counter,
    sent_bytes: Counter,
}

/// Calls as their clients see them.
#[derive(Debug, Clone)]
pub struct CallMeter {
    started: Counter,
    answered: Counters<CallEnd>,
    duration: Histogram,
}

/// What goes over one link.
#[derive(Debug, Clone)]
pub struct LinkMeter {
    sent: Counter,
    sent_bytes: Counter,
    received: Counter,
    received_bytes: Counter,
    /// Reports of the runner.
    pub reports: Counter,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// Operations on the database.
#[derive(Debug, Clone)]
pub struct StoreMeter {
    ended: Counters<StoreEnd>,
    duration: Histogram,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// What watches do.
#[derive(Debug, Clone)]
pub struct WatchMeter {
    ended: Counters<LookEnd>,
    duration: Histogram,
    lateness: Histogram,
    /// Messages for their owners that were stored.
    pub words: Counter,
}

/// The metrics of a broker cannot be set up: a fault of the program.
#[derive(Debug, thiserror::Error)]
#[error("the metrics cannot be set up: {0}")]
pub struct MetricsError(String);

impl Metrics {
    /// New ones, all at 0.
    ///
    /// # Errors
    /// A fault of the program.
    pub fn new() -> Result<Self, MetricsError> {
        let exposition = Exposition::new(family::ALL).map_err(|error| MetricsError(error.to_string()))?;
        let limits = Counters::new(&exposition, &meter::LIMIT_REFUSED);
        let plain = |family| exposition.counter(family, &[]);
        Ok(Self {
            sockets: SocketMeter {
                opened: plain(&family::SOCKETS_OPENED),
                received: plain(&family::SOCKET_MESSAGES_RECEIVED),
                received_bytes: plain(&family::SOCKET_RECEIVED_BYTES),
                sent: plain(&family::SOCKET_MESSAGES_SENT),
                sent_bytes: plain(&family::SOCKET_SENT_BYTES),
            },
            calls: CallMeter {
                started: plain(&family::CALLS_STARTED),
                answered: Counters::new(&exposition, &family::CALLS_ANSWERED),
                duration: exposition.histogram(&family::CALL_DURATION, &[]),
            },
            store: StoreMeter {
                ended: Counters::new(&exposition, &family::STORE_OPERATIONS),
                duration: exposition.histogram(&family::STORE_OPERATION_DURATION, &[]),
                limits: limits.clone(),
            },
            hellos: Counters::new(&exposition, &family::HELLOS),
            sends: Counters::new(&exposition, &family::SENDS),
            pushes: plain(&family::PUSHES),
            deliveries: Counters::new(&exposition, &family::DELIVERIES),
            deploys: Counters::new(&exposition, &family::DEPLOYS),
            watches: WatchMeter {
                ended: Counters::new(&exposition, &family::WATCH_LOOKS),
                duration: exposition.histogram(&family::WATCH_LOOK_DURATION, &[]),
                lateness: exposition.histogram(&family::WATCH_LOOK_LATENESS, &[]),
                words: plain(&family::WATCH_WORDS),
            },
            limits,
            exposition,
        })
    }

    /// The handles of the link to `runner`, which is a name of the configuration.
    #[must_use]
    pub fn link(&self, runner: &str) -> LinkMeter {
        let of_runner = |family| self.exposition.counter(family, &[runner]);
        LinkMeter {
            sent: of_runner(&family::LINK_FRAMES_SENT),
            sent_bytes: of_runner(&family::LINK_SENT_BYTES),
            received: of_runner(&family::LINK_FRAMES_RECEIVED),
            received_bytes: of_runner(&family::LINK_RECEIVED_BYTES),
            reports: of_runner(&family::LINK_REPORTS),
            limits: self.limits.clone(),
        }
    }
}

impl SocketMeter {
    /// A message left for its client.
    pub fn sent(&self, bytes: usize) {
        self.sent.increment(1);
        self.sent_bytes.increment(whole(bytes));
    }
}

impl CallMeter {
    /// A call arrived, now.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.started.increment(1);
        Instant::now()
    }

    /// It was not taken in.
    pub fn refused(&self, end: impl Into<CallEnd>) {
        self.answered.count(end.into());
    }

    /// A call that was taken in has its answer.
    pub fn answered(&self, outcome: &ReplyOutcome, began: Instant) {
        self.answered.count(outcome.into());
        self.duration.record(began.elapsed());
    }
}

/// Without metrics, as in tests of a link alone.
impl Default for LinkMeter {
    fn default() -> Self {
        Self {
            sent: Counter::noop(),
            sent_bytes: Counter::noop(),
            received: Counter::noop(),
            received_bytes: Counter::noop(),
            reports: Counter::noop(),
            limits: Counters::default(),
        }
    }
}

impl LinkMeter {
    /// A frame is on its way to the runner.
    pub fn sent(&self, bytes: usize) {
        self.sent.increment(1);
        self.sent_bytes.increment(whole(bytes));
    }

    /// A frame of the runner has come.
    pub fn received(&self, bytes: usize) {
        self.received.increment(1);
        self.received_bytes.increment(whole(bytes));
    }
}

impl StoreMeter {
    /// An operation ended, from its being asked for.
    pub fn ended(&self, end: StoreEnd, began: Instant) {
        self.ended.count(end);
        self.duration.record(began.elapsed());
    }
}

impl WatchMeter {
    /// A look that was due so many ms ago begins.
    pub fn began(&self, late_ms: i64) {
        self.lateness.record(Duration::from_millis(u64::try_from(late_ms).unwrap_or_default()));
    }

    /// A look ended; it began then, if it did.
    pub fn ended(&self, end: LookEnd, began: Option<Instant>) {
        self.ended.count(end);
        if let Some(began) = began {
            self.duration.record(began.elapsed());
        }
    }
}

/// A number of bytes as counters take it.
#[must_use]
pub fn whole(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
