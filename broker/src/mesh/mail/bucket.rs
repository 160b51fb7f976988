//! How fast a member may send: a token bucket.

use super::{SENDS_BURST, SENDS_PER_SECOND};
use crate::store::UtcMs;

/// Thousandths of a token: what comes in one millisecond is a whole number of them.
const MILLI: u64 = 1_000;

/// The tokens of one member.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    milli: u64,
    at: UtcMs,
}

impl Bucket {
    /// A full one.
    pub(super) const fn full(now: UtcMs) -> Self {
        Self { milli: SENDS_BURST * MILLI, at: now }
    }

    /// Takes a token for each recipient, all or none; else says after how many milliseconds there will be enough.
    /// More recipients than a full bucket has are paid with a full one.
    pub(super) fn take(&mut self, recipients: u64, now: UtcMs) -> Result<(), u64> {
        self.fill(now);
        let price = recipients.min(SENDS_BURST) * MILLI;
        match self.milli.checked_sub(price) {
            Some(left) => {
                self.milli = left;
                Ok(())
            }
            None => Err((price - self.milli).div_ceil(SENDS_PER_SECOND)),
        }
    }

    /// Whether it is full, and so need not be remembered.
    pub(super) fn is_full(&mut self, now: UtcMs) -> bool {
        self.fill(now);
        self.milli == SENDS_BURST * MILLI
    }

    fn fill(&mut self, now: UtcMs) {
        let passed = u64::try_from(now.as_ms().saturating_sub(self.at.as_ms())).unwrap_or(0);
        self.at = now.max(self.at);
        // Tokens a second are thousandths of a token a millisecond.
        self.milli = self.milli.saturating_add(passed.saturating_mul(SENDS_PER_SECOND)).min(SENDS_BURST * MILLI);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn h50_a_burst_then_a_rate() {
        let at = UtcMs::from_ms;
        let mut bucket = Bucket::full(at(0));
        assert_eq!(bucket.take(SENDS_BURST, at(0)), Ok(()));
        assert_eq!(bucket.take(1, at(0)), Err(5), "a fifth of a token a millisecond");
        assert_eq!(bucket.take(1, at(4)), Err(1));
        assert_eq!(bucket.take(1, at(5)), Ok(()));
        assert_eq!(bucket.take(SENDS_PER_SECOND, at(1_005)), Ok(()));
        assert_eq!(bucket.take(1, at(1_005)), Err(5), "a refusal costs nothing, and nothing was left");
        assert!(!bucket.is_full(at(1_006)));
        assert!(bucket.is_full(at(1_000_000)));
        assert_eq!(bucket.take(SENDS_BURST + 99, at(1_000_000)), Ok(()), "a large group can be reached at all");
        assert!(bucket.take(1, at(0)).is_err(), "a clock that goes back gives nothing");
    }
}
