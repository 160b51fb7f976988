//! What waits in a mailbox with one priority: a part in memory, in order, and perhaps more in the store.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Letter;
use crate::store::UtcMs;

/// Messages of a lane in memory: a burst that its recipient keeps up with is never read from the store.
const LANE_ITEMS: usize = 4_096;
/// Bytes of a lane in memory; one message always fits.
const LANE_BYTES: u64 = 2 * 1024 * 1024;
/// Messages of one load.
pub(super) const LOAD_ITEMS: usize = 256;
/// Loads begin when so many or fewer are left.
const LOAD_BELOW: usize = LOAD_ITEMS / 2;

/// A message of a lane.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) delivery: i64,
    pub(super) letter: Arc<Letter>,
    pub(super) key: Option<Box<str>>,
    pub(super) step: Step,
}

/// How far a message is.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Being stored.
    Storing,
    /// May be pushed.
    Ready,
    /// Was pushed.
    Sent { at: UtcMs },
}

/// The lane of an open mailbox.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) items: VecDeque<Item>,
    /// What `items` count.
    bytes: u64,
    /// The store has later ones than are here.
    more: bool,
    /// The highest message that was left to the store.
    left: i64,
    /// The highest message that is or was here.
    tail: i64,
    loading: bool,
    /// What was settled at the last load that came to the end.
    read_to_end_as_of: Option<i64>,
}

impl Lane {
    /// The lane of a mailbox that holds something, all of it in the store; `accepted` is the latest message of all.
    pub(super) fn to_be_loaded(accepted: i64) -> Self {
        Self { more: true, left: accepted, ..Self::default() }
    }

    /// Takes a new message in, or leaves it to the store.
    pub(super) fn accept(&mut self, item: Item) {
        let seq = item.letter.seq;
        if self.more || !self.has_room(item.letter.bytes) {
            self.more = true;
            self.left = self.left.max(seq);
        } else {
            self.push(item);
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let fits = self.items.len() < LANE_ITEMS && self.bytes.saturating_add(bytes) <= LANE_BYTES;
        self.items.is_empty() || fits
    }

    fn push(&mut self, item: Item) {
        self.tail = item.letter.seq;
        self.bytes = self.bytes.saturating_add(item.letter.bytes);
        self.items.push_back(item);
    }

    pub(super) fn stored(&mut self, seq: i64) {
        if let Some(item) = self.of_seq(seq)
            && item.step == Step::Storing
        {
            item.step = Step::Ready;
        }
    }

    pub(super) fn of_seq(&mut self, seq: i64) -> Option<&mut Item> {
        let at = self.items.binary_search_by_key(&seq, |item| item.letter.seq).ok()?;
        self.items.get_mut(at)
    }

    pub(super) fn remove_seq(&mut self, seq: i64) -> Option<Item> {
        let at = self.items.binary_search_by_key(&seq, |item| item.letter.seq).ok()?;
        let item = self.items.remove(at)?;
        self.bytes = self.bytes.saturating_sub(item.letter.bytes);
        Some(item)
    }

    /// Whether nothing is left that could be pushed. What somebody else has just been sent is not counted.
    pub(super) fn is_drained(&self) -> bool {
        !self.loading && !self.can_load_more() && self.items.iter().all(|item| item.step != Step::Ready)
    }

    /// Whether a load would bring something, as far as is known.
    fn can_load_more(&self) -> bool {
        self.more && self.read_to_end_as_of.is_none()
    }

    /// Where a load is to begin, if there is one to be made now. `settled`: every message up to it is in the store or
    /// never will be.
    pub(super) fn begin_load(&mut self, settled: i64) -> Option<i64> {
        let news = self.read_to_end_as_of.is_none_or(|as_of| settled > as_of);
        if !self.more || self.loading || !news || self.items.len() > LOAD_BELOW {
            return None;
        }
        self.loading = true;
        Some(self.tail)
    }

    /// What the store had; `full` when it may have more.
    pub(super) fn loaded(&mut self, items: Vec<Item>, full: bool, as_of: i64) {
        self.loading = false;
        for item in items {
            // Ended meanwhile, or here already: never twice.
            if item.letter.seq > self.tail {
                self.push(item);
            }
        }
        if full {
            self.read_to_end_as_of = None;
        } else {
            self.read_to_end_as_of = Some(as_of);
            self.more = self.left > as_of;
        }
    }

    /// The load came to nothing: the next occasion asks again.
    pub(super) fn load_failed(&mut self) {
        self.loading = false;
    }
}
