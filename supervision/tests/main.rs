#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]
//! Trees of real actors. Time is paused unless a test is about the threads themselves.

#[path = "it/calls.rs"]
mod calls;
#[path = "it/panics.rs"]
mod panics;
#[path = "it/sets.rs"]
mod sets;
#[path = "it/shown.rs"]
mod shown;
#[path = "it/stuck.rs"]
mod stuck;
#[path = "it/support.rs"]
mod support;
#[path = "it/tree.rs"]
mod tree;
