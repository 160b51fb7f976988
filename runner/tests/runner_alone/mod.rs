//! A runner in a process of its own, spoken to as a broker does, with the fixture server as its service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod alone;
mod bench;
mod calls;
mod handshake;
mod instances;
mod leftover;
mod life;
mod metrics;
mod packages;
mod processes;
mod sealed;
