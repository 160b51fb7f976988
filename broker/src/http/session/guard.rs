//! Keeps frames that are too large from ever being buffered.
//!
//! The codec behind it collects a whole frame before it looks at its size. This reads frame headers as
//! the bytes arrive (RFC 6455, section 5.2), lets through what fits, and discards the payload of what does
//! not; a message in fragments counts as their sum. Pure: bytes in, bytes and a verdict out.

use bytes::{Bytes, BytesMut};

/// The longest frame header of a client: 2 bytes, 8 of length, 4 of mask.
const MAX_HEADER: usize = 14;
/// An empty last fragment, masked with zeros: ends for the codec a message whose rest is discarded.
const EMPTY_LAST_FRAGMENT: [u8; 6] = [0x80, 0x80, 0, 0, 0, 0];

/// An empty whole message, masked with zeros. Between the fragments of another one it ends the connection, as whatever it
/// stands for would have.
const EMPTY_MESSAGE: [u8; 6] = [0x81, 0x80, 0, 0, 0, 0];

/// What passing some bytes came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// What the codec may see.
    pub(super) bytes: Bytes,
    /// How many messages were found too large and are being discarded.
    pub(super) too_large: usize,
    /// Which of those had begun to pass, by the number of the message in fragments that the codec sees, from 0: its end
    /// is not its own.
    pub(super) cut: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payload {
    Pass(u64),
    Discard(u64),
}

/// The filter of one connection.
#[derive(Debug)]
pub(super) struct FrameGuard {
    limit: u64,
    header: Vec<u8>,
    payload: Payload,
    /// Bytes of the fragments so far of the message under way.
    message: u64,
    /// The message under way is too large: its further fragments are discarded too.
    discarding: bool,
    /// The codec has seen the beginning of a message in fragments, and not its end.
    open: bool,
    /// Messages in fragments whose last one has passed.
    passed_in_fragments: u64,
}

impl FrameGuard {
    /// A filter for messages of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
            header: Vec::with_capacity(MAX_HEADER),
            payload: Payload::Pass(0),
            message: 0,
            discarding: false,
            open: false,
            passed_in_fragments: 0,
        }
    }

    /// Takes what arrived and says what may go on.
    pub(super) fn pass(&mut self, mut input: Bytes) -> Passed {
        if let Some(bytes) = self.pass_inside(&input) {
            return Passed { bytes, ..Passed::default() };
        }
        let mut out = BytesMut::with_capacity(input.len());
        let mut passed = Passed::default();
        while !input.is_empty() {
            match &mut self.payload {
                Payload::Pass(left) | Payload::Discard(left) if *left > 0 => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= u64::try_from(take).unwrap_or(u64::MAX);
                    let part = input.split_to(take);
                    if matches!(self.payload, Payload::Pass(_)) {
                        out.extend_from_slice(&part);
                    }
                }
                Payload::Pass(_) | Payload::Discard(_) => {
                    self.header.extend_from_slice(&input.split_to(1));
                    if let Some(header) = Header::read(&self.header) {
                        self.decide(header, &mut out, &mut passed);
                        self.header.clear();
                    }
                }
            }
        }
        passed.bytes = out.freeze();
        passed
    }

    /// Of a large frame most reads are payload and nothing else: they go on as they are, without a copy.
    fn pass_inside(&mut self, input: &Bytes) -> Option<Bytes> {
        let Payload::Pass(left) = &mut self.payload else { return None };
        *left = left.checked_sub(u64::try_from(input.len()).ok()?)?;
        Some(input.clone())
    }

    fn decide(&mut self, header: Header, out: &mut BytesMut, passed: &mut Passed) {
        if header.control {
            // Stands between the fragments of a message; its size is the codec's to judge, up to ours.
            self.payload = if header.length <= self.limit {
                Payload::Pass(header.length)
            } else {
                Payload::Discard(header.length)
            };
            if matches!(self.payload, Payload::Pass(_)) {
                out.extend_from_slice(&self.header);
            }
            return;
        }
        let before = if header.continuation { self.message } else { 0 };
        let was_discarding = header.continuation && self.discarding;
        self.message = before.saturating_add(header.length);
        self.discarding = was_discarding || self.message > self.limit;
        if self.discarding {
            self.payload = Payload::Discard(header.length);
            if !was_discarding {
                passed.too_large += 1;
                if header.continuation {
                    passed.cut.push(self.passed_in_fragments);
                    self.passed_in_fragments += 1;
                    out.extend_from_slice(&EMPTY_LAST_FRAGMENT);
                    self.open = false;
                } else if self.open {
                    // Without it the codec would go on with a message whose sum is not kept any more.
                    out.extend_from_slice(&EMPTY_MESSAGE);
                }
            }
        } else {
            self.payload = Payload::Pass(header.length);
            out.extend_from_slice(&self.header);
            if header.continuation && header.last {
                self.passed_in_fragments += 1;
            }
            self.open = !header.last;
        }
        if header.last {
            self.message = 0;
            self.discarding = false;
        }
    }
}

