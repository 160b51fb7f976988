//! An instance: one MCP process and those who keep it.
//!
//! Owns one process at a time, under a generation that rises with each. Parent: the service. Children, rest_for_one with
//! intensity 0, so that whatever ends takes the rest with it and the service's policy decides about another try:
//!
//! ```text
//! instance:shared
//! ├─ process   spawns, pumps stderr to the log, ends when nothing of the process is left
//! ├─ mcp       handshake, tool list, then all traffic; opens the service's gate when it is ready
//! └─ health    pings a silent server
//! ```
//!
//! What a restart loses: everything but what the [`Entry`] keeps. Stop order: `health`; `mcp`, which closes the server's
//! stdin; `process`, which then asks with SIGTERM and at last kills.

mod cell;
mod client;
mod health;
mod mcp;
mod process;
mod progress;
pub mod rpc;
mod secrets;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use protocol::link::RestartKind;
use supervision::{Ack, Child, ChildSpec, Intensity, Restart, Shutdown, Strategy, Supervisor};

pub use client::Client;
pub(crate) use process::limits;
pub use tools::{Problem, read as read_tools, told};

use crate::service::{Entry, Means};
use cell::Cell;

/// What an instance is called, by its place from 0: `shared`, `shared-2`, …
#[must_use]
pub fn key(instance: usize) -> String {
    match instance {
        0 => "shared".to_owned(),
        more => format!("shared-{}", more + 1),
    }
}

/// The child that holds the process.
pub(crate) const PROCESS: &str = "process";
/// What a stop may take beyond the policy's time, which ends in a kill.
const STOP_MARGIN: Duration = Duration::from_secs(20);
/// Nothing here is restarted by itself.
const NEVER: Intensity = Intensity::new(0, Duration::from_secs(1));

/// The instance's own supervisor.
pub(crate) fn supervisor(instance: usize, entry: &Arc<Entry>, means: &Arc<Means>) -> Supervisor {
    let policy = &entry.spec.policy;
    let start_timeout = Duration::from_millis(policy.start_timeout_ms);
    // A service that is not permanent may end with code 0, and then nothing of it is restarted.
    let restart = match policy.restart {
        RestartKind::Permanent => Restart::Permanent,
        RestartKind::Transient | RestartKind::Temporary => Restart::Transient,
    };
    let spec = |id: &str| ChildSpec::new(id).restart(restart).start_timeout(start_timeout);
    let cell = Arc::new(Cell::new(instance, entry, means));
    let (for_mcp, for_health) = (Arc::clone(&cell), Arc::clone(&cell));
    let stop = Shutdown::Deadline(Duration::from_millis(policy.stop_timeout_ms) + STOP_MARGIN);
    Supervisor::new(Strategy::RestForOne, NEVER)
        .child(Child::task(spec(PROCESS).kind("process").ack(Ack::Explicit).shutdown(stop), move |life| {
            let cell = Arc::clone(&cell);
            async move { cell.entry.clean_exit(process::run(life, Arc::clone(&cell)).await) }
        }))
        .child(Child::task(spec("mcp").kind("mcp").ack(Ack::Explicit), move |life| {
            let cell = Arc::clone(&for_mcp);
            async move { cell.entry.clean_exit(mcp::run(life, Arc::clone(&cell)).await) }
        }))
        .child(Child::task(spec("health").kind("health"), move |life| health::run(life, Arc::clone(&for_health))))
}
