//! The broker's parts against real files, sockets, threads and processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]
#![allow(clippy::print_stdout, reason = "the broker process says where it is")]

mod harness;
mod http;
mod link;
mod mail;
mod metrics;
mod store;
mod tree;
mod vault;
mod watch;
mod wire;
