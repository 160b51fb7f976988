//! The state of a service, driven by what its supervisors say and by nothing else.
//!
//! Contract: pure. Each transition has a time, a cause and a counter; an event that does not belong to the present state
//! changes nothing and is an error. The table is the whole truth:
//!
//! ```text
//!            prepare      start         ready
//!   queued ─────────► building ───► starting ───► running ──down──► restarting ──┐
//!      │                 │             │             ▲                 │  ▲       │ down, start
//!      └───── failed ────┴── failed ───┘             └──── ready ──────┘  └───────┘
//!                                                                      │ crashed
//!   running ──more, fewer──► running    running ──out──► restarting
//!   crashed, failed, stopped ──restart by hand──► restarting           ▼
//!   any ──leave──► draining ──gone──► stopped                       crashed
//! ```

use std::collections::VecDeque;

use protocol::link::ServiceState;

/// What the supervisors say about a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its source is being installed.
    Prepare,
    /// A process is being started.
    Start,
    /// A process is ready, its tools are known.
    Ready,
    /// The process is down; another will be started.
    Down {
        /// Why, in plain words.
        reason: String,
        /// Back-off before the next start, in milliseconds.
        delay_ms: u64,
    },
    /// One more of its instances is ready.
    More {
        /// So many are.
        ready: usize,
        /// Of so many.
        of: usize,
    },
    /// One of its instances is down; others are ready.
    Fewer {
        /// Why, in plain words.
        reason: String,
        /// So many are ready.
        ready: usize,
        /// Of so many.
        of: usize,
        /// Whether another process follows.
        is_restart: bool,
    },
    /// The last of its instances that were ready is down because of another's end, which is told by itself.
    Out {
        /// Why, in plain words.
        reason: String,
    },
    /// Above its intensity after it had been ready.
    Crashed {
        /// The last failure.
        reason: String,
    },
    /// Given up before it was ever ready.
    Failed {
        /// The failure.
        reason: String,
    },
    /// The process ended as it may, and its policy wants no other.
    Ended {
        /// How.
        reason: String,
    },
    /// A person asked for a restart.
    RestartByHand,
    /// It is being stopped.
    Leave,
    /// Nothing of it is left.
    Gone,
}

/// The name of an event, which is what the table speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are those of `Event`")]
pub enum Kind {
    Prepare,
    Start,
    Ready,
    Down,
    More,
    Fewer,
    Out,
    Crashed,
    Failed,
    Ended,
    RestartByHand,
    Leave,
    Gone,
}

impl Kind {
    /// Every event.
    pub const ALL: [Self; 13] = [
        Self::Prepare,
        Self::Start,
        Self::Ready,
        Self::Down,
        Self::More,
        Self::Fewer,
        Self::Out,
        Self::Crashed,
        Self::Failed,
        Self::Ended,
        Self::RestartByHand,
        Self::Leave,
        Self::Gone,
    ];
}

/// The table.
#[must_use]
pub const fn next(from: ServiceState, event: Kind) -> Option<ServiceState> {
    use ServiceState as S;
    match (event, from) {
        (Kind::Prepare, S::Queued) => Some(S::Building),
        (Kind::Start, S::Queued | S::Building) => Some(S::Starting),
        // The recovery of a service that was ready keeps its name until it is ready again.
        (Kind::Prepare | Kind::Start, S::Restarting) => Some(S::Restarting),
        (Kind::Ready, S::Starting | S::Restarting) => Some(S::Running),
        (Kind::Down, S::Running | S::Restarting) => Some(S::Restarting),
        (Kind::More | Kind::Fewer, S::Running) => Some(S::Running),
        (Kind::Out, S::Running) => Some(S::Restarting),
        (Kind::Crashed, S::Running | S::Restarting) => Some(S::Crashed),
        (Kind::Failed, S::Queued | S::Building | S::Starting) => Some(S::Failed),
        // By hand from `crashed` or `failed`, and not ready once since.
        (Kind::Failed, S::Restarting) => Some(S::Crashed),
        (Kind::Ended, S::Running | S::Restarting | S::Starting) => Some(S::Stopped),
        (Kind::RestartByHand, S::Draining | S::Unreachable) => None,
        (Kind::RestartByHand, _) => Some(S::Restarting),
        (Kind::Leave, S::Stopped | S::Unreachable) => None,
        (Kind::Leave, _) => Some(S::Draining),
        (Kind::Gone, S::Unreachable) => None,
        (Kind::Gone, _) => Some(S::Stopped),
        _ => None,
    }
}

