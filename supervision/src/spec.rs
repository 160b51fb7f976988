//! Child specifications: what a child is, said as data and checked before anything starts.

use std::{fmt, time::Duration};

use actix_rt::ArbiterHandle;

use crate::{ChildId, id::IdError};

/// How long a child may take to become ready, unless its specification says otherwise.
pub const DEFAULT_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a child may take to stop, unless its specification says otherwise.
pub const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(5);
/// How many messages may wait in a child's mailbox, unless its specification says otherwise.
pub const DEFAULT_MAILBOX: usize = 256;
/// How long a child may be without progress before it is shown as stuck.
pub const DEFAULT_STALL: Duration = Duration::from_secs(10);
/// The most restarts an intensity may allow: each one allowed is remembered.
pub const MAX_RESTARTS: u32 = 10_000;
/// The longest time any field of a specification may hold.
pub const MAX_SPAN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never.
    Temporary,
}

/// Which siblings are restarted with a child of a static supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// All of them.
    OneForAll,
    /// Those that start after it.
    RestForOne,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shutdown {
    /// Killed at once, without being asked.
    Brutal,
    /// Asked, and killed when the time is over.
    Deadline(Duration),
    /// Asked, and waited for. Right for supervisors, whose children have deadlines of their own.
    Infinity,
}

/// More than `max_restarts` restarts within the sliding window `within` are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Intensity {
    /// How many restarts are still fine. 0: the first one is too many.
    pub max_restarts: u32,
    /// The length of the sliding window.
    pub within: Duration,
}

impl Intensity {
    /// Restarts for ever: for a child whose failures are another's, such as a connection. Give it a back-off.
    pub const UNLIMITED: Self = Self { max_restarts: u32::MAX, within: Duration::from_secs(60) };

    /// `max_restarts` within `within`.
    #[must_use]
    pub const fn new(max_restarts: u32, within: Duration) -> Self {
        Self { max_restarts, within }
    }
}

/// One restart in five seconds, as in OTP.
impl Default for Intensity {
    fn default() -> Self {
        Self::new(1, Duration::from_secs(5))
    }
}

/// How long to wait before a restart.
///
/// The first restart after a quiet time comes at once; the n-th after it waits `first * 2^(n-1)`, at most `max`,
/// each time scaled by a random factor between `1 - jitter` and `1 + jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait before the second restart in a row.
    pub first: Duration,
    /// The longest wait, before jitter.
    pub max: Duration,
    /// How far each wait may be scaled up or down: 0.0 (not at all) to 1.0.
    pub jitter: f64,
    /// A child that was ready for this long begins again without a wait.
    pub stable: Duration,
}

impl Backoff {
    /// Never wait.
    pub const NONE: Self = Self { first: Duration::ZERO, max: Duration::ZERO, jitter: 0.0, stable: Duration::ZERO };
}

impl Default for Backoff {
    fn default() -> Self {
        Self::NONE
    }
}

/// What makes a child ready, so that the next one may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// Its first turn ended well: `started()` returned, or the task was polled once.
    OnStarted,
    /// It said so with [`Life::ready`](crate::Life::ready).
    Explicit,
}

/// What a supervisor needs to know about a child. Build it with [`ChildSpec::new`].
#[derive(Debug, Clone)]
pub struct ChildSpec {
    pub(crate) id: String,
    pub(crate) kind: Option<&'static str>,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) ack: Ack,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    pub(crate) mailbox: usize,
    pub(crate) stall_after: Duration,
    pub(crate) arbiter: Option<ArbiterHandle>,
}

