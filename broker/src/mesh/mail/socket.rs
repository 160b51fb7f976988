//! One connection, as mail sees it.

use std::collections::HashMap;

use protocol::wire::Priority;

use super::{Address, WINDOW_BYTES, WINDOW_MESSAGES};
use crate::store::UtcMs;

/// A connection that opens.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The session's mailbox.
    pub address: Address,
    /// The member's.
    pub member: Address,
    /// It takes mail as it comes: a session. One that does not is pushed nothing unless it reads its inbox.
    pub takes: bool,
    /// It says what it has; of others the pong says it.
    pub acks: bool,
    /// It opens what is sealed for a group.
    pub opens: bool,
    /// `next` and `low` may come.
    pub idle: bool,
    /// When it was active last.
    pub active_at: UtcMs,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) opened: Opened,
    pub(super) reading: Reading,
    /// Pushed and not acknowledged, by the id of the message.
    pub(super) sent: HashMap<Box<str>, Sent>,
    pub(super) sent_bytes: u64,
    /// The mark of the last ping.
    pub(super) mark: u64,
    /// Pushes since that have no ping behind them.
    pub(super) unmarked: bool,
}

/// Where a pushed message waits for its acknowledgement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) mailbox: Address,
    pub(super) priority: Priority,
    pub(super) seq: i64,
    pub(super) bytes: u64,
    pub(super) mark: u64,
}

/// Whether the inbox is being read, whatever the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    No,
    /// To its end, which is to be told.
    ToTheEnd {
        taken: u32,
        follow: bool,
    },
    /// For as long as the connection lasts.
    On,
}

impl Socket {
    pub(super) fn new(opened: Opened) -> Self {
        Self { opened, reading: Reading::No, sent: HashMap::new(), sent_bytes: 0, mark: 0, unmarked: false }
    }

    pub(super) fn attends(&self) -> bool {
        self.opened.takes || self.reads()
    }

    pub(super) fn reads(&self) -> bool {
        self.reading != Reading::No
    }

    /// Whether a message of this priority may be pushed now.
    pub(super) fn admits(&self, priority: Priority) -> bool {
        self.reads() || (self.opened.takes && (self.opened.idle || priority == Priority::Now))
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.sent.is_empty() || (self.sent.len() < WINDOW_MESSAGES && self.sent_bytes + bytes <= WINDOW_BYTES)
    }

    /// Remembers a push; true when it is the first that waits for a ping behind it.
    pub(super) fn pushed(&mut self, message: Box<str>, sent: Sent) -> bool {
        self.sent_bytes += sent.bytes;
        if let Reading::ToTheEnd { taken, .. } = &mut self.reading {
            *taken += 1;
        }
        self.sent.insert(message, Sent { mark: self.mark + 1, ..sent });
        !self.opened.acks && !std::mem::replace(&mut self.unmarked, true)
    }

    /// The mark of the ping that goes out now.
    pub(super) fn next_mark(&mut self) -> u64 {
        self.unmarked = false;
        self.mark += 1;
        self.mark
    }

    pub(super) fn take(&mut self, message: &str) -> Option<Sent> {
        let sent = self.sent.remove(message)?;
        self.sent_bytes = self.sent_bytes.saturating_sub(sent.bytes);
        Some(sent)
    }
}
