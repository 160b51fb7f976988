//! An MCP server whose one tool gives back the text it was given, fast enough never to be what is measured.
//!
//! Contract: one thread. All requests that a read brought are answered with one write. `{"name":"echo","arguments":
//! {"text":"…"}}` is answered with the very bytes of that text. Faults to order are in [`options`].
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a load program")]

mod answer;
mod options;

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread;

use answer::Answered;
use options::Options;

/// What a read has room for.
const READ_BYTES: usize = 256 * 1024;
/// A request line above this is no request.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lines on both outputs with each call, under `--flood`.
const NOISE_LINES: usize = 50;
const NOISE: &str = "................................................................................";
/// The code of a crash that was ordered.
const CRASHED: u8 = 70;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("load-echo: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(&options, &mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(End::InputEnded) => ExitCode::SUCCESS,
        Ok(End::Crashed) => ExitCode::from(CRASHED),
        Err(error) => {
            eprintln!("load-echo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    InputEnded,
    Crashed,
}

/// Answers until the input ends. `output` is written to in whole batches.
fn serve(options: &Options, input: &mut impl Read, output: &mut impl Write) -> io::Result<End> {
    let mut held: Vec<u8> = Vec::new();
    let mut filled = 0;
    let mut answers = Vec::new();
    let mut calls = 0;
    loop {
        if held.len() < filled + READ_BYTES {
            held.resize(filled + READ_BYTES, 0);
        }
        let read = input.read(&mut held[filled..])?;
        if read == 0 {
            return Ok(End::InputEnded);
        }
        // Only what is new can hold the end of a line.
        let mut searched = filled;
        filled += read;
        let mut done = 0;
        while let Some(at) = memchr::memchr(b'\n', &held[searched..filled]) {
            let line = &held[done..searched + at];
            searched += at + 1;
            done = searched;
            let before = answers.len();
            if answer::answer(line, &mut answers) == Answered::Call {
                calls += 1;
                if let Some(end) = disturb(options, calls, before, &mut answers, output)? {
                    return Ok(end);
                }
            }
        }
        write(output, &mut answers)?;
        held.copy_within(done..filled, 0);
        filled -= done;
        if filled > LINE_BYTES_MAX {
            return Err(io::Error::other(format!("a line is over {LINE_BYTES_MAX} bytes")));
        }
    }
}

/// The faults that were ordered, at the answer of a call: it begins at `at`.
fn disturb(
    options: &Options,
    calls: u64,
    at: usize,
    answers: &mut Vec<u8>,
    output: &mut impl Write,
) -> io::Result<Option<End>> {
    if options.crash_after.is_some_and(|after| calls > after) {
        answers.truncate(at);
        write(output, answers)?;
        return Ok(Some(End::Crashed));
    }
    if options.hang_after.is_some_and(|after| calls > after) {
        answers.truncate(at);
    }
    if let Some(delay) = options.delay {
        let own = answers.split_off(at);
        write(output, answers)?;
        thread::sleep(delay);
        answers.extend(own);
    }
    if options.flood {
        let mut lines = String::new();
        for line in 0..NOISE_LINES {
            lines.push_str(&format!("noise {line} of call {calls} {NOISE}\n"));
        }
        io::stderr().write_all(lines.as_bytes())?;
        answers.extend(lines.as_bytes());
    }
    Ok(None)
}

fn write(output: &mut impl Write, answers: &mut Vec<u8>) -> io::Result<()> {
    if !answers.is_empty() {
        output.write_all(answers)?;
        output.flush()?;
        answers.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Input that comes in these pieces, one a read.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0);
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    /// What was written, a batch each.
    #[derive(Default)]
    struct Batches(Vec<String>);

    impl Write for Batches {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn call(id: u64) -> String {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"text\":\"t{id}\"}}}}}}\n"
        )
    }

    fn served(options: &Options, input: &str, piece: usize) -> (End, Vec<String>) {
        let pieces = input.as_bytes().chunks(piece).map(<[u8]>::to_vec).collect();
        let mut batches = Batches::default();
        let end = serve(options, &mut Pieces(pieces), &mut batches).unwrap();
        (end, batches.0)
    }

    #[test]
    fn what_came_with_one_read_is_answered_with_one_write() {
        let input: String = (1..=5).map(call).collect();
        let (end, batches) = served(&Options::default(), &input, 4_096);
        assert_eq!((end, batches.len()), (End::InputEnded, 1));
        let (_, pieces) = served(&Options::default(), &input, 7);
        assert_eq!(pieces.concat(), batches.concat());
        assert_eq!(pieces.concat().lines().count(), 5);
    }

    #[test]
    fn faults_come_after_so_many_calls_and_pings_do_not_count() {
        let input = format!("{{\"id\":9,\"method\":\"ping\"}}\n{}{}{}", call(1), call(2), call(3));
        let crashing = Options { crash_after: Some(2), ..Options::default() };
        let (end, batches) = served(&crashing, &input, 4_096);
        assert_eq!((end, batches.concat().lines().count()), (End::Crashed, 3));
        let hanging = Options { hang_after: Some(1), ..Options::default() };
        let (end, batches) = served(&hanging, &input, 4_096);
        assert_eq!((end, batches.concat().lines().count()), (End::InputEnded, 2));
    }

    #[test]
    fn a_delayed_answer_does_not_hold_up_what_was_answered_before_it() {
        let slow = Options { delay: Some(Duration::from_millis(1)), ..Options::default() };
        let (_, batches) = served(&slow, &format!("{}{}", call(1), call(2)), 4_096);
        assert_eq!(batches.len(), 2);
        assert!(batches[0].contains("t1") && batches[1].contains("t2"));
    }
}
