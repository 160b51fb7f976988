//! Which messages are due where, and what came: nothing missing, nothing twice, each sender in order.
//!
//! Pure: it is told what is sent and what arrives.

use std::collections::{HashMap, VecDeque};
use std::fmt;

/// Characters of a body: base64 of 102 bytes, what a short sentence is when it is sealed.
const BODY_CHARS: usize = 136;

/// What a body says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slip {
    /// Which run of the story or of the phase: what is left of another does not count.
    pub run: u32,
    /// Who sent it.
    pub sender: u32,
    /// Which of the sender's in this run, from 0.
    pub number: u32,
}

impl Slip {
    /// As a ciphertext: decimal digits, which are base64.
    #[must_use]
    pub fn body(self) -> String {
        let Self { run, sender, number } = self;
        format!("{run:08}{sender:08}{number:08}{}", "A".repeat(BODY_CHARS - 24))
    }

    /// The client's id of such a message.
    #[must_use]
    pub fn id(self) -> String {
        let Self { run, sender, number } = self;
        format!("m-{run}-{sender}-{number}")
    }

    /// Reads a ciphertext; none if it is no body of these.
    #[must_use]
    pub fn of(body: &str) -> Option<Self> {
        let number = |at: usize| body.get(at..at + 8)?.parse().ok();
        (body.len() == BODY_CHARS).then_some(())?;
        Some(Self { run: number(0)?, sender: number(8)?, number: number(16)? })
    }
}

/// One run's account. Receivers are numbers of the caller's choice.
#[derive(Debug, Default)]
pub struct Ledger {
    run: u32,
    /// Of each sender to each receiver, what is still due, in order.
    due: HashMap<(u32, u32), VecDeque<u32>>,
    left: usize,
    /// What came as it should.
    pub delivered: usize,
    /// What went wrong.
    pub faults: Faults,
}

/// What should never be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Came although it was not due: for a second time, or to the wrong receiver.
    pub not_due: usize,
    /// Came before an earlier one of the same sender.
    pub early: usize,
}

impl Faults {
    /// Nothing.
    #[must_use]
    pub fn none(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} that were not due (twice, or another's), {} out of order", self.not_due, self.early)
    }
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn of_run(run: u32) -> Self {
        Self { run, ..Self::default() }
    }

    /// A message is due.
    pub fn expect(&mut self, slip: Slip, receiver: u32) {
        self.due.entry((slip.sender, receiver)).or_default().push_back(slip.number);
        self.left += 1;
    }

    /// A message came. Whether it was one of this run.
    pub fn take(&mut self, slip: Slip, receiver: u32) -> bool {
        if slip.run != self.run {
            return false;
        }
        let due = self.due.entry((slip.sender, receiver)).or_default();
        match due.iter().position(|number| *number == slip.number) {
            None => self.faults.not_due += 1,
            Some(place) => {
                due.remove(place);
                self.left -= 1;
                self.delivered += 1;
                self.faults.early += usize::from(place > 0);
            }
        }
        true
    }

    /// How many are due and have not come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slip(number: u32) -> Slip {
        Slip { run: 1, sender: 7, number }
    }

    #[test]
    fn a_body_is_read_back_and_nothing_else_is_one() {
        let slip = Slip { run: 3, sender: 99, number: 12_345_678 };
        assert_eq!(Slip::of(&slip.body()), Some(slip));
        assert_eq!((slip.body().len(), Slip::of("aGk="), Slip::of(&"ä".repeat(68))), (BODY_CHARS, None, None));
    }

    #[test]
    fn in_order_and_once_is_no_fault_and_everything_else_is() {
        let mut ledger = Ledger::of_run(1);
        for number in 0..4 {
            ledger.expect(slip(number), 0);
        }
        assert!(ledger.take(slip(0), 0));
        assert!(ledger.faults.none());
        assert!(!ledger.take(Slip { run: 2, ..slip(1) }, 0), "of another run");
        ledger.take(slip(0), 0);
        ledger.take(slip(1), 5);
        assert_eq!(ledger.faults, Faults { not_due: 2, early: 0 });
        ledger.take(slip(2), 0);
        assert_eq!(ledger.faults, Faults { not_due: 2, early: 1 });
        ledger.take(slip(1), 0);
        assert_eq!((ledger.left(), ledger.delivered, ledger.faults.early), (1, 3, 1));
    }
}