/// An event that the table does not know in this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not belong to a service that is {from}")]
pub struct Unexpected {
    /// The state, unchanged.
    pub from: ServiceState,
    /// The event.
    pub event: Kind,
}

/// The state of one deployment of a service.
#[derive(Debug, Clone)]
pub struct State {
    state: ServiceState,
    since_ms: u64,
    cause: String,
    failure: Option<String>,
    restarts: VecDeque<u64>,
    restarts_total: u64,
}

/// Restart times that are kept to count those of the window; a policy allows at most as many.
const RESTARTS_KEPT: usize = 1_000;

impl State {
    /// A service that was just accepted. Times are Unix milliseconds.
    #[must_use]
    pub fn new(at_ms: u64) -> Self {
        Self {
            state: ServiceState::Queued,
            since_ms: at_ms,
            cause: "accepted".to_owned(),
            failure: None,
            restarts: VecDeque::new(),
            restarts_total: 0,
        }
    }

    /// Takes an event; the new state, or `None` when only counters or the cause changed.
    ///
    /// # Errors
    /// When the table has no such transition; nothing changed then.
    pub fn on(&mut self, event: &Event, at_ms: u64) -> Result<ServiceState, Unexpected> {
        let kind = event.kind();
        let to = next(self.state, kind).ok_or(Unexpected { from: self.state, event: kind })?;
        if to != self.state {
            self.since_ms = at_ms;
        }
        self.state = to;
        self.cause = event.cause();
        match event {
            Event::Down { reason, .. } => {
                self.count_restart(at_ms);
                self.failure = Some(reason.clone());
            }
            Event::Crashed { reason } | Event::Failed { reason } => self.failure = Some(reason.clone()),
            Event::RestartByHand | Event::Fewer { is_restart: true, .. } => self.count_restart(at_ms),
            Event::Ready => self.failure = None,
            Event::Prepare
            | Event::Start
            | Event::More { .. }
            | Event::Fewer { .. }
            | Event::Out { .. }
            | Event::Ended { .. }
            | Event::Leave
            | Event::Gone => {}
        }
        Ok(to)
    }

    fn count_restart(&mut self, at_ms: u64) {
        self.restarts_total += 1;
        if self.restarts.len() >= RESTARTS_KEPT {
            self.restarts.pop_front();
        }
        self.restarts.push_back(at_ms);
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> ServiceState {
        self.state
    }

    /// Since when, Unix milliseconds.
    #[must_use]
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// What led here, for a person.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.cause
    }

    /// The last failure since it was ready.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Restarts within the last `within_ms`.
    #[must_use]
    pub fn restarts_window(&self, now_ms: u64, within_ms: u64) -> u32 {
        let recent = self.restarts.iter().filter(|at| now_ms.saturating_sub(**at) < within_ms).count();
        u32::try_from(recent).unwrap_or(u32::MAX)
    }

    /// Restarts since it was accepted.
    #[must_use]
    pub fn restarts_total(&self) -> u64 {
        self.restarts_total
    }
}

