//! Many bodies on one connection.
//!
//! Contract: an [`Outbox`] takes headers with bodies of any allowed size and yields messages in sending order; the
//! [`Inbox`] at the other end takes those messages and yields each header with its body once it is whole. Neither knows a
//! socket: whoever owns one moves messages between them. Both belong to one connection and end with it.
//!
//! - A frame without chunks waits for at most one piece of a large body ([`super::CHUNK_BYTES`]), and under a flood of
//!   small frames a large body still gets half of the line. Large bodies take turns.
//! - Frames without chunks stay in order among themselves, and the bytes of one body in theirs. Nothing else is ordered,
//!   except that a `cancel` never overtakes the call it names.
//! - What waits to be sent is bounded ([`MAX_QUEUED_BYTES`]): the caller is told `Full` and has to answer for it. Frames
//!   without a body may use a reserve on top, so that refusals and ends can still be said.
//! - What is being received is bounded too. Each stream may send [`super::INITIAL_CREDIT_BYTES`] unasked; the rest is
//!   granted when room for the whole body has been set aside, in the order of announcement. A stream that has its grant
//!   needs nothing from any other, so streams cannot block each other for ever.

mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::frame::FrameError;
use super::{Header, MAX_BODY_BYTES};

pub use inbox::{Inbox, Received};
pub use outbox::{Outbox, PushError};

/// Streams that one side has announced and not finished. Further bodies wait at the sender.
pub const MAX_OPEN_STREAMS: usize = 128;
/// Bytes that may wait to be sent.
pub const MAX_QUEUED_BYTES: usize = 2 * MAX_BODY_BYTES;
/// Bytes on top of [`MAX_QUEUED_BYTES`] for frames without a body.
pub const RESERVE_BYTES: usize = 8 * 1024 * 1024;
/// Room that is set aside for bodies on their way in, beside the initial credit of each stream.
pub const ASSEMBLY_BYTES: usize = 2 * MAX_BODY_BYTES;

/// A header with its whole body.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// What it says.
    pub header: Header,
    /// All of it.
    pub body: Bytes,
}

/// The other side broke a rule; the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// Not a frame.
    #[error("a message that is no frame")]
    Frame(#[from] FrameError),
    /// A chunk or a credit for a stream that is not open.
    #[error("stream {0} is not open")]
    UnknownStream(u64),
    /// Announced streams do not rise.
    #[error("stream {0} was announced before")]
    StreamReused(u64),
    /// More than [`MAX_OPEN_STREAMS`].
    #[error("more than {MAX_OPEN_STREAMS} streams are open")]
    TooManyStreams,
    /// More bytes than were granted.
    #[error("stream {0} sent more than it was granted")]
    CreditExceeded(u64),
    /// More was granted than the body has.
    #[error("stream {0} was granted more than its length")]
    CreditOverflow(u64),
    /// The chunk marked last does not complete the body, or one before it does, or a chunk is empty.
    #[error("the chunks of stream {stream} do not make up its length of {body_len}")]
    Length {
        /// The stream.
        stream: u64,
        /// As announced.
        body_len: usize,
    },
    /// A body with a header that has none.
    #[error("a body with a header that has none")]
    NoBody,
}

/// Both halves, for an owner that reads and writes in one place.
#[derive(Debug, Default)]
pub struct Mux {
    /// What is to be sent.
    pub outbox: Outbox,
    /// What is being received.
    pub inbox: Inbox,
}

impl Mux {
    /// For a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message from the connection. Credits are dealt with inside; afterwards [`Outbox::next`] may have more.
    ///
    /// # Errors
    /// The other side broke a rule: close the connection.
    pub fn receive(&mut self, message: Bytes) -> Result<Option<Delivered>, MuxError> {
        let received = self.inbox.receive(message)?;
        if let Some((stream, bytes)) = received.credit {
            self.outbox.credit(stream, bytes)?;
        }
        for (stream, bytes) in received.grants {
            self.outbox.grant(stream, bytes);
        }
        Ok(received.delivered)
    }
}
