//! The waits before connecting again: of random length, so that those who lost one broker do not come back as one, and
//! longer each time.

use std::time::Duration;

/// At most so long the first time; it doubles.
const FIRST: Duration = Duration::from_secs(1);
/// At most so long ever.
const LONGEST: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self(FIRST)
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(rand::random());
        self.0 = (self.0 * 2).min(LONGEST);
        wait
    }

    /// It went well: the next loss is a first one.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}
