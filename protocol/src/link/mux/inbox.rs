//! The receiving half: what is whole, and who may send more.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::{ASSEMBLY_BYTES, Delivered, MAX_OPEN_STREAMS, MuxError};
use crate::link::frame::{self, Announced, Frame};
use crate::link::{Header, INITIAL_CREDIT_BYTES};

/// What a message led to.
#[derive(Debug, Default)]
pub struct Received {
    /// A header with its whole body.
    pub delivered: Option<Delivered>,
    /// Bytes that the other side allows one of our streams: for [`super::Outbox::credit`].
    pub credit: Option<(u64, u64)>,
    /// Bytes that the other side's streams are allowed now: for [`super::Outbox::grant`].
    pub grants: Vec<(u64, u64)>,
}

/// Bodies on their way in.
#[derive(Debug)]
pub struct Inbox {
    open: BTreeMap<u64, Incoming>,
    /// Streams that wait for room, in the order of their announcement.
    parked: VecDeque<u64>,
    /// The highest stream announced so far.
    last_stream: u64,
    /// Room that is set aside for admitted streams.
    reserved: usize,
    /// What `reserved` may reach; at least the largest body.
    budget: usize,
}

#[derive(Debug)]
struct Incoming {
    header: Header,
    body: BytesMut,
    body_len: usize,
    /// What the sender may have sent so far.
    allowed: usize,
    /// What is set aside for it.
    reserved: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::with_budget(ASSEMBLY_BYTES)
    }
}

impl Inbox {
    /// An inbox that sets aside at most `budget` bytes for admitted streams, and always admits one.
    pub(super) fn with_budget(budget: usize) -> Self {
        Self { open: BTreeMap::new(), parked: VecDeque::new(), last_stream: 0, reserved: 0, budget }
    }

    /// Takes a message from the connection.
    ///
    /// # Errors
    /// The other side broke a rule; this inbox is of no further use.
    pub fn receive(&mut self, message: Bytes) -> Result<Received, MuxError> {
        let Frame { header, announced, body } = frame::decode(message)?;
        if !header.has_body() && (announced.is_some() || !body.is_empty()) {
            return Err(MuxError::NoBody);
        }
        match (header, announced) {
            (Header::Chunk { .. }, Some(_)) => Err(MuxError::NoBody),
            (Header::Chunk { stream, last }, None) => self.append(stream, last, &body),
            (Header::Credit { stream, bytes }, _) => {
                Ok(Received { credit: Some((stream, bytes)), ..Received::default() })
            }
            (header, Some(announced)) => self.announce(header, announced),
            (header, None) => Ok(Received { delivered: Some(Delivered { header, body }), ..Received::default() }),
        }
    }

    /// Bodies that are under way.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.open.len()
    }

    fn announce(&mut self, header: Header, announced: Announced) -> Result<Received, MuxError> {
        let Announced { stream, body_len } = announced;
        if stream <= self.last_stream {
            return Err(MuxError::StreamReused(stream));
        }
        if self.open.len() >= MAX_OPEN_STREAMS {
            return Err(MuxError::TooManyStreams);
        }
        self.last_stream = stream;
        let body_len = crate::narrow(body_len);
        let allowed = body_len.min(INITIAL_CREDIT_BYTES);
        if body_len > allowed {
            self.parked.push_back(stream);
        }
        self.open.insert(stream, Incoming { header, body: BytesMut::new(), body_len, allowed, reserved: 0 });
        Ok(Received { grants: self.admit(), ..Received::default() })
    }

    fn append(&mut self, stream: u64, last: bool, bytes: &[u8]) -> Result<Received, MuxError> {
        let incoming = self.open.get_mut(&stream).ok_or(MuxError::UnknownStream(stream))?;
        let complete = incoming.append(stream, last, bytes)?;
        if !complete {
            return Ok(Received::default());
        }
        let Some(Incoming { header, body, reserved, .. }) = self.open.remove(&stream) else {
            return Err(MuxError::UnknownStream(stream));
        };
        self.reserved -= reserved;
        Ok(Received { delivered: Some(Delivered { header, body: body.freeze() }), credit: None, grants: self.admit() })
    }

    /// Sets room aside for parked streams while there is some, strictly in order: a large body is not overtaken for ever
    /// by smaller ones that still fit.
    fn admit(&mut self) -> Vec<(u64, u64)> {
        let mut grants = Vec::new();
        while let Some(&stream) = self.parked.front() {
            let Some(incoming) = self.open.get_mut(&stream) else {
                break;
            };
            if self.reserved > 0 && self.reserved.saturating_add(incoming.body_len) > self.budget {
                break;
            }
            self.parked.pop_front();
            self.reserved += incoming.body_len;
            incoming.reserved = incoming.body_len;
            grants.push((stream, crate::wide(incoming.body_len - incoming.allowed)));
            incoming.allowed = incoming.body_len;
        }
        grants
    }
}

impl Incoming {
    /// Adds bytes, and says whether the body is whole.
    fn append(&mut self, stream: u64, last: bool, bytes: &[u8]) -> Result<bool, MuxError> {
        let received = self.body.len() + bytes.len();
        if received > self.allowed {
            return Err(MuxError::CreditExceeded(stream));
        }
        if bytes.is_empty() || last != (received == self.body_len) {
            return Err(MuxError::Length { stream, body_len: self.body_len });
        }
        if self.body.capacity() < self.allowed {
            // Once for what is allowed, instead of growing step by step; the system commits it page by page.
            self.body.reserve(self.allowed - self.body.len());
        }
        self.body.extend_from_slice(bytes);
        Ok(last)
    }
}
