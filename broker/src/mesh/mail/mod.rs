//! Mail: what waits for whom, and when it goes to which socket. Pure.
//!
//! **Contract.** A *mailbox* belongs to a session (its key) or to a member (its key). A message is taken in by
//! [`Mail::accept`], which reserves its room; it exists for recipients once [`Mail::stored`] says that the store has it.
//! What a mailbox with a socket holds is pushed in the order of acceptance for each sender and priority, at most
//! [`WINDOW_MESSAGES`] or [`WINDOW_BYTES`] unacknowledged a socket, and is pushed again after a reconnect until it is
//! acknowledged. Memory holds a bounded part of a mailbox that is open, and of one that nobody attends its figures only:
//! the store has the rest, and [`Fx::Load`] asks for it.
//!
//! Nothing here knows a clock, a socket or the store: every method says what is to be done in [`Fx`].
//!
//! | file | holds |
//! |---|---|
//! | `target` | what a `targetSpec` says |
//! | `accept` | what is refused, and the room that is reserved |
//! | `bucket` | how fast a member may send |
//! | `lane` `mailbox` | what waits in one mailbox |
//! | `socket` | what one connection was sent |
//! | `pump` | from mailboxes to sockets |

mod accept;
mod bucket;
mod lane;
mod letter;
mod mailbox;
mod pump;
mod socket;
pub mod target;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use protocol::identity::PublicKey;
use protocol::wire::Priority;

use crate::store::UtcMs;
pub use accept::{Accepted, Envelope, Recipient, Refused};
use bucket::Bucket;
pub use letter::Letter;
use mailbox::Mailbox;
pub use mailbox::Of;
pub use socket::Opened;
use socket::Socket;

/// Messages that one mailbox holds.
pub const MAX_MAILBOX_MESSAGES: u64 = 10_000;
/// Bytes that one mailbox holds.
pub const MAX_MAILBOX_BYTES: u64 = 32 * 1024 * 1024;
/// Bytes that wait in one mesh.
pub const MAX_QUEUE_BYTES: u64 = 1024 * 1024 * 1024;
/// Messages that a socket may hold unacknowledged.
pub const WINDOW_MESSAGES: usize = 256;
/// Bytes that a socket may hold unacknowledged; one message always fits.
pub const WINDOW_BYTES: u64 = 1024 * 1024;
/// Recipients that a member may send to in a second, in the long run.
pub const SENDS_PER_SECOND: u64 = 200;
/// Recipients that a member may send to at once.
pub const SENDS_BURST: u64 = 2_000;
/// A member's message that its session has not acknowledged by then goes to the next one.
pub const RETRY_AFTER_MS: i64 = 30_000;

/// Where mail goes: a session's key or a member's.
pub type Address = PublicKey;
/// One connection.
pub type PresenceId = Arc<str>;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Fx {
    /// Send this frame.
    Push {
        /// To whom.
        to: PresenceId,
        /// The text.
        frame: String,
    },
    /// Ping with this mark: its pong says that all before it arrived.
    Ping {
        /// Whom.
        to: PresenceId,
        /// Rises.
        mark: u64,
    },
    /// Read what waits in the store behind `after`, and give it to [`Mail::loaded`].
    Load(Wanted),
    /// These deliveries are done.
    Delivered {
        /// The store's numbers of them.
        deliveries: Vec<i64>,
    },
    /// The inbox was read to its end.
    Drained {
        /// By whom.
        by: PresenceId,
        /// How many messages came.
        delivered: u32,
    },
}

/// A part of a mailbox that only the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Whose.
    pub mailbox: Address,
    /// Which lane.
    pub priority: Priority,
    /// Only later ones.
    pub after: i64,
    /// At most so many.
    pub limit: u32,
    /// What was settled when it was asked for: a later message may be missing in the answer.
    pub as_of: i64,
    /// The life of the mailbox in memory that asked.
    pub opening: u64,
}

/// Messages at hand that a recipient has not acknowledged: one row of a load.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The store's number of the delivery.
    pub delivery: i64,
    /// The message.
    pub letter: Arc<Letter>,
    /// The message's key, sealed for this recipient.
    pub key: Option<Box<str>>,
}

