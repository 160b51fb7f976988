//! The log of a service: its last lines, whatever process or deployment said them.
//!
//! Contract: pure (the time is passed). At most [`LINES_MAX`] lines of at most [`LINE_BYTES_MAX`] bytes are kept,
//! [`BYTES_MAX`] in all, and at most [`BYTES_PER_SECOND_MAX`] are taken in a second; what was cut or left out is said in the
//! log itself.

use std::collections::VecDeque;

use protocol::link::{LogLine, LogStream};

/// Lines that are kept.
pub const LINES_MAX: usize = 1_000;
/// Longest line; the rest of it is cut.
pub const LINE_BYTES_MAX: usize = 8 * 1_024;
/// Text that is kept in all; the oldest lines go.
pub const BYTES_MAX: usize = 1_024 * 1_024;
/// Text taken within one second; further lines of that second are left out.
pub const BYTES_PER_SECOND_MAX: usize = 1_024 * 1_024;
const SECOND_MS: u64 = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Log {
    lines: VecDeque<LogLine>,
    /// Of the texts of those lines.
    kept_bytes: usize,
    second_ms: u64,
    bytes: usize,
    left_out: u64,
    /// The number of the first line that was ever kept, of the last one, and of the last one that had to go.
    first: Option<u64>,
    last: u64,
    gone: u64,
}

/// Numbers of lines within a millisecond. They begin with the time, so that they rise across restarts of the runner.
const SEQS_PER_MS: u64 = 1_000;

impl Log {
    /// Takes a line (without its newline), said at `at_ms` (Unix milliseconds). How many of its bytes are kept; `None`
    /// when it is left out.
    pub fn push(&mut self, at_ms: u64, stream: LogStream, text: &str) -> Option<usize> {
        if at_ms.saturating_sub(self.second_ms) >= SECOND_MS || at_ms < self.second_ms {
            self.say_what_was_left_out(at_ms);
            self.second_ms = at_ms;
            self.bytes = 0;
        }
        let whole = text.len();
        let text = clip(text);
        if self.bytes + text.len() > BYTES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.bytes += text.len();
        self.keep(LogLine { at_ms, stream, text, seq: None });
        Some(whole.min(LINE_BYTES_MAX))
    }

    /// The last `count` lines, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<LogLine> {
        let notice = (self.left_out > 0 && count > 0).then(|| notice(self.second_ms, self.left_out));
        let count = count - usize::from(notice.is_some());
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).cloned().chain(notice).collect()
    }

    /// The number of the last line that was kept; 0 before the first.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.last
    }

    /// Of the last `count` lines those behind the one with this number, oldest first.
    #[must_use]
    pub fn last_after(&self, seq: u64, count: usize) -> Vec<LogLine> {
        let mut lines = self.last(count);
        // Without a number is only the notice of what is being left out now.
        lines.retain(|line| line.seq.is_none_or(|line| line > seq));
        lines
    }

    /// At most `count` lines behind the one with this number, oldest first, and whether lines behind it may have been lost:
    /// those that had to go, or those of an earlier life of the runner.
    #[must_use]
    pub fn after(&self, seq: u64, count: usize) -> (Vec<LogLine>, bool) {
        let later = self.lines.iter().filter(|line| line.seq.is_some_and(|line| line > seq));
        let before_us = seq > 0 && self.first.is_none_or(|first| seq < first);
        (later.take(count).cloned().collect(), self.gone > seq || before_us)
    }

    fn say_what_was_left_out(&mut self, at_ms: u64) {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            self.keep(notice(at_ms, left_out));
        }
    }

    fn keep(&mut self, mut line: LogLine) {
        while self.lines.len() >= LINES_MAX || self.kept_bytes + line.text.len() > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.kept_bytes -= oldest.text.len();
            self.gone = oldest.seq.unwrap_or(self.gone);
        }
        self.kept_bytes += line.text.len();
        self.last = line.at_ms.saturating_mul(SEQS_PER_MS).max(self.last.saturating_add(1));
        self.first.get_or_insert(self.last);
        line.seq = Some(self.last);
        self.lines.push_back(line);
    }
}

fn notice(at_ms: u64, left_out: u64) -> LogLine {
    let text = format!("[{left_out} lines left out: more than {BYTES_PER_SECOND_MAX} bytes in a second]");
    LogLine { at_ms, stream: LogStream::System, text, seq: None }
}

