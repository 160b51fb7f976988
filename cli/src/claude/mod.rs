//! The files of the Claude Code client on this machine, and what we keep in them.
//!
//! Contract: the files are the user's. Whatever is not ours stays as it was, to the byte; a file that cannot be
//! understood is left alone; every change is one step, so that a reader sees the old or the new file, whole. What we
//! put in is taken out again: at the end of a session, or, if that end was not seen, at the start of the next.
//!
//! | module | what it does |
//! |---|---|
//! | [`json`] | changes one member of a JSON text and leaves the rest; pure |
//! | [`file`] | carries such a change out, against other writers |
//! | [`lock`] | who may write them |
//! | [`launcher`] | which process launched, so that no other is taken for it |
//! | [`native`] | the entries `mesh:<service>:<pid>` of launched sessions |
//! | [`paths`] | where the client keeps its files |
//! | [`plan`] | with which words and variables the client is started; pure |
//! | [`find`] | where the client is, and which conversation it would go on with |
//! | [`child`] | runs it to its end |
//! | [`setup`] | what `install` puts in and `uninstall` takes out |

mod child;
mod file;
mod find;
mod json;
mod launcher;
mod lock;
mod native;
mod paths;
mod plan;
mod setup;

pub(crate) use child::Signals;
pub(crate) use file::change;
pub(crate) use find::{last_conversation, program};
pub(crate) use launcher::{Here, Launcher, Standing};
pub(crate) use native::{Found, Native, sweep};
pub(crate) use paths::Files;
pub(crate) use plan::{Conversation, Plan, Wish};
pub(crate) use setup::{install, is_installed, own_program, uninstall};
