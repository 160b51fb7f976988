#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]
//! The decisions against tables, against random histories, and against a naive model.

mod otp;
mod random;
mod table;
mod world;

use std::time::Duration;

use super::Policy;
use crate::{Backoff, Intensity};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn policy(max_restarts: u32, within: u64) -> Policy {
    Policy { intensity: Intensity::new(max_restarts, s(within)), backoff: Backoff::NONE }
}
