//! Services: what was loaded, what of it runs, and what it is asked.
//!
//! Owns one [`Entry`] for each deployment that a broker loaded, kept by the [`Directory`]. Parent: the root. Children:
//! the dynamic set `services` holds one static supervisor for each entry,
//!
//! ```text
//! services                          dynamic
//! └─ <mesh>:<service>@<deployment>  one_for_one, the intensity and back-off of the deployment's policy
//!    ├─ calls                       task: the gate's clock
//!    ├─ prepare                     task, transient: source → program; not run again by the restart of an instance
//!    └─ instance:shared             rest_for_one, intensity 0: process → mcp → health (see `instance`)
//! ```
//!
//! A deployment with several instances has them under a supervisor of their own, `instances`, which has the policy's
//! strategy, intensity and back-off; the service then ends with it.
//!
//! The set parks a service at its first abnormal exit: one that never was ready is `failed`, one that was is `crashed`.
//! What a restart loses: calls before the process get a definite answer (see [`gate`]); the log, the queue of calls and
//! the tool list survive. When the set itself restarts, it starts every entry again. Two deployments of one service may
//! be here at once, during an update; they share the log and the data directory.

mod board;
mod child;
mod directory;
mod entry;
pub mod gate;
mod instances;
pub mod log;
mod logs;
mod observe;
mod redact;
mod sealed;
mod spec;
pub mod state;
mod tasks;

pub use board::{Board, Callers};
pub use directory::{CommandError, Directory, SERVICES_MAX};
pub(crate) use entry::lock;
pub use entry::{Entry, Key, Load};
pub(crate) use log::brief;
pub(crate) use sealed::{Unlocked, Versions, sweep};
pub use spec::Means;

/// In a service's own folder: the secret files of its processes, where they cannot be in memory.
pub(crate) const SECRETS_FOLDER: &str = "secrets";
