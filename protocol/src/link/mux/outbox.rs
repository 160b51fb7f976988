//! The sending half: whose turn it is.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{MAX_OPEN_STREAMS, MAX_QUEUED_BYTES, MuxError, RESERVE_BYTES};
use crate::link::frame::{self, Announced, FrameError};
use crate::link::{CHUNK_BYTES, Header, INITIAL_CREDIT_BYTES, MAX_BODY_BYTES};

/// What a queued frame is charged besides its bytes, so that a flood of tiny frames is bounded too.
const FRAME_OVERHEAD_BYTES: usize = 64;

/// Why a frame was not queued. Nothing of it will be sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Too much waits already; the other side does not read fast enough.
    #[error("{queued} bytes wait to be sent, no more are taken")]
    Full {
        /// How much waits.
        queued: usize,
    },
    /// Over [`MAX_BODY_BYTES`].
    #[error("a body of {0} bytes is over the limit of {MAX_BODY_BYTES}")]
    BodyTooLarge(usize),
    /// A body with a header that has none, or a header that only the multiplexer itself sends.
    #[error("this header is not sent with that body")]
    NoBody,
    /// The header is too large or has no JSON form.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Frames that wait to be sent, and the choice of the next.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Credits for the other side; at most one for each of its open streams. They go first: they are tiny, and they free
    /// what the other side has waiting.
    grants: VecDeque<(u64, u64)>,
    /// Whole frames, in order.
    small: VecDeque<Bytes>,
    /// Bodies that are not announced yet.
    waiting: VecDeque<Outgoing>,
    /// Announced bodies; the front has the next turn.
    open: VecDeque<Outgoing>,
    /// Streams that were named so far.
    streams: u64,
    /// Bytes charged for everything above.
    queued: usize,
    /// Bytes of whole frames since the last piece of a body.
    since_piece: usize,
}

/// A body on its way out.
#[derive(Debug)]
struct Outgoing {
    stream: u64,
    /// The call that the body belongs to.
    call: Option<u64>,
    announcement: Bytes,
    /// What has not been sent.
    body: Bytes,
    /// How much of it may be.
    credit: usize,
    /// Frames that must not be sent before the body is.
    after: Vec<Bytes>,
}

impl Outbox {
    /// Queues a frame.
    ///
    /// # Errors
    /// [`PushError`]; a refused call or reply still has to be answered, with a frame that has no body.
    pub fn push(&mut self, header: &Header, body: Bytes) -> Result<(), PushError> {
        if matches!(header, Header::Chunk { .. } | Header::Credit { .. }) || !(body.is_empty() || header.has_body()) {
            return Err(PushError::NoBody);
        }
        if body.len() > MAX_BODY_BYTES {
            return Err(PushError::BodyTooLarge(body.len()));
        }
        let limit = if body.is_empty() { MAX_QUEUED_BYTES + RESERVE_BYTES } else { MAX_QUEUED_BYTES };
        // Asked before encoding as well, so that a full queue costs nothing.
        self.charged(body.len(), limit)?;
        if body.len() > CHUNK_BYTES {
            self.push_stream(header, body, limit)
        } else {
            self.push_small(header, &body, limit)
        }
    }

    /// The next message to send; none when nothing waits, or all that waits needs credit.
    #[expect(clippy::should_implement_trait, reason = "an outbox that is empty now is not exhausted")]
    pub fn next(&mut self) -> Option<Bytes> {
        if let Some((stream, bytes)) = self.grants.pop_front() {
            return Some(own_frame(&Header::Credit { stream, bytes }, &[]));
        }
        let turn_of_bodies = self.small.is_empty() || self.since_piece >= CHUNK_BYTES;
        if turn_of_bodies && let Some(piece) = self.next_piece() {
            self.since_piece = 0;
            return Some(piece);
        }
        let frame = self.small.pop_front()?;
        self.since_piece = self.since_piece.saturating_add(frame.len());
        self.queued -= frame.len() + FRAME_OVERHEAD_BYTES;
        Some(frame)
    }

