//! Starts other people's programs and takes every process they leave behind
//! away again. This folder is the only one that touches the operating system.
//!
//! **Contract.** [`Launcher::spawn`] returns once the program runs, or says
//! why it does not. Whatever the program then starts (children that fork
//! twice, make a session of their own, ignore every signal they may) belongs
//! to it: when the program ends, when [`ProcessHandle::kill`] is called, when
//! [`Exit`] is dropped and when this very process dies of `SIGKILL`, all of it
//! is killed, and [`Exit`] resolves only after nothing of it remains. A pid
//! leaves this folder as a fact to show, never as a thing to signal.
//!
//! ```text
//! runner ── control socket ──┐
//!   └─ warden A (same binary, cleared environment, one thread)
//!        level namespace                        level guard
//!        └─ B  pid 1 of a new pid namespace     (A itself is the guard,
//!           └─ C  the program                    a child subreaper)
//!                └─ its descendants             └─ C  the program
//! ```
//!
//! One mechanism serves the intended and the unintended end: the warden kills
//! the set when its control socket reaches end of file. `kill()` shuts the
//! runner's half of the socket down; a runner that dies closes it. What must
//! work after a crash is therefore exercised by every stop.
//!
//! Files: `launcher` (probe, spawn), `keeper` (one task per process set),
//! `control` and `wire` (the socket and what is said on it), `warden/` (what
//! runs in the other process), `run` and `lines` (a command to its end, its
//! output by lines).

mod command;
mod control;
mod error;
mod keeper;
mod launcher;
mod lines;
mod run;
mod status;
mod warden;
mod wire;

pub use command::{Access, Command, DEFAULT_FDS, HiddenFile, HiddenFiles, Level, Limits, Visible};
pub use error::{ProcessError, RunError, SpawnError};
pub use keeper::{Exit, KILL_LIMIT, Process, ProcessFacts, ProcessHandle};
pub use launcher::{HANDSHAKE_LIMIT, Launcher};
pub(crate) use lines::CUT_NOTICE;
pub use lines::{LineSplitter, MAX_LINE};
pub use run::{MAX_OUTPUT, OutputStream, run, run_unless};
pub use status::ExitStatus;
pub use warden::warden_main_if_asked;
pub(crate) use wire::MAX_COVERED_ENTRIES;
pub use wire::Step;