/// Which field of a specification is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("child {child:?}: {field} {problem}")]
pub struct SpecError {
    /// The id of the child, as given.
    pub child: String,
    /// The field, as its builder is called.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl ChildSpec {
    /// A permanent child with the defaults of this module. The id is checked by [`ChildSpec::validate`].
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            kind: None,
            restart: Restart::Permanent,
            shutdown: None,
            start_timeout: None,
            ack: Ack::OnStarted,
            intensity: Intensity::default(),
            backoff: Backoff::NONE,
            mailbox: DEFAULT_MAILBOX,
            stall_after: DEFAULT_STALL,
            arbiter: None,
        }
    }

    /// What it is called in the tree and the metrics; a small closed set of words.
    #[must_use]
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// When it is restarted. Default: permanent.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is stopped. Default: [`DEFAULT_SHUTDOWN`], for supervisors and sets infinity.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// How long it may take to be ready. Default: [`DEFAULT_START_TIMEOUT`]; supervisors and sets have
    /// none unless one is given, since their children have theirs.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = Some(timeout);
        self
    }

    /// What makes it ready. Default: [`Ack::OnStarted`]. Supervisors and sets know it themselves.
    #[must_use]
    pub fn ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Its own intensity, used when it is a member of a dynamic set.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Its own back-off, used when it is a member of a dynamic set.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many messages sent through its slot may wait. Default: [`DEFAULT_MAILBOX`].
    #[must_use]
    pub fn mailbox(mut self, bound: usize) -> Self {
        self.mailbox = bound;
        self
    }

    /// How long it may be without progress before the watchdog shows it as stuck. Default: [`DEFAULT_STALL`].
    #[must_use]
    pub fn stall_after(mut self, after: Duration) -> Self {
        self.stall_after = after;
        self
    }

    /// The arbiter it runs on. Default: the one of its supervisor.
    #[must_use]
    pub fn on(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// The id, when it is one.
    ///
    /// # Errors
    /// The field `id` with the reason.
    pub fn child_id(&self) -> Result<ChildId, SpecError> {
        ChildId::try_from(self.id.as_str()).map_err(|e: IdError| self.wrong("id", e.to_string()))
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.child_id()?;
        let shutdown = match self.shutdown {
            Some(Shutdown::Deadline(time)) => Some(time),
            Some(Shutdown::Brutal | Shutdown::Infinity) | None => None,
        };
        self.span("shutdown", shutdown)?;
        self.span("start_timeout", self.start_timeout)?;
        self.span("stall_after", Some(self.stall_after))?;
        if self.mailbox == 0 {
            return Err(self.wrong("mailbox", "must hold at least one message".into()));
        }
        check_intensity(&self.intensity).map_err(|p| self.wrong("intensity", p))?;
        check_backoff(&self.backoff).map_err(|p| self.wrong("backoff", p))
    }

    fn span(&self, field: &'static str, value: Option<Duration>) -> Result<(), SpecError> {
        match value {
            Some(Duration::ZERO) => Err(self.wrong(field, "must not be zero".into())),
            Some(time) if time > MAX_SPAN => Err(self.wrong(field, too_long())),
            Some(_) | None => Ok(()),
        }
    }

    fn wrong(&self, field: &'static str, problem: String) -> SpecError {
        SpecError { child: self.id.clone(), field, problem }
    }
}

fn too_long() -> String {
    format!("must not be longer than {} s", MAX_SPAN.as_secs())
}

pub(crate) fn check_intensity(intensity: &Intensity) -> Result<(), String> {
    if intensity.max_restarts > MAX_RESTARTS && *intensity != Intensity::UNLIMITED {
        return Err(format!("must not allow more than {MAX_RESTARTS} restarts"));
    }
    if intensity.within.is_zero() {
        return Err("needs a window longer than zero".into());
    }
    if intensity.within > MAX_SPAN {
        return Err(too_long());
    }
    Ok(())
}

pub(crate) fn check_backoff(backoff: &Backoff) -> Result<(), String> {
    if !(0.0..=1.0).contains(&backoff.jitter) {
        return Err("needs a jitter between 0 and 1".into());
    }
    if backoff.max < backoff.first {
        return Err("has a max below its first".into());
    }
    if backoff.max > MAX_SPAN || backoff.stable > MAX_SPAN {
        return Err(too_long());
    }
    Ok(())
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Permanent => "permanent",
            Self::Transient => "transient",
            Self::Temporary => "temporary",
        })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OneForOne => "one_for_one",
            Self::OneForAll => "one_for_all",
            Self::RestForOne => "rest_for_one",
        })
    }
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Brutal => f.write_str("brutal"),
            Self::Deadline(time) => write!(f, "{time:?}"),
            Self::Infinity => f.write_str("infinity"),
        }
    }
}

impl fmt::Display for Intensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::UNLIMITED {
            return f.write_str("unlimited");
        }
        write!(f, "{} in {:?}", self.max_restarts, self.within)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_wrong_field_is_named() {
        let ok = || ChildSpec::new("a");
        let backoff = |first, max, jitter| Backoff {
            first: Duration::from_secs(first),
            max: Duration::from_secs(max),
            jitter,
            stable: Duration::ZERO,
        };
        for (field, spec) in [
            ("id", ChildSpec::new("a/b")),
            ("shutdown", ok().shutdown(Shutdown::Deadline(Duration::ZERO))),
            ("start_timeout", ok().start_timeout(MAX_SPAN * 2)),
            ("stall_after", ok().stall_after(Duration::ZERO)),
            ("mailbox", ok().mailbox(0)),
            ("intensity", ok().intensity(Intensity::new(1, Duration::ZERO))),
            ("intensity", ok().intensity(Intensity::new(MAX_RESTARTS + 1, MAX_SPAN))),
            ("backoff", ok().backoff(backoff(2, 1, 0.0))),
            ("backoff", ok().backoff(backoff(1, 2, f64::NAN))),
            ("backoff", ok().backoff(backoff(1, 2, 1.5))),
        ] {
            assert_eq!(spec.validate().expect_err(field).field, field);
        }
        ok().validate().unwrap();
    }
}
