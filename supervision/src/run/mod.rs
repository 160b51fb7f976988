//! The effects: incarnations are spawned, told, ended and watched, as the decisions of [`core`](crate::core) say.

mod boundary;
mod crew;
mod fixed;
mod root;
mod set;

use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use fixed::supervise;
use root::RootState;
pub(crate) use root::start_root;
pub use root::{Root, assert_unwind};
pub(crate) use set::supervise_set;

use crate::{Child, ChildId, ExitReason, NodeState, Registry, StartError, StopError, registry::Node};

/// What the children of a supervisor tell its loop.
pub(crate) enum Event {
    Ready { key: u64, generation: u64 },
    Down { key: u64, generation: u64, exit: ExitReason },
}

/// Where the outcome of a first start goes.
pub(crate) type StartWatch = oneshot::Sender<Result<(), ExitReason>>;

/// What a handle asks of a running set.
pub(crate) enum Command {
    Start { child: Child, watch: Option<StartWatch>, reply: oneshot::Sender<Result<(), StartError>> },
    Stop { id: ChildId, reply: oneshot::Sender<Result<ExitReason, StopError>> },
    Restart { id: ChildId, reply: oneshot::Sender<Result<(), StopError>> },
}

/// Where an incarnation says that it is ready, and that it is down.
pub(crate) enum Reporter {
    /// To the loop of its supervisor. Unbounded, yet at most two events for each incarnation the loop started.
    Loop(mpsc::UnboundedSender<Event>, u64),
    /// To whoever holds the root.
    Root(watch::Sender<RootState>, Registry, Arc<Node>),
}

impl Reporter {
    pub(crate) fn ready(&self, generation: u64) {
        match self {
            // A loop that is gone has killed this incarnation already.
            Self::Loop(tx, key) => drop(tx.send(Event::Ready { key: *key, generation })),
            Self::Root(tx, registry, node) => {
                node.enter(NodeState::Running);
                registry.changed();
                tx.send_replace(RootState::Ready);
            }
        }
    }

    pub(crate) fn down(&self, generation: u64, exit: ExitReason) {
        match self {
            Self::Loop(tx, key) => drop(tx.send(Event::Down { key: *key, generation, exit })),
            Self::Root(tx, registry, node) => {
                registry.ended(node, &exit, NodeState::Stopped);
                registry.changed();
                tx.send_replace(RootState::Ended(exit));
            }
        }
    }
}
