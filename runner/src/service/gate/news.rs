//! What calls say of their progress: told as it comes, but of each call only so often, and the last word wins.
//!
//! Contract: pure. One call is told of at most once in [`PROGRESS_EVERY`], and once more when it is answered.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;

/// The shortest time between two words about one call.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Told {
    at: Duration,
    held: Option<Bytes>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct News {
    told: HashMap<u64, Told>,
    due: BTreeSet<(Duration, u64)>,
}

impl News {
    /// Takes a word about a call; gives it back when it is to be told at once.
    pub(super) fn take(&mut self, rpc: u64, word: Bytes, now: Duration) -> Option<Bytes> {
        match self.told.get_mut(&rpc) {
            Some(told) if now < told.at + PROGRESS_EVERY => {
                told.held = Some(word);
                self.due.insert((told.at + PROGRESS_EVERY, rpc));
                None
            }
            _ => {
                self.told.insert(rpc, Told { at: now, held: None });
                Some(word)
            }
        }
    }

    /// A word whose time has come.
    pub(super) fn due(&mut self, now: Duration) -> Option<(u64, Bytes)> {
        while let Some((at, rpc)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, rpc));
            let Some(told) = self.told.get_mut(&rpc) else { continue };
            if let Some(word) = told.held.take() {
                told.at = now;
                return Some((rpc, word));
            }
        }
        None
    }

    /// When [`News::due`] is next worth asking.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Nothing more is told of this call; what was held back.
    pub(super) fn forget(&mut self, rpc: u64) -> Option<Bytes> {
        let told = self.told.remove(&rpc)?;
        self.due.remove(&(told.at + PROGRESS_EVERY, rpc));
        told.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(n: u8) -> Bytes {
        Bytes::copy_from_slice(&[n])
    }

    #[test]
    fn the_last_of_many_words_is_told_when_the_time_has_come() {
        let (mut news, mut now) = (News::default(), Duration::from_secs(1));
        assert_eq!(news.take(7, word(0), now), Some(word(0)));
        assert!((1..9).all(|n| news.take(7, word(n), now).is_none()));
        assert_eq!(news.take(8, word(100), now), Some(word(100)), "each call by itself");
        assert_eq!(news.due(now), None);
        now += PROGRESS_EVERY;
        assert_eq!(news.wake_at(), Some(now));
        assert_eq!((news.due(now), news.due(now)), (Some((7, word(8))), None));
        // It counts from there.
        assert_eq!(news.take(7, word(9), now), None);
        assert_eq!(news.forget(7), Some(word(9)));
        assert_eq!((news.wake_at(), news.forget(7), news.due(now * 2)), (None, None, None));
    }
}
