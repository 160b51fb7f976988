//! Taking a message in: what is refused, and the room that is reserved.

use std::sync::Arc;

use super::bucket::Bucket;
use super::lane::{Item, Step};
use super::mailbox::{Mailbox, Of};
use super::{Address, Letter, MAX_MAILBOX_BYTES, MAX_MAILBOX_MESSAGES, MAX_QUEUE_BYTES, Mail, Room};
use crate::store::UtcMs;

/// A message on its way in.
#[derive(Debug)]
pub struct Envelope {
    /// The message.
    pub letter: Arc<Letter>,
    /// The member that sends, which pays for it; `None` for the mesh itself.
    pub from: Option<Address>,
    /// To each its own mailbox.
    pub recipients: Vec<Recipient>,
    /// One recipient is meant, and no other.
    pub direct: bool,
}

/// Somebody a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Where it goes.
    pub mailbox: Address,
    /// Whose that is.
    pub of: Of,
    /// What it calls itself.
    pub name: String,
    /// The message's key, sealed for it.
    pub key: Option<Box<str>>,
    /// The store's number for the delivery.
    pub delivery: i64,
}

/// A message whose room is reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// To be stored.
    pub recipients: Vec<Recipient>,
    /// Those whose mailboxes are full.
    pub full: Vec<Recipient>,
}

/// Why a message is not taken in. Nothing is reserved, and nothing was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no room for one such message in any mailbox.
    #[error("a message of {bytes} bytes is larger than a mailbox ({MAX_MAILBOX_BYTES} bytes)")]
    TooLarge {
        /// What it counts.
        bytes: u64,
    },
    /// The member sends too fast.
    #[error("this member sends too fast: {after_ms} ms too early")]
    Rate {
        /// When it may be sent.
        after_ms: u64,
    },
    /// The recipient's mailbox is full, or each recipient's.
    #[error("the mailbox is full ({MAX_MAILBOX_MESSAGES} messages or {MAX_MAILBOX_BYTES} bytes)")]
    MailboxFull,
    /// The mesh's queue is full.
    #[error("what waits in this mesh has reached {MAX_QUEUE_BYTES} bytes")]
    QueueFull,
}

impl Mail {
    /// Reserves the room of a message. [`Mail::stored`] or [`Mail::given_up`] has to follow.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn accept(&mut self, envelope: Envelope, now: UtcMs) -> Result<Accepted, Refused> {
        let Envelope { letter, from, recipients, direct } = envelope;
        let bytes = letter.bytes;
        if bytes > MAX_MAILBOX_BYTES {
            return Err(Refused::TooLarge { bytes });
        }
        let (taken, full): (Vec<_>, Vec<_>) = recipients.into_iter().partition(|to| self.has_room(&to.mailbox, bytes));
        if taken.is_empty() || (direct && !full.is_empty()) {
            return Err(Refused::MailboxFull);
        }
        let count = u64::try_from(taken.len()).unwrap_or(u64::MAX);
        if self.bytes.saturating_add(bytes.saturating_mul(count)) > MAX_QUEUE_BYTES {
            return Err(Refused::QueueFull);
        }
        if let Some(member) = from {
            let bucket = self.buckets.entry(member).or_insert(Bucket::full(now));
            bucket.take(count, now).map_err(|after_ms| Refused::Rate { after_ms })?;
        }
        self.accepted = self.accepted.max(letter.seq);
        let rooms = taken.iter().map(|to| self.reserve(to, &letter)).collect();
        self.storing.insert(letter.seq, rooms);
        Ok(Accepted { recipients: taken, full })
    }

    fn has_room(&self, mailbox: &Address, bytes: u64) -> bool {
        self.boxes.get(mailbox).is_none_or(|held| {
            held.count < MAX_MAILBOX_MESSAGES && held.bytes.saturating_add(bytes) <= MAX_MAILBOX_BYTES
        })
    }

    fn reserve(&mut self, to: &Recipient, letter: &Arc<Letter>) -> Room {
        let (priority, bytes) = (letter.priority, letter.bytes);
        self.count += 1;
        self.bytes += bytes;
        let held = self.boxes.entry(to.mailbox).or_insert(Mailbox::holding(to.of, 0, 0));
        held.count += 1;
        held.bytes += bytes;
        if let Some(lane) = held.lane(priority).0 {
            let letter = Arc::clone(letter);
            let key = to.key.clone();
            lane.accept(Item { delivery: to.delivery, letter, key, step: Step::Storing });
        }
        Room { mailbox: to.mailbox, priority, bytes }
    }

    /// Members that have not sent for a while need no memory.
    pub(super) fn forget_full_buckets(&mut self, now: UtcMs) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }
}
