//! The faults that the echo server can be told to have.

use std::time::Duration;

/// All of them are off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// `--delay MS`: sleeps before each answer to a call.
    pub(crate) delay: Option<Duration>,
    /// `--crash-after N`: answers N calls and dies at the next.
    pub(crate) crash_after: Option<u64>,
    /// `--hang-after N`: answers N calls and none after them, but reads on.
    pub(crate) hang_after: Option<u64>,
    /// `--flood`: lines that are no protocol with each call, on both outputs.
    pub(crate) flood: bool,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = words.next() {
            let mut number = || {
                let value = words.next().ok_or(format!("{flag} needs a value"))?;
                value.parse::<u64>().map_err(|_| format!("{flag} needs a number, not {value:?}"))
            };
            match flag.as_str() {
                "--delay" => options.delay = Some(Duration::from_millis(number()?)),
                "--crash-after" => options.crash_after = Some(number()?),
                "--hang-after" => options.hang_after = Some(number()?),
                "--flood" => options.flood = true,
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }
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
        let expected =
            Options { delay: Some(Duration::from_millis(5)), crash_after: Some(3), hang_after: Some(4), flood: true };
        assert_eq!(parse("--delay 5 --crash-after 3 --hang-after 4 --flood"), Ok(expected));
        assert_eq!(parse("--delay"), Err("--delay needs a value".to_owned()));
        assert_eq!(parse("--delay x"), Err("--delay needs a number, not \"x\"".to_owned()));
        assert_eq!(parse("--slow"), Err("unknown flag --slow".to_owned()));
    }
}
