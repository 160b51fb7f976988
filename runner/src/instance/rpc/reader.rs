//! Lines from a pipe, of bounded length.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::coop::consume_budget;

use super::LINE_BYTES_MAX;

/// What is kept of each end of a line that is too long.
const END_BYTES: usize = 256;
/// Room that is made for a read.
const READ_BYTES: usize = 64 * 1_024;

/// A line without its newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// All of it.
    Whole(Bytes),
    /// It was longer than a line may be.
    Cut {
        /// Its first bytes.
        head: Bytes,
        /// Its last bytes.
        tail: Vec<u8>,
        /// How long it was.
        length: usize,
    },
}

/// See [`Line`]. [`LineReader::next`] may be dropped at any await without losing a byte.
#[derive(Debug)]
pub struct LineReader {
    buffer: BytesMut,
    /// Bytes of `buffer` that are known to hold no newline.
    searched: usize,
    cutting: Option<Cutting>,
    longest: usize,
}

#[derive(Debug)]
struct Cutting {
    head: Bytes,
    tail: Vec<u8>,
    length: usize,
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new(LINE_BYTES_MAX)
    }
}

impl LineReader {
    /// A reader of lines of at most `longest` bytes.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, cutting: None, longest }
    }

    /// The next line; `None` at the end of the pipe, where an unfinished line is dropped (its newline never came).
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub async fn next(&mut self, pipe: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Line>> {
        loop {
            // Lines that are here already cost time, too: a flood of short ones must not keep the thread.
            consume_budget().await;
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            self.buffer.reserve(READ_BYTES);
            if pipe.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Adds bytes, as a test does.
    #[cfg(test)]
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next line of what was read so far.
    pub(super) fn take(&mut self) -> Option<Line> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', unsearched) else {
            self.searched = self.buffer.len();
            self.bound();
            return None;
        };
        let mut line = self.buffer.split_to(self.searched + at);
        self.buffer.advance(1);
        self.searched = 0;
        if self.cutting.is_none() && line.len() <= self.longest {
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            return Some(Line::Whole(line.freeze()));
        }
        self.cut(line);
        let Cutting { head, tail, length } = self.cutting.take()?;
        Some(Line::Cut { head, tail, length })
    }

    /// Lets go of a line that is already too long.
    fn bound(&mut self) {
        if self.cutting.is_some() || self.buffer.len() > self.longest {
            let piece = self.buffer.split();
            self.cut(piece);
            self.searched = 0;
        }
    }

    fn cut(&mut self, piece: BytesMut) {
        let cutting = self.cutting.get_or_insert_with(|| Cutting {
            head: Bytes::copy_from_slice(piece.get(..END_BYTES).unwrap_or(&piece)),
            tail: Vec::new(),
            length: 0,
        });
        cutting.length += piece.len();
        cutting.tail.extend_from_slice(piece.get(piece.len().saturating_sub(END_BYTES)..).unwrap_or_default());
        let surplus = cutting.tail.len().saturating_sub(END_BYTES);
        cutting.tail.drain(..surplus);
    }
}
