//! How much each member may still send, as the broker counts it, so that no phase is refused for its rate.
//!
//! Pure; it errs on the careful side: what was sent is taken away when the phase is over, and fills up from then.

use std::time::{Duration, Instant};

/// Of a member, for recipients of its messages.
const TOKENS_PER_SECOND: f64 = 200.0;
/// The most that it can save.
const TOKENS: f64 = 2_000.0;

/// One member's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purse {
    tokens: f64,
    at: Instant,
}

impl Purse {
    pub(crate) fn full(now: Instant) -> Self {
        Self { tokens: TOKENS, at: now }
    }

    /// How long until so many are there. None: they never will be.
    pub(crate) fn wait_for(&self, tokens: u32, now: Instant) -> Option<Duration> {
        let missing = f64::from(tokens) - self.at_moment(now);
        (f64::from(tokens) <= TOKENS).then(|| Duration::from_secs_f64(missing.max(0.0) / TOKENS_PER_SECOND))
    }

    pub(crate) fn spend(&mut self, tokens: u32, now: Instant) {
        *self = Self { tokens: self.at_moment(now) - f64::from(tokens), at: now };
    }

    fn at_moment(&self, now: Instant) -> f64 {
        let filled = now.saturating_duration_since(self.at).as_secs_f64() * TOKENS_PER_SECOND;
        (self.tokens + filled).min(TOKENS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_comes_back_with_time_and_no_more_than_it_holds() {
        let now = Instant::now();
        let mut purse = Purse::full(now);
        assert_eq!(purse.wait_for(2_000, now), Some(Duration::ZERO));
        assert_eq!(purse.wait_for(2_001, now), None);
        purse.spend(2_000, now);
        assert_eq!(purse.wait_for(100, now), Some(Duration::from_millis(500)));
        assert_eq!(purse.wait_for(100, now + Duration::from_millis(400)), Some(Duration::from_millis(100)));
        let later = now + Duration::from_secs(60);
        assert_eq!(purse.wait_for(2_000, later), Some(Duration::ZERO));
    }
}