/// What waits in a mailbox, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub mailbox: Address,
    /// Whether a member's.
    pub of: Of,
    /// Messages.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The mail of one mesh.
#[derive(Debug, Default)]
pub struct Mail {
    boxes: HashMap<Address, Mailbox>,
    sockets: HashMap<PresenceId, Socket>,
    by_address: HashMap<Address, Vec<PresenceId>>,
    by_member: HashMap<Address, Vec<PresenceId>>,
    buckets: HashMap<Address, Bucket>,
    /// Messages that are not stored yet: the rooms they hold.
    storing: HashMap<i64, Vec<Room>>,
    /// The highest number that was given to a message.
    accepted: i64,
    /// Every message up to this number is stored, or was given up.
    settled: i64,
    /// All that waits, or is being stored.
    count: u64,
    bytes: u64,
    openings: u64,
    /// Connections that are to be pinged.
    unmarked: Vec<PresenceId>,
    fx: Vec<Fx>,
}

/// The room that a message holds in a mailbox.
#[derive(Debug, Clone, Copy)]
struct Room {
    mailbox: Address,
    priority: Priority,
    bytes: u64,
}

impl Mail {
    /// With what waits in the store.
    pub fn recall(waiting: impl IntoIterator<Item = Waiting>) -> Self {
        let mut mail = Self::default();
        for Waiting { mailbox, of, count, bytes } in waiting {
            mail.count += count;
            mail.bytes += bytes;
            mail.boxes.insert(mailbox, Mailbox::holding(of, count, bytes));
        }
        mail
    }

    /// What is to be done since the last time.
    pub fn take_fx(&mut self) -> Vec<Fx> {
        std::mem::take(&mut self.fx)
    }

    /// Messages that wait, over all mailboxes.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.count
    }

    /// Their bytes.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.bytes
    }

    /// Messages that wait in one mailbox.
    #[must_use]
    pub fn waiting_in(&self, mailbox: &Address) -> u64 {
        self.boxes.get(mailbox).map_or(0, |held| held.count)
    }

    /// Pushed and not acknowledged, over all sockets.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sockets.values().map(|socket| socket.sent.len()).sum()
    }

    /// The store has a message.
    pub fn stored(&mut self, seq: i64, now: UtcMs) {
        self.settled = self.settled.max(seq);
        for room in self.storing.remove(&seq).unwrap_or_default() {
            if let Some(held) = self.boxes.get_mut(&room.mailbox) {
                held.lane(room.priority).stored(seq);
            }
            self.pump(room.mailbox, now);
        }
    }

    /// A message is not stored: it never was, or it is one that the store has already.
    pub fn given_up(&mut self, seq: i64) {
        self.settled = self.settled.max(seq);
        for room in self.storing.remove(&seq).unwrap_or_default() {
            if let Some(held) = self.boxes.get_mut(&room.mailbox) {
                held.lane(room.priority).remove_seq(seq);
            }
            self.release(room.mailbox, 1, room.bytes);
        }
    }

    /// Deliveries ended without their recipients: expired, or dropped.
    pub fn ended(&mut self, mailbox: Address, priority: Priority, seq: i64, bytes: u64, now: UtcMs) {
        if let Some(held) = self.boxes.get_mut(&mailbox) {
            held.lane(priority).remove_seq(seq);
            self.release(mailbox, 1, bytes);
            self.pump(mailbox, now);
        }
    }

    /// A mailbox is gone with all that was in it.
    pub fn forget(&mut self, mailbox: Address) {
        if let Some(held) = self.boxes.remove(&mailbox) {
            self.count = self.count.saturating_sub(held.count);
            self.bytes = self.bytes.saturating_sub(held.bytes);
        }
    }

    fn release(&mut self, mailbox: Address, count: u64, bytes: u64) {
        self.count = self.count.saturating_sub(count);
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(held) = self.boxes.get_mut(&mailbox) {
            held.count = held.count.saturating_sub(count);
            held.bytes = held.bytes.saturating_sub(bytes);
            if held.count == 0 && !held.is_open() {
                self.boxes.remove(&mailbox);
            }
        }
    }
}
