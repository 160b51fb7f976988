//! How often a member may have something built, or offer a server: so many times in any minute.
//!
//! Pure but for its lock; the time is passed in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::store::UtcMs;

/// Deploys, updates and rollbacks of one member in a minute.
pub const DEPLOYS_PER_MINUTE: usize = 10;
/// Registrations of one member in a minute. A host that comes back registers all that it hosts.
pub const REGISTRATIONS_PER_MINUTE: usize = 120;
const MINUTE_MS: i64 = 60_000;

/// What the members of one mesh did in the last minute.
#[derive(Debug)]
pub struct Pace {
    per_minute: usize,
    members: Mutex<HashMap<String, VecDeque<UtcMs>>>,
}

impl Pace {
    /// So many times a minute.
    #[must_use]
    pub fn of(per_minute: usize) -> Self {
        Self { per_minute, members: Mutex::default() }
    }

    /// Takes one of a member's; else says in how many milliseconds there will be one.
    ///
    /// # Errors
    /// The milliseconds to wait.
    pub fn take(&self, member: &str, now: UtcMs) -> Result<(), u64> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let ago = |then: &UtcMs| now.as_ms().saturating_sub(then.as_ms());
        // Nobody is remembered for longer than it matters.
        members.retain(|_, times| {
            times.retain(|then| ago(then) < MINUTE_MS);
            !times.is_empty()
        });
        let times = members.entry(member.to_owned()).or_default();
        match times.front() {
            Some(first) if times.len() >= self.per_minute => {
                Err(u64::try_from(MINUTE_MS.saturating_sub(ago(first))).unwrap_or_default())
            }
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    /// What was taken last came to nothing.
    pub fn give_back(&self, member: &str) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.get_mut(member).and_then(VecDeque::pop_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h50_a_member_has_so_many_deploys_a_minute_and_no_other_member_pays() {
        let (pace, at) = (Pace::of(DEPLOYS_PER_MINUTE), UtcMs::from_ms);
        for n in 0..10 {
            assert_eq!(pace.take("a", at(n * 1_000)), Ok(()));
        }
        assert_eq!(pace.take("a", at(9_000)), Err(51_000));
        assert_eq!(pace.take("b", at(9_000)), Ok(()));
        assert_eq!(pace.take("a", at(59_999)), Err(1), "a refusal costs nothing");
        assert_eq!(pace.take("a", at(60_000)), Ok(()));
        assert_eq!(pace.take("a", at(60_000)), Err(1_000));
        pace.give_back("a");
        assert_eq!(pace.take("a", at(60_000)), Ok(()));
    }
}
