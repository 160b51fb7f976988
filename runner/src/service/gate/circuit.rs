//! The circuit in front of a process: one that lets every call run out of time is not given more of them.
//!
//! Contract: pure. A time-out counts only when the process had the call for as long as the deployment lets a call take,
//! or nearly so when the call came with all of that time: a caller's own shorter patience says nothing about the service. Any answer, also one that comes too late, closes it.
//!
//! ```text
//! closed ──so many time-outs in a row──► open ──OPEN_FOR──► one call tries ──answer──► closed
//!                                          ▲                      │ time-out
//!                                          └──────────────────────┘
//! ```

use std::time::Duration;

/// How long an open circuit refuses calls before one may try.
pub const OPEN_FOR: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        /// In a row.
        timeouts: u32,
    },
    Open {
        until: Duration,
    },
    Trying {
        rpc: u64,
    },
}

/// What a refused caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Again {
    /// A call tries it now.
    Now,
    /// It is tried after this time.
    In(Duration),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Circuit {
    state: State,
    /// Time-outs in a row that open it.
    after: u32,
}

impl Circuit {
    pub(super) fn new(after: u32) -> Self {
        Self { state: State::Closed { timeouts: 0 }, after }
    }

    /// Whether the process may be given a call.
    pub(super) fn admits(&self, now: Duration) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => until <= now,
            State::Trying { .. } => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// When it is tried again; `None` while it is closed.
    pub(super) fn again(&self, now: Duration) -> Option<Again> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => Some(Again::In(until.saturating_sub(now))),
            State::Trying { .. } => Some(Again::Now),
        }
    }

    /// The process was given a call that it admitted.
    pub(super) fn sent(&mut self, rpc: u64) {
        if let State::Open { .. } = self.state {
            self.state = State::Trying { rpc };
        }
    }

    /// The process answered something; whether that closes the circuit.
    pub(super) fn answered(&mut self) -> bool {
        let was_closed = self.is_closed();
        self.state = State::Closed { timeouts: 0 };
        !was_closed
    }

    /// A call ran out of time, which `counts` or not; whether that opens the circuit.
    pub(super) fn timed_out(&mut self, rpc: u64, counts: bool, now: Duration) -> bool {
        match &mut self.state {
            State::Closed { timeouts } if counts => {
                *timeouts += 1;
                if *timeouts < self.after {
                    return false;
                }
                self.state = State::Open { until: now + OPEN_FOR };
                true
            }
            State::Trying { rpc: tries } if *tries == rpc && counts => {
                self.state = State::Open { until: now + OPEN_FOR };
                false
            }
            State::Trying { .. } => {
                self.given_up(rpc, now);
                false
            }
            State::Closed { .. } | State::Open { .. } => false,
        }
    }

    /// Nobody waits for the call any more: if it was the one that tried, the next one does.
    pub(super) fn given_up(&mut self, rpc: u64, now: Duration) {
        if self.state == (State::Trying { rpc }) {
            self.state = State::Open { until: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn opened() -> Circuit {
        let mut circuit = Circuit::new(3);
        let opens: Vec<bool> = (1..=3).map(|rpc| circuit.timed_out(rpc, true, S)).collect();
        assert_eq!(opens, [false, false, true]);
        circuit
    }

    #[test]
    fn an_answer_between_them_begins_the_count_anew() {
        let mut circuit = Circuit::new(3);
        for rpc in 0..20 {
            assert!(!circuit.timed_out(rpc, true, S));
            assert!(!circuit.timed_out(rpc, true, S));
            assert!(!circuit.answered(), "it was closed");
        }
        assert!(circuit.is_closed());
    }

    #[test]
    fn impatient_callers_do_not_open_it() {
        let mut circuit = Circuit::new(3);
        assert!((0..100).all(|rpc| !circuit.timed_out(rpc, false, S)));
        assert_eq!((circuit.is_closed(), circuit.again(S)), (true, None));
    }

    #[test]
    fn open_then_one_call_tries_then_an_answer_closes_it() {
        let mut circuit = opened();
        let later = S + OPEN_FOR;
        assert!(!circuit.admits(S) && !circuit.admits(later - S));
        assert_eq!(circuit.again(S), Some(Again::In(OPEN_FOR)));
        assert!(circuit.admits(later));
        circuit.sent(9);
        assert_eq!((circuit.admits(later), circuit.again(later)), (false, Some(Again::Now)));
        assert!(circuit.answered());
        assert!(circuit.is_closed());
    }

    #[test]
    fn a_try_that_runs_out_of_time_opens_it_again_and_one_that_is_given_up_leaves_it_to_the_next() {
        let mut circuit = opened();
        let later = S + OPEN_FOR;
        circuit.sent(9);
        circuit.timed_out(8, true, later);
        assert_eq!(circuit.again(later), Some(Again::Now), "one of before");
        circuit.timed_out(9, true, later);
        assert_eq!(circuit.again(later), Some(Again::In(OPEN_FOR)));
        for give_up in [true, false] {
            circuit.sent(10);
            if give_up {
                circuit.given_up(10, later);
            } else {
                assert!(!circuit.timed_out(10, false, later));
            }
            assert!(circuit.admits(later));
        }
    }

    #[test]
    fn an_answer_that_comes_too_late_closes_it() {
        let mut circuit = opened();
        assert!(circuit.answered() && circuit.admits(S));
    }
}
