//! The time of one actor's life, which never goes back.

use std::time::Instant;

use crate::store::UtcMs;

/// Counts on from the moment it was made, whatever becomes of the machine's clock.
pub(super) struct Clock {
    utc: UtcMs,
    since: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { utc: UtcMs::now(), since: Instant::now() }
    }

    pub(super) fn now(&self) -> UtcMs {
        self.utc.plus_ms(i64::try_from(self.since.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
