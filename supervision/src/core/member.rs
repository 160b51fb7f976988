//! One child as its supervisor sees it: which incarnation there is and what is being done with it.
//!
//! ```text
//! idle ──start──▶ starting ──ready──▶ up
//!   ▲                │ ╲               │
//!   │           stop │  ╲ too late     │ stop
//!   │                ▼   ╲             ▼
//!   │             stopping ╲────────stopping
//!   │                │ too late        │
//!   └─down── (any)   ▼                 ▼
//!                 killing ──grace over──▶ idle (stuck)
//! ```
//! `over` is idle for good: finished, or parked.

use std::time::Duration;

use super::{KILL_GRACE, Key, Output, history::History};
use crate::{Child, ChildId, ExitReason, Restart, Shutdown, Transition};

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(super) id: ChildId,
    pub(super) restart: Restart,
    shutdown: Shutdown,
    start_timeout: Option<Duration>,
    pub(super) generation: u64,
    pub(super) status: Status,
    pub(super) ever_ready: bool,
    pub(super) last_exit: ExitReason,
    pub(super) history: History,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Idle,
    Starting { since: Duration, until: Option<Duration> },
    Up { since: Duration, start_took: Duration },
    Stopping { until: Option<Duration> },
    Killing { until: Duration, why: Why, began: Duration },
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It was to stop, and did not in time.
    Ordered,
    /// It was not ready in time.
    StartTimeout,
}

/// An incarnation that is gone.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) exit: ExitReason,
    /// It was ready and ended by itself.
    pub(super) was_ready: bool,
    pub(super) up_for: Duration,
    /// From its begin until it was ready, or until it failed without.
    pub(super) start_took: Duration,
}

/// What a deadline that passed leads to.
pub(super) enum Expired {
    Kill,
    GiveUp,
}

impl Member {
    /// `generation` is that of the last incarnation of the node, 0 when there was none.
    pub(crate) fn new(id: ChildId, child: &Child, generation: u64) -> Self {
        Self {
            id,
            restart: child.spec.restart,
            shutdown: child.shutdown(),
            start_timeout: child.start_timeout(),
            generation,
            status: Status::Idle,
            ever_ready: false,
            last_exit: ExitReason::Shutdown,
            history: History::default(),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        match self.status {
            Status::Idle | Status::Over => false,
            Status::Starting { .. } | Status::Up { .. } | Status::Stopping { .. } | Status::Killing { .. } => true,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.status, Status::Up { .. })
    }

    pub(super) fn start(&mut self, key: Key, now: Duration) -> Output {
        self.generation = self.generation.saturating_add(1);
        let until = self.start_timeout.map(|timeout| now.saturating_add(timeout));
        self.status = Status::Starting { since: now, until };
        Output::Start { key, generation: self.generation }
    }

    /// Whether it is up by that: it was starting, and this is the incarnation that was.
    pub(super) fn ready(&mut self, generation: u64, now: Duration) -> bool {
        let Status::Starting { since, .. } = self.status else {
            return false;
        };
        if generation != self.generation {
            return false;
        }
        self.status = Status::Up { since: now, start_took: now.saturating_sub(since) };
        self.ever_ready = true;
        true
    }

    /// What to do to stop it; nothing when that is under way already.
    pub(super) fn stop(&mut self, key: Key, now: Duration, out: &mut Vec<Output>) {
        match self.status {
            Status::Starting { .. } | Status::Up { .. } => {}
            Status::Killing { until, began, .. } => {
                self.status = Status::Killing { until, began, why: Why::Ordered };
                return;
            }
            Status::Idle | Status::Over | Status::Stopping { .. } => return,
        }
        out.push(Output::Report { key, transition: Transition::Stopping });
        match self.shutdown {
            Shutdown::Brutal => {
                self.status = killing(now, now, Why::Ordered);
                out.push(Output::Kill { key });
            }
            Shutdown::Deadline(time) => {
                self.status = Status::Stopping { until: Some(now.saturating_add(time)) };
                out.push(Output::Stop { key });
            }
            Shutdown::Infinity => {
                self.status = Status::Stopping { until: None };
                out.push(Output::Stop { key });
            }
        }
    }

    /// When it must be looked at again, unless something happens before.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.status {
            Status::Starting { until, .. } | Status::Stopping { until } => until,
            Status::Killing { until, .. } => Some(until),
            Status::Idle | Status::Up { .. } | Status::Over => None,
        }
    }

    pub(super) fn expire(&mut self, now: Duration) -> Option<Expired> {
        if self.deadline().is_none_or(|at| now < at) {
            return None;
        }
        match self.status {
            Status::Starting { since, .. } => {
                self.status = killing(now, since, Why::StartTimeout);
                Some(Expired::Kill)
            }
            Status::Stopping { .. } => {
                self.status = killing(now, now, Why::Ordered);
                Some(Expired::Kill)
            }
            Status::Killing { .. } => Some(Expired::GiveUp),
            Status::Idle | Status::Up { .. } | Status::Over => None,
        }
    }

    /// `None` when that incarnation was not the one that is there.
    pub(super) fn down(&mut self, generation: u64, exit: ExitReason, now: Duration) -> Option<Ended> {
        if generation != self.generation || !self.is_alive() {
            return None;
        }
        let none = Duration::ZERO;
        let (was_ready, up_for, start_took) = match self.status {
            Status::Up { since, start_took } => (true, now.saturating_sub(since), start_took),
            Status::Starting { since, .. } => (false, none, now.saturating_sub(since)),
            Status::Killing { began, .. } => (false, none, now.saturating_sub(began)),
            Status::Idle | Status::Stopping { .. } | Status::Over => (false, none, none),
        };
        let exit = self.judged(exit);
        self.status = Status::Idle;
        self.last_exit = exit.clone();
        Some(Ended { exit, was_ready, up_for, start_took })
    }

    /// The reason as it looks to the one who gave the order.
    fn judged(&self, exit: ExitReason) -> ExitReason {
        match (self.status, exit) {
            (Status::Killing { why: Why::StartTimeout, .. }, ExitReason::Killed) => ExitReason::StartTimeout,
            (Status::Stopping { .. }, ExitReason::Normal) => ExitReason::Shutdown,
            (_, exit) => exit,
        }
    }

    /// Whether it is started again after this end.
    pub(super) fn is_restarted_after(&self, exit: &ExitReason) -> bool {
        match self.restart {
            Restart::Permanent => true,
            Restart::Transient => exit.is_abnormal(),
            Restart::Temporary => false,
        }
    }
}

fn killing(now: Duration, began: Duration, why: Why) -> Status {
    Status::Killing { until: now.saturating_add(KILL_GRACE), why, began }
}
