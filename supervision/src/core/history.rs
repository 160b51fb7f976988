//! A child's past failures, and the verdict they lead to.

use std::{collections::VecDeque, time::Duration};

use super::{Policy, member::Ended};
use crate::{Backoff, Intensity, MAX_RESTARTS};

/// What follows from one more failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this delay.
    Again(Duration),
    /// That was one too many.
    TooMany,
}

/// The failures of one child, as far as they may still count.
#[derive(Debug, Default, Clone)]
pub(super) struct History {
    /// When each failure was, and how long the start before it had taken. At most one more than are allowed.
    failures: VecDeque<(Duration, Duration)>,
    /// Failures in a row without having been ready.
    unready: u32,
    /// Restarts since the last quiet time.
    attempts: u32,
}

impl History {
    /// Records a failure at `now` and judges.
    ///
    /// The window is stretched for a child whose cycle of start and wait is so slow that the plain one would
    /// never hold enough failures; failures before being ready count in a row, whatever the window.
    pub(super) fn judge(&mut self, now: Duration, ended: &Ended, policy: &Policy, random: &mut Random) -> Verdict {
        self.unready = if ended.was_ready { 0 } else { self.unready.saturating_add(1) };
        if ended.was_ready && ended.up_for >= policy.backoff.stable {
            self.attempts = 0;
        }
        let wait = nominal(&policy.backoff, self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        let allowed = policy.intensity.max_restarts;
        remember(&mut self.failures, (now, ended.start_took), allowed);
        let longest = self.failures.iter().map(|(_, took)| *took).max().unwrap_or_default();
        let longest_wait = wait.mul_f64(1.0 + policy.backoff.jitter);
        let cycles = longest.saturating_add(longest_wait).saturating_mul(allowed.saturating_add(1));
        let window = policy.intensity.within.max(cycles);
        let full = full_within(self.failures.iter().map(|(at, _)| *at), now, window, allowed);
        if full || self.unready > allowed {
            return Verdict::TooMany;
        }
        Verdict::Again(wait.mul_f64(random.factor(policy.backoff.jitter)))
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The failures of all children of a static supervisor together, judged exactly as OTP does.
#[derive(Debug, Default, Clone)]
pub(super) struct Shared(VecDeque<Duration>);

impl Shared {
    /// Records a failure at `now`; whether it is one too many.
    pub(super) fn too_many(&mut self, now: Duration, intensity: &Intensity) -> bool {
        remember(&mut self.0, now, intensity.max_restarts);
        full_within(self.0.iter().copied(), now, intensity.within, intensity.max_restarts)
    }
}

fn remember<T>(failures: &mut VecDeque<T>, failure: T, allowed: u32) {
    // Unlimited restarts are never too many: nobody would look.
    if allowed > MAX_RESTARTS {
        return;
    }
    failures.push_back(failure);
    while failures.len() > bound(allowed) {
        failures.pop_front();
    }
}

/// As many failures as are one too many.
fn bound(allowed: u32) -> usize {
    usize::try_from(allowed).unwrap_or(usize::MAX).saturating_add(1)
}

/// Whether more than `allowed` of the remembered failures lie in the window that ends now, its edge included.
fn full_within(
    failures: impl ExactSizeIterator<Item = Duration>,
    now: Duration,
    window: Duration,
    allowed: u32,
) -> bool {
    let enough = failures.len() >= bound(allowed);
    let mut failures = failures;
    enough && failures.next().is_some_and(|first| now.saturating_sub(first) <= window)
}

/// The wait before the restart that `attempts` others came before, without jitter.
fn nominal(backoff: &Backoff, attempts: u32) -> Duration {
    let Some(doublings) = attempts.checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    backoff.first.saturating_mul(factor).min(backoff.max)
}

/// A small generator (SplitMix64): the jitter needs to differ, not to be secret.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between `1 - jitter` and `1 + jitter`.
    fn factor(&mut self, jitter: f64) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        let unit = f64::from(high) / f64::from(u32::MAX);
        1.0 - jitter + 2.0 * jitter * unit
    }
}