struct Header {
    last: bool,
    control: bool,
    continuation: bool,
    length: u64,
}

impl Header {
    /// Reads a header, if all of it is there.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let short = u64::from(second & 0x7f);
        let (length, length_bytes) = match short {
            126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 2),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 8),
            _ => (short, 0),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if bytes.len() < 2 + length_bytes + mask {
            return None;
        }
        let opcode = first & 0x0f;
        Some(Self { last: first & 0x80 != 0, control: opcode >= 8, continuation: opcode == 0, length })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::as_conversions, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1_000;

    fn frame(last: bool, opcode: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![if last { 0x80 } else { 0 } | opcode];
        match length {
            0..=125 => bytes.push(0x80 | length as u8),
            126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend([1, 2, 3, 4]);
        bytes.extend(std::iter::repeat_n(b'x', length));
        bytes
    }

    fn all(guard: &mut FrameGuard, chunks: impl IntoIterator<Item = Vec<u8>>) -> (Vec<u8>, usize, Vec<u64>) {
        let mut total = (Vec::new(), 0, Vec::new());
        for chunk in chunks {
            let passed = guard.pass(chunk.into());
            total.0.extend(passed.bytes);
            total.1 += passed.too_large;
            total.2.extend(passed.cut);
        }
        total
    }

    #[test]
    fn what_fits_passes_untouched() {
        for length in [0, 1, 125, 126, LIMIT] {
            let bytes = frame(true, 1, length);
            assert_eq!(all(&mut FrameGuard::new(LIMIT), [bytes.clone()]), (bytes, 0, vec![]));
        }
    }

    #[test]
    fn h46_what_is_too_large_is_discarded_and_the_next_frame_passes() {
        for length in [LIMIT + 1, 70_000, 5_000_000] {
            let small = frame(true, 1, 5);
            let got = all(&mut FrameGuard::new(LIMIT), [frame(true, 1, length), small.clone()]);
            assert_eq!(got, (small, 1, vec![]));
        }
    }

    #[test]
    fn h46_fragments_count_as_their_sum() {
        let (first, second) = (frame(false, 1, 600), frame(false, 0, 600));
        let (third, ping, next) = (frame(true, 0, 3), frame(true, 9, 4), frame(true, 1, 7));
        let got = all(&mut FrameGuard::new(LIMIT), [first.clone(), second, ping.clone(), third, next.clone()]);
        let expected = [first, EMPTY_LAST_FRAGMENT.to_vec(), ping, next].concat();
        assert_eq!(got, (expected, 1, vec![0]));
    }

    /// A message may not stand between the fragments of another. One that is discarded there is not to hide that, or the
    /// fragments around it would never be counted together.
    #[test]
    fn h46_what_is_too_large_between_fragments_does_not_hide_that_it_was_there() {
        let (first, second) = (frame(false, 1, 600), frame(false, 0, 600));
        for last in [true, false] {
            let got = all(&mut FrameGuard::new(LIMIT), [first.clone(), frame(last, 1, LIMIT + 1), second.clone()]);
            let shown = [first.clone(), EMPTY_MESSAGE.to_vec()].concat();
            assert!(got.0.starts_with(&shown), "{last}");
            assert_eq!((got.1, got.2), (1, vec![]));
        }
    }

    #[test]
    fn it_is_said_which_message_was_cut() {
        let whole = [frame(false, 1, 5), frame(true, 0, 5)].concat();
        let large = [frame(false, 1, 5), frame(true, 0, LIMIT)].concat();
        let got = all(&mut FrameGuard::new(LIMIT), [[whole.clone(), large.clone(), whole, large].concat()]);
        assert_eq!((got.1, got.2), (2, vec![1, 3]));
    }

    proptest! {
        /// However the bytes are cut on the way, the outcome is the same.
        #[test]
        fn chunking_changes_nothing(
            frames in proptest::collection::vec((any::<bool>(), prop_oneof![Just(0_u8), Just(1), Just(2), Just(9)], 0_usize..1_500), 0..12),
            cuts in proptest::collection::vec(1_usize..400, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|&(last, opcode, length)| {
                // Control frames are short and whole.
                if opcode == 9 { frame(true, 9, length % 126) } else { frame(last, opcode, length) }
            }).collect();
            let whole = all(&mut FrameGuard::new(LIMIT), [bytes.clone()]);
            let mut rest = &bytes[..];
            let mut chunks = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (head, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(head.to_vec());
                rest = tail;
            }
            prop_assert_eq!(all(&mut FrameGuard::new(LIMIT), chunks), whole);
        }
    }
}
