//! The command line.

use std::path::PathBuf;

use ::tests::harness::Backend;
use ::tests::measure::program::number;

pub(crate) const USAGE: &str = "usage: load-mail [--members N] [--share N] [--backend sqlite|postgres|both] [--repetitions N] \
                                [--backlog N] [--peers N] [--json FILE] [--page FILE]";

const MEMBERS: u32 = 100;
/// Old messages that wait for others.
const BACKLOG: u32 = 100_000;
/// Peers that are only there.
const PEERS: u32 = 1_000;

/// What to measure, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// What keeps the messages, one run each.
    pub(crate) backends: Vec<Backend>,
    /// Members with a session each.
    pub(crate) members: u32,
    /// Every number of messages is divided by this.
    pub(crate) share: u32,
    /// How often each burst and each broadcast is measured.
    pub(crate) repetitions: u32,
    /// How many old messages wait; none: that phase is left out.
    pub(crate) backlog: u32,
    /// How many peers are only there; none: that phase is left out.
    pub(crate) peers: u32,
    /// Where the document goes instead of standard output.
    pub(crate) json: Option<PathBuf>,
    /// In which file the tables are renewed.
    pub(crate) page: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backends: vec![Backend::Sqlite, Backend::Postgres],
            members: MEMBERS,
            share: 1,
            repetitions: 5,
            backlog: BACKLOG,
            peers: PEERS,
            json: None,
            page: None,
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
                "--members" => options.members = number(&flag, &value()?, 2)?,
                "--share" => options.share = number(&flag, &value()?, 1)?,
                "--repetitions" => options.repetitions = number(&flag, &value()?, 1)?,
                "--backlog" => options.backlog = number(&flag, &value()?, 0)?,
                "--peers" => options.peers = number(&flag, &value()?, 0)?,
                "--backend" => {
                    options.backends = match value()?.as_str() {
                        "sqlite" => vec![Backend::Sqlite],
                        "postgres" => vec![Backend::Postgres],
                        "both" => Self::default().backends,
                        other => return Err(format!("{flag} needs sqlite, postgres or both, not {other:?}")),
                    };
                }
                "--json" => options.json = Some(value()?.into()),
                "--page" => options.page = Some(value()?.into()),
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        Ok(options)
    }

    /// A number of messages, as this run has it.
    pub(crate) fn shared(&self, full: u32) -> u32 {
        (full / self.share).max(1)
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
            backends: vec![Backend::Postgres],
            members: 9,
            share: 20,
            repetitions: 2,
            backlog: 0,
            peers: 7,
            json: Some("x".into()),
            page: Some("y".into()),
        };
        let words = "--backend postgres --members 9 --share 20 --repetitions 2 --backlog 0 --peers 7 --json x --page y";
        assert_eq!(parse(words), Ok(expected.clone()));
        assert_eq!((expected.shared(1_000), expected.shared(3)), (50, 1));
        assert_eq!(parse("--share 0"), Err("--share needs a number of at least 1, not \"0\"".to_owned()));
        assert_eq!(parse("--backend x"), Err("--backend needs sqlite, postgres or both, not \"x\"".to_owned()));
        assert_eq!(parse("--json"), Err("--json needs a value".to_owned()));
        assert_eq!(parse("--fast"), Err("unknown flag --fast".to_owned()));
    }
}
