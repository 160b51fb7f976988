//! Who is cut off from a service because their calls keep killing it.
//!
//! Pure. A call that was in flight at two deaths is poison; a member with [`POISON_MAX`] of those within [`POISON_WITHIN`]
//! is refused for [`CUT_OFF_FOR`], and begins anew after it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Poison calls of a member that cut it off.
pub(super) const POISON_MAX: usize = 3;
/// Within this time.
pub(super) const POISON_WITHIN: Duration = Duration::from_secs(60);
/// For how long.
pub(super) const CUT_OFF_FOR: Duration = Duration::from_secs(60);
/// Members that are kept in mind; beyond it those whose last call of that kind is the longest ago are forgotten.
const MEMBERS_MAX: usize = 1_024;

#[derive(Debug, Default)]
struct Record {
    calls: VecDeque<Instant>,
    cut_off_until: Option<Instant>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Poisoners {
    members: HashMap<Arc<str>, Record>,
}

impl Poisoners {
    /// A call of this member was poison.
    pub(super) fn note(&mut self, member: &Arc<str>, now: Instant) {
        self.forget_old(now);
        let record = self.members.entry(Arc::clone(member)).or_default();
        record.calls.retain(|at| now.saturating_duration_since(*at) < POISON_WITHIN);
        record.calls.push_back(now);
        if record.calls.len() >= POISON_MAX {
            record.calls.clear();
            record.cut_off_until = Some(now + CUT_OFF_FOR);
        }
    }

    /// For how much longer this member is refused, if it is.
    pub(super) fn cut_off(&self, member: &str, now: Instant) -> Option<Duration> {
        let until = self.members.get(member)?.cut_off_until?;
        Some(until.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn forget_old(&mut self, now: Instant) {
        self.members.retain(|_, record| record.matters_until().is_some_and(|until| now < until));
        if self.members.len() >= MEMBERS_MAX {
            let oldest = self.members.iter().min_by_key(|(_, record)| record.matters_until());
            if let Some(member) = oldest.map(|(member, _)| Arc::clone(member)) {
                self.members.remove(&member);
            }
        }
    }
}

impl Record {
    fn matters_until(&self) -> Option<Instant> {
        self.calls.back().map(|at| *at + POISON_WITHIN).max(self.cut_off_until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn three_within_a_minute_cut_a_member_off_for_a_minute() {
        let (mut poisoners, begin) = (Poisoners::default(), Instant::now());
        let (ana, bob) = (member("ana"), member("bob"));
        let at = |seconds| begin + Duration::from_secs(seconds);
        for seconds in [0, 31, 62, 93] {
            poisoners.note(&ana, at(seconds));
            assert_eq!(poisoners.cut_off(&ana, at(seconds)), None, "never three within a minute: {seconds}");
        }
        poisoners.note(&ana, at(119));
        assert_eq!(poisoners.cut_off(&ana, at(119)), Some(CUT_OFF_FOR));
        assert_eq!(poisoners.cut_off(&bob, at(119)), None);
        assert_eq!(poisoners.cut_off(&ana, at(178)), Some(Duration::from_secs(1)));
        assert_eq!(poisoners.cut_off(&ana, at(179)), None);
        // It begins anew.
        poisoners.note(&ana, at(180));
        poisoners.note(&ana, at(181));
        assert_eq!(poisoners.cut_off(&ana, at(181)), None);
        poisoners.note(&ana, at(182));
        assert!(poisoners.cut_off(&ana, at(182)).is_some());
    }

    #[test]
    fn h46_the_memory_of_members_is_bounded() {
        let (mut poisoners, begin) = (Poisoners::default(), Instant::now());
        for n in 0..3 * MEMBERS_MAX {
            poisoners.note(&member(&n.to_string()), begin);
        }
        assert_eq!(poisoners.members.len(), MEMBERS_MAX);
        poisoners.note(&member("later"), begin + POISON_WITHIN);
        assert_eq!(poisoners.members.len(), 1);
    }
}
