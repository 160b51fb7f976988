#![doc = include_str!("../README.md")]

// What `supervised!` names in the crate that uses it.
#[doc(hidden)]
pub use actix;

mod child;
mod core;
mod dynamic;
mod exit;
mod id;
mod life;
mod message;
mod observer;
mod outline;
mod pulse;
mod registry;
mod run;
mod slot;
mod spec;
mod supervisor;
mod sync;

pub use child::Child;
pub use dynamic::{DEFAULT_SET_BOUND, Dynamic, Seeded, StartError, StopError};
pub use exit::ExitReason;
pub use id::{ChildId, IdError, MAX_ID_BYTES, NodePath};
pub use life::Life;
pub use message::{Relay, Supervised, Tracked};
pub use observer::{ChildEvent, Observer, Transition};
pub use pulse::Probe;
pub use registry::{
    LastExit, MAX_FACTS, NodeState, NodeView, Registry, Restarts, Snapshot, Tally, Watchdog, WatchdogConfig,
};
pub use run::{Root, assert_unwind};
pub use slot::{CallError, Slot, TellError};
pub use spec::{
    Ack, Backoff, ChildSpec, DEFAULT_MAILBOX, DEFAULT_SHUTDOWN, DEFAULT_STALL, DEFAULT_START_TIMEOUT, Intensity,
    MAX_RESTARTS, MAX_SPAN, Restart, Shutdown, SpecError, Strategy,
};
pub use supervisor::Supervisor;
