//! What a supervisor tells about its children, as it happens.

use std::time::Duration;

use crate::{ChildId, ExitReason, NodePath, NodeState};

/// Is told of every change of the children it observes, by the supervisor's own loop: it must not block, and it
/// hands on what takes time. A panic in it is caught and logged.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on(&self, event: &ChildEvent);
}

/// What happened to which child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildEvent {
    /// Where the child stands in the tree.
    pub path: NodePath,
    /// Its id among its siblings.
    pub id: ChildId,
    /// The incarnation it happened to.
    pub generation: u64,
    /// What happened.
    pub transition: Transition,
}

/// A change in the life of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// An incarnation begins.
    Starting,
    /// It is ready.
    Ready,
    /// It ended, or is ended with its group, and another begins after the delay.
    Restarting {
        /// How it ended.
        exit: ExitReason,
        /// How long until the next one.
        delay: Duration,
    },
    /// It failed too often: it is not restarted until somebody says so.
    Parked {
        /// How it ended the last time.
        exit: ExitReason,
        /// `Crashed` when it ever was ready, else `Failed`.
        state: NodeState,
    },
    /// It was asked to stop.
    Stopping,
    /// It ended and is not started again by itself.
    Stopped {
        /// How it ended.
        exit: ExitReason,
    },
}
