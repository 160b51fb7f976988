//! The command line.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "usage: load-compare [--quick] [--calls N] [--seconds S] [--mib N] [--repetitions N] \
                                [--starts N] [--json FILE] [--page FILE] [--recovery FILE]";

/// What to measure, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// A cell ends after so many calls,
    pub(crate) calls: u64,
    /// or after this time,
    pub(crate) time: Duration,
    /// or after so many MiB of text one way, whichever is first.
    pub(crate) mib: u64,
    /// How often each cell is measured.
    pub(crate) repetitions: u32,
    /// How often a mesh is started, each way.
    pub(crate) starts: u32,
    /// Where the document goes instead of standard output.
    pub(crate) json: Option<PathBuf>,
    /// In which file the tables are renewed.
    pub(crate) page: Option<PathBuf>,
    /// What `load-recovery` printed.
    pub(crate) recovery: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls: 400_000,
            time: Duration::from_secs(2),
            mib: 1_024,
            repetitions: 5,
            starts: 10,
            json: None,
            page: None,
            recovery: None,
        }
    }
}

impl Options {
    /// Reads the arguments after the program's name. A later one wins.
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => {
                    (options.time, options.mib) = (Duration::from_millis(250), 64);
                    (options.repetitions, options.starts) = (3, 5);
                }
                "--calls" => options.calls = above_zero(&flag, &value()?)?,
                "--seconds" => {
                    let text = value()?;
                    let seconds = text.parse().ok().and_then(|number| Duration::try_from_secs_f64(number).ok());
                    options.time = seconds.ok_or(format!("{flag} needs a number, not {text:?}"))?;
                }
                "--mib" => options.mib = above_zero(&flag, &value()?)?,
                "--repetitions" => options.repetitions = above_zero(&flag, &value()?)?,
                "--starts" => options.starts = above_zero(&flag, &value()?)?,
                "--json" => options.json = Some(value()?.into()),
                "--page" => options.page = Some(value()?.into()),
                "--recovery" => options.recovery = Some(value()?.into()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }
}

fn above_zero<N: std::str::FromStr + Default + PartialEq>(flag: &str, text: &str) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| *number != N::default());
    number.ok_or(format!("{flag} needs a number above 0, not {text:?}"))
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
            calls: 7,
            time: Duration::from_millis(500),
            mib: 9,
            repetitions: 2,
            starts: 5,
            json: Some("x".into()),
            page: Some("y".into()),
            recovery: Some("z".into()),
        };
        let words = "--quick --calls 7 --seconds 0.5 --mib 9 --repetitions 2 --json x --page y --recovery z";
        assert_eq!(parse(words), Ok(expected));
        assert_eq!(parse("--calls 0"), Err("--calls needs a number above 0, not \"0\"".to_owned()));
        assert_eq!(parse("--seconds -1"), Err("--seconds needs a number, not \"-1\"".to_owned()));
        assert_eq!(parse("--json"), Err("--json needs a value".to_owned()));
        assert_eq!(parse("--fast"), Err("unknown flag --fast".to_owned()));
    }
}
