//! One mailbox.

use protocol::wire::Priority;

use super::lane::Lane;

/// Whose a mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A session's.
    Session,
    /// A member's.
    Member,
}

/// What waits for one address.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) of: Of,
    /// Messages that wait, those that are being stored included.
    pub(super) count: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// While somebody attends it.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    lanes: [Lane; 3],
}

impl Mailbox {
    /// One that nobody attends.
    pub(super) const fn holding(of: Of, count: u64, bytes: u64) -> Self {
        Self { of, count, bytes, open: None }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Which of its lives in memory this is.
    pub(super) fn opening(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.number)
    }

    /// Somebody attends it from now on.
    pub(super) fn open(&mut self, number: u64, accepted: i64) {
        if self.open.is_none() {
            let waits = self.count > 0;
            let lane = || if waits { Lane::to_be_loaded(accepted) } else { Lane::default() };
            self.open = Some(Open { number, lanes: [lane(), lane(), lane()] });
        }
    }

    /// Nobody attends it any more: the store has all of it.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// A lane; of a closed mailbox one that goes nowhere.
    pub(super) fn lane(&mut self, priority: Priority) -> LaneOf<'_> {
        LaneOf(self.open.as_mut().map(|open| {
            let [now, next, low] = &mut open.lanes;
            match priority {
                Priority::Now => now,
                Priority::Next => next,
                Priority::Low => low,
            }
        }))
    }

    /// Whether nothing stored waits here that could be pushed or loaded.
    pub(super) fn is_drained(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.lanes.iter().all(Lane::is_drained))
    }
}

/// A lane that is there while its mailbox is open.
pub(super) struct LaneOf<'a>(pub(super) Option<&'a mut Lane>);

impl LaneOf<'_> {
    pub(super) fn stored(self, seq: i64) {
        if let Some(lane) = self.0 {
            lane.stored(seq);
        }
    }

    pub(super) fn remove_seq(self, seq: i64) -> Option<super::lane::Item> {
        self.0.and_then(|lane| lane.remove_seq(seq))
    }
}
