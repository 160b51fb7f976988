//! What the runner counts, and the handles that its parts count with.
//!
//! Contract: plain handles, made once at the start and cloned into whoever counts; on the path of a call an addition,
//! nothing is looked up. What can be read from the parts themselves (services, calls under way, the tree) is not counted
//! here but read when somebody asks, see [`crate::http`]. A handle by default counts nothing, so that a part can be
//! tried alone.

mod cases;
pub mod family;

use std::time::{Duration, Instant};

use meter::{Counter, Counters, Exposition, Gauge, Histogram};
use protocol::link::LogStream;

pub use cases::{BuildEnd, CallEnd, Limit, LinkRefused, StartEnd, Stream};

use crate::process::Level;
use crate::service::gate::Answer;

/// Every handle of one runner.
pub struct Metrics {
    /// Where the handles are from.
    pub exposition: Exposition,
    /// Of links.
    pub links: LinkMeter,
    /// Of calls.
    pub calls: CallMeter,
    /// Of gates.
    pub gates: GateMeter,
    /// Of process sets.
    pub processes: ProcessMeter,
    /// Of builds.
    pub builds: BuildMeter,
    /// Of logs.
    pub logs: LogMeter,
    /// Servers' processes that ended and are followed by another.
    pub process_restarts: Counter,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// What goes over links.
#[derive(Debug, Clone)]
pub struct LinkMeter {
    /// Brokers that were refused.
    pub refused: Counters<LinkRefused>,
    /// Reports.
    pub reports: Counter,
    sent: Counter,
    sent_bytes: Counter,
    received: Counter,
    received_bytes: Counter,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// Calls from their arrival to their answer.
#[derive(Debug, Clone)]
pub struct CallMeter {
    /// Those that arrived.
    pub started: Counter,
    answered: Counters<CallEnd>,
}

/// How long calls wait, and how long servers take.
#[derive(Debug, Clone)]
pub struct GateMeter {
    waiting: Histogram,
    server: Histogram,
    /// What limits refused.
    pub limits: Counters<Limit>,
}

/// Programs and the sets they are held in.
#[derive(Debug, Clone)]
pub struct ProcessMeter {
    /// How starts ended.
    pub starts: Counters<StartEnd>,
    guards: Gauge,
    namespaces: Gauge,
}

/// Preparations of packages.
#[derive(Debug, Clone)]
pub struct BuildMeter {
    ended: Counters<BuildEnd>,
    duration: Histogram,
    limits: Counters<Limit>,
}

/// Lines of logs.
#[derive(Debug, Clone)]
pub struct LogMeter {
    lines: Counters<Stream>,
    bytes: Counters<Stream>,
    left_out: Counter,
    limits: Counters<Limit>,
}

/// The metrics of a runner cannot be set up: a fault of the program.
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
            links: LinkMeter {
                refused: Counters::new(&exposition, &family::LINKS_REFUSED),
                reports: plain(&family::LINK_REPORTS),
                sent: plain(&family::LINK_FRAMES_SENT),
                sent_bytes: plain(&family::LINK_SENT_BYTES),
                received: plain(&family::LINK_FRAMES_RECEIVED),
                received_bytes: plain(&family::LINK_RECEIVED_BYTES),
                limits: limits.clone(),
            },
            calls: CallMeter {
                started: plain(&family::CALLS_STARTED),
                answered: Counters::new(&exposition, &family::CALLS_ANSWERED),
            },
            gates: GateMeter {
                waiting: exposition.histogram(&family::CALL_WAITING, &[]),
                server: exposition.histogram(&family::CALL_SERVER, &[]),
                limits: limits.clone(),
            },
            processes: ProcessMeter {
                starts: Counters::new(&exposition, &family::PROCESS_STARTS),
                guards: exposition.gauge(&family::WARDENS, &[Level::Guard.as_str()]),
                namespaces: exposition.gauge(&family::WARDENS, &[Level::Namespace.as_str()]),
            },
            builds: BuildMeter {
                ended: Counters::new(&exposition, &family::BUILDS),
                duration: exposition.histogram(&family::BUILD_DURATION, &[]),
                limits: limits.clone(),
            },
            logs: LogMeter {
                lines: Counters::new(&exposition, &family::LOG_LINES),
                bytes: Counters::new(&exposition, &family::LOG_BYTES),
                left_out: plain(&family::LOG_LINES_LEFT_OUT),
                limits: limits.clone(),
            },
            process_restarts: plain(&family::PROCESS_RESTARTS),
            limits,
            exposition,
        })
    }
}

impl LinkMeter {
    /// A frame leaves for a broker.
    pub fn sent(&self, bytes: usize) {
        self.sent.increment(1);
        self.sent_bytes.increment(whole(bytes));
    }

    /// A frame of a broker has come.
    pub fn received(&self, bytes: usize) {
        self.received.increment(1);
        self.received_bytes.increment(whole(bytes));
    }
}

impl CallMeter {
    /// A call has its answer.
    pub fn answered(&self, answer: &Answer) {
        self.answered.count(answer.into());
    }
}

impl GateMeter {
    /// A call was handed to a process after it had waited so long.
    pub(crate) fn waited(&self, time: Duration) {
        self.waiting.record(time);
    }

    /// A call came back from a process, or was taken back, after so long.
    pub(crate) fn served(&self, time: Duration) {
        self.server.record(time);
    }
}

impl Default for GateMeter {
    fn default() -> Self {
        Self { waiting: Histogram::noop(), server: Histogram::noop(), limits: Counters::default() }
    }
}

impl ProcessMeter {
    /// A process set of this level is held for as long as what this returns lives.
    pub(crate) fn held(&self, level: Level) -> Held {
        let gauge = match level {
            Level::Guard => &self.guards,
            Level::Namespace => &self.namespaces,
        };
        gauge.increment(1);
        Held(gauge.clone())
    }
}

impl Default for ProcessMeter {
    fn default() -> Self {
        Self { starts: Counters::default(), guards: Gauge::noop(), namespaces: Gauge::noop() }
    }
}

/// See [`ProcessMeter::held`].
pub(crate) struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl BuildMeter {
    /// A preparation ended, from its being asked for.
    pub(crate) fn ended(&self, end: BuildEnd, began: Instant) {
        self.ended.count(end);
        match end {
            BuildEnd::Built => self.duration.record(began.elapsed()),
            BuildEnd::TimedOut => self.limits.count(Limit::BuildTime),
            BuildEnd::Busy => self.limits.count(Limit::BuildsWaiting),
            BuildEnd::Cached | BuildEnd::Failed | BuildEnd::GivenUp => {}
        }
    }
}

impl Default for BuildMeter {
    fn default() -> Self {
        Self { ended: Counters::default(), duration: Histogram::noop(), limits: Counters::default() }
    }
}

impl LogMeter {
    /// A line of so many bytes was said; `kept` says how much of it is in the log, `None` for nothing.
    pub(crate) fn said(&self, stream: LogStream, bytes: usize, kept: Option<usize>) {
        match kept {
            None => {
                self.left_out.increment(1);
                self.limits.count(Limit::LogRate);
            }
            Some(kept) => {
                self.lines.count(stream.into());
                self.bytes.add(stream.into(), whole(bytes));
                if kept < bytes {
                    self.limits.count(Limit::LogLineBytes);
                }
            }
        }
    }
}

/// A number of bytes as counters take it.
fn whole(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
