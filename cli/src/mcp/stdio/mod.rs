//! One MCP server on two pipes.
//!
//! Contract: `tools/list` and `tools/call` go to a [`Lane`] with their parameters as raw JSON, and what it answers is
//! written as it is. All else is rmcp's: the handshake of both eras, subscriptions, and what is not offered. A line is at
//! most as long as the runner's, [`runner::instance::rpc::LINE_BYTES_MAX`]. The server ends with its input, and gives what
//! was asked before that a moment.

mod front;
mod lifecycle;
mod outlet;

pub(crate) use front::{Asked, Lane, Reply, serve};
pub(crate) use lifecycle::About;
pub(crate) use outlet::{Outlet, Progress, Say};
