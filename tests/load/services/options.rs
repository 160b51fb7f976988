//! The command line.

use std::path::PathBuf;

use ::tests::measure::program::number;

pub(crate) const USAGE: &str =
    "usage: load-services [--calls N] [--seconds N] [--repetitions N] [--updates N] [--json FILE] [--page FILE]";

/// What to measure, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// The most calls of a stretch.
    pub(crate) calls: u32,
    /// The most seconds of a stretch.
    pub(crate) seconds: u32,
    /// How often each stretch is measured.
    pub(crate) repetitions: u32,
    /// How often the service is updated under load.
    pub(crate) updates: u32,
    /// Where the document goes instead of standard output.
    pub(crate) json: Option<PathBuf>,
    /// In which file the tables are renewed.
    pub(crate) page: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { calls: 50_000, seconds: 5, repetitions: 5, updates: 50, json: None, page: None }
    }
}

impl Options {
    /// Reads the arguments after the program's name. A later one wins.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--calls" => options.calls = number(&flag, &value()?, 1)?,
                "--seconds" => options.seconds = number(&flag, &value()?, 1)?,
                "--repetitions" => options.repetitions = number(&flag, &value()?, 1)?,
                "--updates" => options.updates = number(&flag, &value()?, 1)?,
                "--json" => options.json = Some(value()?.into()),
                "--page" => options.page = Some(value()?.into()),
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
        let expected = Options {
            calls: 9,
            seconds: 8,
            repetitions: 2,
            updates: 7,
            json: Some("x".into()),
            page: Some("y".into()),
        };
        assert_eq!(parse("--calls 9 --seconds 8 --repetitions 2 --updates 7 --json x --page y"), Ok(expected));
        assert_eq!(parse("--calls 0"), Err("--calls needs a number of at least 1, not \"0\"".to_owned()));
        assert_eq!(parse("--json"), Err("--json needs a value".to_owned()));
        assert_eq!(parse("--fast"), Err("unknown flag --fast".to_owned()));
    }
}