    /// The other side allows more of a stream.
    ///
    /// # Errors
    /// The stream is not open, or is shorter than what it is now allowed.
    pub fn credit(&mut self, stream: u64, bytes: u64) -> Result<(), MuxError> {
        let outgoing = self.open.iter_mut().find(|outgoing| outgoing.stream == stream);
        let outgoing = outgoing.ok_or(MuxError::UnknownStream(stream))?;
        let credit = outgoing.credit.saturating_add(crate::narrow(bytes));
        if credit > outgoing.body.len() {
            return Err(MuxError::CreditOverflow(stream));
        }
        outgoing.credit = credit;
        Ok(())
    }

    /// Tells the other side that it may send more of its stream; from [`super::Received::grants`].
    pub fn grant(&mut self, stream: u64, bytes: u64) {
        self.grants.push_back((stream, bytes));
    }

    /// Bytes that wait, as they count against [`MAX_QUEUED_BYTES`].
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Whether nothing waits, not even for credit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.small.is_empty() && self.waiting.is_empty() && self.open.is_empty()
    }

    fn push_small(&mut self, header: &Header, body: &[u8], limit: usize) -> Result<(), PushError> {
        let frame = frame::encode(header, body)?;
        self.queued = self.charged(frame.len(), limit)?;
        match self.body_before(header) {
            Some(outgoing) => outgoing.after.push(frame),
            None => self.small.push_back(frame),
        }
        Ok(())
    }

    fn push_stream(&mut self, header: &Header, body: Bytes, limit: usize) -> Result<(), PushError> {
        let stream = self.streams + 1;
        let announcement = frame::encode_announcement(header, Announced { stream, body_len: crate::wide(body.len()) })?;
        self.queued = self.charged(announcement.len() + body.len(), limit)?;
        self.streams = stream;
        let call = if let Header::Call(call) = header { Some(call.id) } else { None };
        let credit = body.len().min(INITIAL_CREDIT_BYTES);
        self.waiting.push_back(Outgoing { stream, call, announcement, body, credit, after: Vec::new() });
        Ok(())
    }

    /// What would wait with so many bytes more.
    fn charged(&self, bytes: usize, limit: usize) -> Result<usize, PushError> {
        let charged = self.queued.saturating_add(bytes).saturating_add(FRAME_OVERHEAD_BYTES);
        if charged > limit { Err(PushError::Full { queued: self.queued }) } else { Ok(charged) }
    }

    /// The body that a frame must not overtake.
    fn body_before(&mut self, header: &Header) -> Option<&mut Outgoing> {
        let Header::Cancel { id, .. } = header else {
            return None;
        };
        self.waiting.iter_mut().chain(&mut self.open).find(|outgoing| outgoing.call == Some(*id))
    }

    /// An announcement if another stream may be opened, else a piece of the first body that has credit.
    fn next_piece(&mut self) -> Option<Bytes> {
        if self.open.len() < MAX_OPEN_STREAMS
            && let Some(mut outgoing) = self.waiting.pop_front()
        {
            let announcement = std::mem::take(&mut outgoing.announcement);
            self.queued -= announcement.len();
            self.open.push_back(outgoing);
            return Some(announcement);
        }
        for _ in 0..self.open.len() {
            let mut outgoing = self.open.pop_front()?;
            let piece = outgoing.take_piece();
            let (stream, last) = (outgoing.stream, outgoing.body.is_empty());
            self.queued -= piece.len();
            if last {
                self.queued -= FRAME_OVERHEAD_BYTES;
                self.small.extend(outgoing.after);
            } else {
                self.open.push_back(outgoing);
            }
            if !piece.is_empty() {
                return Some(own_frame(&Header::Chunk { stream, last }, &piece));
            }
        }
        None
    }
}

impl Outgoing {
    /// As much as a frame may hold and the credit allows; nothing without credit.
    fn take_piece(&mut self) -> Bytes {
        let len = self.body.len().min(self.credit).min(CHUNK_BYTES);
        self.credit -= len;
        self.body.split_to(len)
    }
}

/// A frame of the multiplexer itself.
#[expect(clippy::expect_used, reason = "these headers hold two numbers, and a piece is never over CHUNK_BYTES")]
fn own_frame(header: &Header, body: &[u8]) -> Bytes {
    frame::encode(header, body).expect("a small frame")
}
