//! The processes that take calls, and which of them takes the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Repeatable;
use super::circuit::{Again, Circuit};

#[derive(Debug)]
struct Process {
    repeatable: Repeatable,
    in_flight: usize,
    /// When it was last given a call, in calls.
    turn: u64,
    circuit: Circuit,
}

/// Pure. The least loaded process takes the next call, of several the one whose last call is the longest ago.
#[derive(Debug)]
pub(super) struct Pool {
    processes: BTreeMap<u64, Process>,
    turns: u64,
    /// Time-outs in a row that open a circuit.
    circuit_after: u32,
}

impl Pool {
    pub(super) fn new(circuit_after: u32) -> Self {
        Self { processes: BTreeMap::new(), turns: 0, circuit_after }
    }

    pub(super) fn open(&mut self, generation: u64, repeatable: Repeatable) {
        let circuit = Circuit::new(self.circuit_after);
        self.processes.insert(generation, Process { repeatable, in_flight: 0, turn: 0, circuit });
    }

    /// Whether it was there.
    pub(super) fn close(&mut self, generation: u64) -> bool {
        self.processes.remove(&generation).is_some()
    }

    pub(super) fn clear(&mut self) {
        self.processes.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    pub(super) fn relist(&mut self, generation: u64, repeatable: Repeatable) {
        if let Some(process) = self.processes.get_mut(&generation) {
            process.repeatable = repeatable;
        }
    }

    /// Whether any process may be given a call.
    pub(super) fn admits(&self, now: Duration) -> bool {
        self.processes.values().any(|process| process.circuit.admits(now))
    }

    /// When the first process that is cut off is tried again.
    pub(super) fn again(&self, now: Duration) -> Again {
        self.processes.values().filter_map(|process| process.circuit.again(now)).min().unwrap_or(Again::Now)
    }

    /// Gives a call to a process.
    pub(super) fn give(&mut self, rpc: u64, now: Duration) -> Option<(u64, Repeatable)> {
        let free = self.processes.iter_mut().filter(|(_, process)| process.circuit.admits(now));
        let (generation, process) = free.min_by_key(|(_, process)| (process.in_flight, process.turn))?;
        self.turns += 1;
        process.turn = self.turns;
        process.in_flight += 1;
        process.circuit.sent(rpc);
        Some((*generation, Arc::clone(&process.repeatable)))
    }

    /// A call is no longer before its process; `given_up` if nobody waits for its answer.
    pub(super) fn take_back(&mut self, generation: u64, rpc: u64, now: Duration) {
        if let Some(process) = self.processes.get_mut(&generation) {
            process.in_flight = process.in_flight.saturating_sub(1);
            process.circuit.given_up(rpc, now);
        }
    }

    /// The process answered something; whether that closes its circuit.
    pub(super) fn answered(&mut self, generation: u64) -> bool {
        self.processes.get_mut(&generation).is_some_and(|process| process.circuit.answered())
    }

    /// The process let a call run out of time; whether that opens its circuit.
    pub(super) fn timed_out(&mut self, generation: u64, rpc: u64, counts: bool, now: Duration) -> bool {
        self.processes.get_mut(&generation).is_some_and(|process| process.circuit.timed_out(rpc, counts, now))
    }

    /// Whether calls may keep this process busy: nothing is known against it.
    pub(super) fn is_trusted(&self, generation: u64) -> bool {
        self.processes.get(&generation).is_some_and(|process| process.circuit.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn none() -> Repeatable {
        Arc::new(HashSet::new())
    }

    fn given(pool: &mut Pool, calls: std::ops::Range<u64>) -> Vec<u64> {
        calls.filter_map(|rpc| pool.give(rpc, Duration::ZERO)).map(|(generation, _)| generation).collect()
    }

    #[test]
    fn the_least_loaded_takes_the_next_call_and_equals_take_turns() {
        let mut pool = Pool::new(2);
        [1, 2, 3].into_iter().for_each(|generation| pool.open(generation, none()));
        assert_eq!(given(&mut pool, 0..4), [1, 2, 3, 1]);
        pool.take_back(3, 2, Duration::ZERO);
        assert_eq!(given(&mut pool, 4..6), [3, 2]);
        assert!(pool.close(2) && !pool.close(2));
        assert_eq!(given(&mut pool, 6..8), [3, 1]);
    }

    #[test]
    fn one_whose_circuit_is_open_is_left_alone_until_it_is_tried_again() {
        let mut pool = Pool::new(1);
        [1, 2].into_iter().for_each(|generation| pool.open(generation, none()));
        assert!(pool.timed_out(1, 7, true, Duration::ZERO));
        assert_eq!(given(&mut pool, 0..2), [2, 2]);
        assert!(pool.timed_out(2, 8, true, Duration::ZERO));
        assert!(!pool.admits(Duration::ZERO));
        assert_eq!((given(&mut pool, 2..3), pool.again(Duration::ZERO)), (vec![], Again::In(super::super::OPEN_FOR)));
        assert!(pool.answered(1));
        assert_eq!(given(&mut pool, 3..4), [1]);
    }
}
