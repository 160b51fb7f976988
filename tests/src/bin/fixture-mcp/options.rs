//! The flags, one per fault.

/// What the server is told to be. Everything off: a server without faults.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// `--pages N`: the tool list comes in this many pages (0 and 1: one).
    pub(crate) pages: usize,
    /// `--count-file PATH`: where `count` writes down that it ran.
    pub(crate) count_file: Option<String>,
    /// `--start-delay-ms N`: before anything is read.
    pub(crate) start_delay_ms: u64,
    /// `--exit-at-start CODE`: with a line on standard error.
    pub(crate) exit_at_start: Option<u8>,
    /// `--die-after-ms N`: this long after the handshake.
    pub(crate) die_after_ms: Option<u64>,
    /// `--crash-after N`: answers N calls, and at the next one is gone.
    pub(crate) crash_after: Option<u64>,
    /// `--hang-handshake`: `initialize` gets no answer.
    pub(crate) hang_handshake: bool,
    /// `--hang-calls`: `tools/call` gets no answer; `ping` still does.
    pub(crate) hang_calls: bool,
    /// `--ignore-term`: SIGTERM does nothing.
    pub(crate) ignore_term: bool,
    /// `--orphan TOKEN`: leaves a process in a session of its own at the start.
    pub(crate) orphan: Option<String>,
    /// `--flood-stderr`: writes lines to standard error without end.
    pub(crate) flood_stderr: bool,
    /// `--long-line BYTES`: one such line on standard output, after the handshake's answer.
    pub(crate) long_line: Option<usize>,
    /// `--not-utf8`: bytes that are no text on both outputs, at the same moment.
    pub(crate) not_utf8: bool,
    /// `--enforce-handshake`: refuses calls before `notifications/initialized`.
    pub(crate) enforce_handshake: bool,
    /// `--double-answer`: answers every call twice.
    pub(crate) double_answer: bool,
    /// `--foreign-id`: before each answer, answers that nobody asked for.
    pub(crate) foreign_id: bool,
    /// `--requests`: sends requests of its own once it is ready; the tool
    /// `answers` shows what came back.
    pub(crate) requests: bool,
    /// `--change-tools-after-ms N`: has one more tool, `later`, and says so.
    pub(crate) change_tools_after_ms: Option<u64>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--pages" => options.pages = number(&flag, &value()?)?,
                "--count-file" => options.count_file = Some(value()?),
                "--start-delay-ms" => options.start_delay_ms = number(&flag, &value()?)?,
                "--exit-at-start" => options.exit_at_start = Some(number(&flag, &value()?)?),
                "--die-after-ms" => options.die_after_ms = Some(number(&flag, &value()?)?),
                "--crash-after" => options.crash_after = Some(number(&flag, &value()?)?),
                "--hang-handshake" => options.hang_handshake = true,
                "--hang-calls" => options.hang_calls = true,
                "--ignore-term" => options.ignore_term = true,
                "--orphan" => options.orphan = Some(value()?),
                "--flood-stderr" => options.flood_stderr = true,
                "--long-line" => options.long_line = Some(number(&flag, &value()?)?),
                "--not-utf8" => options.not_utf8 = true,
                "--enforce-handshake" => options.enforce_handshake = true,
                "--double-answer" => options.double_answer = true,
                "--foreign-id" => options.foreign_id = true,
                "--requests" => options.requests = true,
                "--change-tools-after-ms" => options.change_tools_after_ms = Some(number(&flag, &value()?)?),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }
}

fn number<N: std::str::FromStr>(flag: &str, text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{flag} needs a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn flags_are_read_and_mistakes_named() {
        assert_eq!(parse(""), Ok(Options::default()));
        let expected = Options { pages: 3, orphan: Some("tok".to_owned()), ignore_term: true, ..Options::default() };
        assert_eq!(parse("--pages 3 --ignore-term --orphan tok"), Ok(expected));
        assert_eq!(parse("--pages"), Err("--pages needs a value".to_owned()));
        assert_eq!(parse("--exit-at-start 256"), Err("--exit-at-start needs a number, not \"256\"".to_owned()));
        assert_eq!(parse("--hang"), Err("unknown flag --hang".to_owned()));
    }
}