/// A text of somebody else's, made fit to stand in a sentence of ours: one line of at most about `bytes_max` bytes.
pub(crate) fn brief(text: &str, bytes_max: usize) -> String {
    let short = clip_to(text, bytes_max);
    short.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn clip(text: &str) -> String {
    clip_to(text, LINE_BYTES_MAX)
}

fn clip_to(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept} [cut: {} bytes more]", text.len() - end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn keeps_the_last_thousand() {
        let mut log = Log::default();
        for n in 0..LINES_MAX + 5 {
            log.push(1, LogStream::Stderr, &n.to_string());
        }
        let lines = log.last(LINES_MAX * 2);
        assert_eq!((lines.len(), lines[0].text.as_str(), lines[LINES_MAX - 1].text.as_str()), (LINES_MAX, "5", "1004"));
        assert_eq!(log.last(2)[0].text, "1003");
        assert!(log.last(0).is_empty());
    }

    #[test]
    fn h46_long_lines_are_fewer() {
        let mut log = Log::default();
        let line = "x".repeat(LINE_BYTES_MAX);
        for second in 0..1_000 {
            log.push(second * SECOND_MS, LogStream::Stderr, &line);
            log.push(second * SECOND_MS, LogStream::Stderr, "short");
        }
        let lines = log.last(LINES_MAX);
        let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        assert!((BYTES_MAX - 2 * LINE_BYTES_MAX..=BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(lines.last().unwrap().text, "short");
        let (later, lost) = log.after(log.seq() - 1, 10);
        assert_eq!((later.len(), lost), (1, false));
        assert!(log.after(1, 10).1, "the oldest are gone, and that is said");
    }

    #[test]
    fn a_reader_that_goes_on_from_a_number_repeats_and_misses_nothing_unless_it_is_told() {
        let mut log = Log::default();
        let (mut seq, mut read) = (0, Vec::new());
        for n in 0..3_000 {
            // Many in a millisecond, and a clock that goes back.
            log.push(if n % 7 == 0 { 5 } else { 9 }, LogStream::Stderr, &n.to_string());
            if n % 300 == 0 {
                loop {
                    let (lines, lost) = log.after(seq, 70);
                    assert!(!lost);
                    let Some(last) = lines.last() else { break };
                    seq = last.seq.unwrap();
                    read.extend(lines.into_iter().map(|line| line.text));
                }
            }
        }
        let expected: Vec<_> = (0..=2_700).map(|n| n.to_string()).collect();
        assert_eq!(read, expected);
        assert!(!log.after(seq, 1).1);
        for n in 0..LINES_MAX {
            log.push(9, LogStream::Stderr, &n.to_string());
        }
        assert!(log.after(seq, 1).1, "299 lines are gone");
        assert!(log.after(0, 1).1, "also for who reads from the start");
        let mut next_life = Log::default();
        assert!(next_life.after(seq, 1).1, "what another life of the runner kept is gone");
        next_life.push(1_000, LogStream::Stderr, "later");
        assert_eq!(next_life.after(seq, 9).0.len(), 1, "and what it says now is newer");
        assert!(!Log::default().after(0, 1).1, "nothing was ever said");
    }

    #[test]
    fn h46_long_lines_are_cut_with_a_notice_and_never_inside_a_character() {
        let mut log = Log::default();
        // The bound lies in the middle of an é.
        log.push(1, LogStream::Stderr, &format!("x{}", "é".repeat(LINE_BYTES_MAX)));
        let text = &log.last(1)[0].text;
        assert!(text.len() < LINE_BYTES_MAX + 64);
        assert!(text.ends_with("é [cut: 8194 bytes more]"), "{text}");
    }

    #[test]
    fn h46_a_brief_text_is_one_short_line() {
        assert_eq!(brief("a\nb\u{1b}[2J", 100), "a b [2J");
        assert_eq!(brief(&"é".repeat(9), 5), "éé [cut: 14 bytes more]");
    }

    #[test]
    fn h46_a_flood_is_left_out_with_a_notice() {
        let mut log = Log::default();
        let line = "x".repeat(4_096);
        for _ in 0..300 {
            log.push(500, LogStream::Stderr, &line);
        }
        assert_eq!(log.last(1)[0].text, "[44 lines left out: more than 1048576 bytes in a second]");
        log.push(2_000, LogStream::Stderr, "after");
        let tail = log.last(2);
        assert_eq!((tail[0].stream, tail[1].text.as_str()), (LogStream::System, "after"));
        assert!(tail[0].text.contains("44 lines"));
    }
}