impl Event {
    fn kind(&self) -> Kind {
        match self {
            Self::Prepare => Kind::Prepare,
            Self::Start => Kind::Start,
            Self::Ready => Kind::Ready,
            Self::Down { .. } => Kind::Down,
            Self::More { .. } => Kind::More,
            Self::Fewer { .. } => Kind::Fewer,
            Self::Out { .. } => Kind::Out,
            Self::Crashed { .. } => Kind::Crashed,
            Self::Failed { .. } => Kind::Failed,
            Self::Ended { .. } => Kind::Ended,
            Self::RestartByHand => Kind::RestartByHand,
            Self::Leave => Kind::Leave,
            Self::Gone => Kind::Gone,
        }
    }

    fn cause(&self) -> String {
        match self {
            Self::Prepare => "its source is being prepared".to_owned(),
            Self::Start => "its process is being started".to_owned(),
            Self::Ready => "handshake done, tools known".to_owned(),
            Self::Down { reason, delay_ms: 0 } => reason.clone(),
            Self::Down { reason, delay_ms } => format!("{reason}; next start in {delay_ms} ms"),
            Self::More { ready, of } => format!("{ready} of {of} instances ready"),
            Self::Fewer { reason, ready, of, .. } => format!("{ready} of {of} instances ready; {reason}"),
            Self::Out { reason } => reason.clone(),
            Self::Crashed { reason } => format!("too many restarts: {reason}"),
            Self::Failed { reason } | Self::Ended { reason } => reason.clone(),
            Self::RestartByHand => "restart by hand".to_owned(),
            Self::Leave => "it is being stopped".to_owned(),
            Self::Gone => "stopped, nothing is left of it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_table() {
        let mut drawn = String::new();
        for event in Kind::ALL {
            for from in ServiceState::ALL {
                if let Some(to) = next(from, event) {
                    drawn += &format!("{:<14} {from:<11} → {to}\n", format!("{event:?}"));
                }
            }
        }
        insta::assert_snapshot!(drawn);
    }

    #[test]
    fn an_ordinary_life() {
        use ServiceState as S;
        let mut state = State::new(0);
        let down = |delay_ms| Event::Down { reason: "exit code 3".to_owned(), delay_ms };
        let steps = [
            (Event::Prepare, S::Building),
            (Event::Start, S::Starting),
            (Event::Ready, S::Running),
            (down(0), S::Restarting),
            (Event::Start, S::Restarting),
            (down(200), S::Restarting),
            (Event::Crashed { reason: "exit code 3".to_owned() }, S::Crashed),
            (Event::RestartByHand, S::Restarting),
            (Event::Ready, S::Running),
            (Event::Leave, S::Draining),
            (Event::Gone, S::Stopped),
        ];
        for (at_ms, (event, expected)) in (1_u64..).zip(&steps) {
            assert_eq!(state.on(event, at_ms), Ok(*expected), "{event:?}");
        }
        assert_eq!((state.restarts_total(), state.restarts_window(20, 15), state.restarts_window(20, 60)), (3, 2, 3));
    }

    #[test]
    fn h06_what_does_not_belong_changes_nothing() {
        let mut state = State::new(5);
        assert_eq!(state.on(&Event::Ready, 9), Err(Unexpected { from: ServiceState::Queued, event: Kind::Ready }));
        assert_eq!((state.state(), state.since_ms()), (ServiceState::Queued, 5));
    }

    #[test]
    fn h10_never_ready_is_failed_and_once_ready_is_crashed() {
        let failed = Event::Failed { reason: "exit code 3".to_owned() };
        let mut never = State::new(0);
        never.on(&Event::Start, 1).unwrap();
        assert_eq!(never.on(&failed, 2), Ok(ServiceState::Failed));
        assert_eq!((never.failure(), never.cause()), (Some("exit code 3"), "exit code 3"));
        let mut once = State::new(0);
        once.on(&Event::Start, 1).unwrap();
        once.on(&Event::Ready, 2).unwrap();
        once.on(&Event::Down { reason: "x".to_owned(), delay_ms: 200 }, 3).unwrap();
        assert_eq!(once.cause(), "x; next start in 200 ms");
        assert_eq!(once.on(&Event::Crashed { reason: "x".to_owned() }, 4), Ok(ServiceState::Crashed));
    }
}
