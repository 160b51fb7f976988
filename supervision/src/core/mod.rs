//! The decisions of supervisors, and nothing else: no actors, no runtime, no clock, no I/O.
//!
//! [`Fixed`] decides for a static supervisor, [`Set`] for a dynamic set. Both take an [`Input`] with the time it
//! happened at (any monotonic clock, as a duration since its zero) and return what is to be done, in order.
//! Between inputs `next_wake` says when to come back with a [`Input::Tick`].

mod fixed;
mod history;
mod member;
mod open;
mod set;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use fixed::Fixed;
pub(crate) use history::Random;
pub(crate) use member::Member;
pub(crate) use set::Set;

use crate::{Backoff, ExitReason, Intensity, NodeState, Transition};

/// How long a killed child may take to be gone before it is given up as stuck.
pub(crate) const KILL_GRACE: Duration = Duration::from_secs(1);

/// Names a child towards its supervisor: its index, or in a set the number of its addition.
pub(crate) type Key = u64;

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// An incarnation says it is ready.
    Ready { key: Key, generation: u64 },
    /// An incarnation is gone.
    Down { key: Key, generation: u64, exit: ExitReason },
    /// Time passed.
    Tick,
    /// Stop everything in order, then finish with this reason.
    Shutdown(ExitReason),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// Begin this incarnation.
    Start { key: Key, generation: u64 },
    /// Ask it to stop.
    Stop { key: Key },
    /// End it.
    Kill { key: Key },
    /// Tell the tree and the observers.
    Report { key: Key, transition: Transition },
    /// Tell callers that there will be no further incarnation by itself.
    Close { key: Key, state: NodeState, exit: ExitReason },
    /// The child is no member any more.
    Forget { key: Key },
    /// The supervisor is ready.
    Ready,
    /// The supervisor is done; nothing of it runs.
    Finished(ExitReason),
}

/// When a child that fails is given up, and how long to wait before it is tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
}
