//! Cuts a stream of bytes into lines of bounded length. Pure: no I/O.

use std::fmt::Write as _;

/// Longest line of a log in bytes, without the notice that it was cut.
pub const MAX_LINE: usize = 8 * 1024;

/// What a line that was cut ends with, before the limit.
pub(crate) const CUT_NOTICE: &str = " [line cut at ";

/// A bounded splitter over chunks of any size.
///
/// Lines end with `\n`; a `\r` before it is dropped. A line over the limit is
/// handed out once, cut at a character's boundary and marked as cut; the rest
/// of it is skipped. Bytes that are not UTF-8 become U+FFFD. How the bytes
/// were chunked makes no difference, and never more than one line is held.
#[derive(Debug)]
pub struct LineSplitter {
    max: usize,
    held: Vec<u8>,
    skipping: bool,
}

impl LineSplitter {
    /// A splitter that cuts lines at `max` bytes (at least one).
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: max.max(1), held: Vec::new(), skipping: false }
    }

    /// Takes a chunk and hands each line that it completes to `on_line`.
    pub fn push(&mut self, chunk: &[u8], on_line: &mut dyn FnMut(&str)) {
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            self.extend(content, on_line);
            if ends {
                self.end_line(on_line);
            }
        }
    }

    /// Hands out what is held of a last line without a newline.
    pub fn finish(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.held.is_empty() || self.skipping {
            self.end_line(on_line);
        }
    }

    fn extend(&mut self, content: &[u8], on_line: &mut dyn FnMut(&str)) {
        if self.skipping || content.is_empty() {
            return;
        }
        // One byte more than the limit is held: it may be the `\r` of the end.
        let room = (self.max + 1).saturating_sub(self.held.len());
        let taken = content.get(..room).unwrap_or(content);
        self.held.extend_from_slice(taken);
        let over = taken.len() < content.len() || (self.held.len() > self.max && self.held.last() != Some(&b'\r'));
        if over {
            self.held.truncate(self.max);
            trim_split_character(&mut self.held);
            let mut line = String::from_utf8_lossy(&self.held).into_owned();
            // Writing to a String cannot fail.
            let _ = write!(line, "{CUT_NOTICE}{} bytes]", self.max);
            on_line(&line);
            self.held.clear();
            self.skipping = true;
        }
    }

    fn end_line(&mut self, on_line: &mut dyn FnMut(&str)) {
        if !self.skipping {
            let line = self.held.strip_suffix(b"\r").unwrap_or(&self.held);
            on_line(&String::from_utf8_lossy(line));
        }
        self.held.clear();
        self.skipping = false;
    }
}

/// Drops the beginning of a character whose rest lies beyond the cut.
fn trim_split_character(bytes: &mut Vec<u8>) {
    let unfinished = bytes.utf8_chunks().last().map_or(0, |last| {
        let invalid = last.invalid();
        match std::str::from_utf8(invalid) {
            Err(error) if error.error_len().is_none() => invalid.len(),
            Ok(_) | Err(_) => 0,
        }
    });
    bytes.truncate(bytes.len() - unfinished);
}

#[cfg(test)]
mod tests;
