//! The calls that wait for a service: members take turns, and one member's calls keep their order.
//!
//! Contract: pure. However many calls one member has waiting, another's first one waits for at most one call of each
//! member that was there before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Whose call it is, by an opaque key of the broker's; calls without one share a line.
pub type Member = Option<Arc<str>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lines: HashMap<Member, VecDeque<u64>>,
    /// Those who have a line, whose turn is next in front.
    turns: VecDeque<Member>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Calls of one member.
    pub(super) fn of(&self, member: &Member) -> usize {
        self.lines.get(member).map_or(0, VecDeque::len)
    }

    pub(super) fn push_back(&mut self, member: &Member, rpc: u64) {
        if !self.lines.contains_key(member) {
            self.turns.push_back(member.clone());
        }
        self.lines.entry(member.clone()).or_default().push_back(rpc);
        self.len += 1;
    }

    /// For a call that had its turn and comes back.
    pub(super) fn push_front(&mut self, member: &Member, rpc: u64) {
        if !self.lines.contains_key(member) {
            self.turns.push_front(member.clone());
        }
        self.lines.entry(member.clone()).or_default().push_front(rpc);
        self.len += 1;
    }

    /// The first call of the next member in turn who may have one.
    pub(super) fn next(&mut self, may: impl Fn(&Member) -> bool) -> Option<u64> {
        let at = self.turns.iter().position(may)?;
        let member = self.turns.remove(at)?;
        let line = self.lines.get_mut(&member)?;
        let rpc = line.pop_front()?;
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(&member);
        } else {
            self.turns.push_back(member);
        }
        Some(rpc)
    }

    /// Takes one call out, wherever it is.
    pub(super) fn remove(&mut self, member: &Member, rpc: u64) {
        let Some(line) = self.lines.get_mut(member) else { return };
        let Some(at) = line.iter().position(|id| *id == rpc) else { return };
        line.remove(at);
        self.len -= 1;
        if line.is_empty() {
            self.lines.remove(member);
            self.turns.retain(|other| other != member);
        }
    }

    /// Every call, by its number.
    pub(super) fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.lines.values().flatten().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Takes every call out, by its number.
    pub(super) fn take_all(&mut self) -> Vec<u64> {
        let ids = self.ids();
        *self = Self::default();
        ids
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str) -> Member {
        Some(Arc::from(name))
    }

    fn drained(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(|_| true)).collect()
    }

    #[test]
    fn h50_a_thousand_calls_of_one_member_do_not_delay_anothers_first() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|rpc| queue.push_back(&member("many"), rpc));
        queue.push_back(&member("one"), 5_000);
        queue.push_back(&None, 6_000);
        assert_eq!(drained(&mut queue)[..4], [0, 5_000, 6_000, 1]);
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_the_turn() {
        let mut queue = Queue::default();
        let (a, b) = (member("a"), member("b"));
        [1, 2].into_iter().for_each(|rpc| queue.push_back(&a, rpc));
        [3, 4].into_iter().for_each(|rpc| queue.push_back(&b, rpc));
        assert_eq!(queue.next(|who| *who == b), Some(3));
        assert_eq!(drained(&mut queue), [1, 4, 2]);
        assert_eq!(queue.next(|_| true), None);
    }

    #[test]
    fn what_comes_back_is_next_and_what_is_taken_out_is_gone() {
        let mut queue = Queue::default();
        let (a, b) = (member("a"), member("b"));
        [1, 2].into_iter().for_each(|rpc| queue.push_back(&a, rpc));
        queue.push_front(&b, 3);
        queue.push_front(&a, 0);
        queue.remove(&a, 1);
        queue.remove(&a, 9);
        assert_eq!((queue.len(), queue.of(&a), queue.of(&b)), (3, 2, 1));
        assert_eq!(drained(&mut queue), [3, 0, 2]);
        assert_eq!(queue.len(), 0);
    }

    proptest! {
        /// Between two calls of one member nobody else who waited all the time has more than one.
        #[test]
        fn nobody_has_two_turns_while_another_waits(calls in prop::collection::vec(0_u8..6, 1..200)) {
            let mut queue = Queue::default();
            for (rpc, who) in calls.iter().enumerate() {
                queue.push_back(&member(&who.to_string()), rpc as u64);
            }
            let mut left: HashMap<u8, usize> = HashMap::new();
            calls.iter().for_each(|who| *left.entry(*who).or_default() += 1);
            let mut had: HashMap<u8, usize> = HashMap::new();
            let mut last: HashMap<u8, u64> = HashMap::new();
            while let Some(rpc) = queue.next(|_| true) {
                let who = calls[rpc as usize];
                prop_assert!(last.insert(who, rpc).is_none_or(|earlier| earlier < rpc), "out of order");
                *had.entry(who).or_default() += 1;
                *left.get_mut(&who).unwrap() -= 1;
                for (other, _) in left.iter().filter(|(_, left)| **left > 0) {
                    prop_assert!(had[&who] <= had.get(other).copied().unwrap_or(0) + 1);
                }
            }
            prop_assert!(left.values().all(|left| *left == 0));
        }
    }
}
