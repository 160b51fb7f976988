//! What the stories and the load programs share: [`harness`] runs the built `claudemesh` as a person would, and looks
//! at it from outside: through its commands, its sockets and the system's process table. [`frames`] moves many messages
//! with one read or write, [`measure`] is what the load programs measure with.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a harness fails a test by panicking, with the place and the reason"
)]

#[path = "../load/frames.rs"]
pub mod frames;
pub mod harness;
#[path = "../load/measure/mod.rs"]
pub mod measure;
