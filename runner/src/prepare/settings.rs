//! What an operator decides about sources.

use std::fmt;
use std::str::FromStr;

use super::size::{BUILD_BYTES, BUILD_FILES, Bounds};

/// What installed packages may take on the disk unless told otherwise.
pub const CACHE_BYTES: u64 = 10 * 1024 * 1024 * 1024;

/// A transport of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Https,
    Ssh,
    File,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Https, Self::Ssh, Self::File];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// The transports that git may use. `ssh` speaks with the keys of the runner's user, `file` reads what that user may
/// read: whoever may deploy gets at what they open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitProtocols(Vec<Protocol>);

/// Another word than those that are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of https, ssh and file, with `:` between them")]
pub struct UnknownProtocol(String);

impl Default for GitProtocols {
    fn default() -> Self {
        Self(vec![Protocol::Https, Protocol::Ssh])
    }
}

impl FromStr for GitProtocols {
    type Err = UnknownProtocol;

    /// `https:ssh:file`, each at most once; nothing allows nothing.
    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let known = |word: &str| Protocol::ALL.into_iter().find(|known| known.as_str() == word);
        let words = text.split(':').map(str::trim).filter(|word| !word.is_empty());
        let mut list: Vec<Protocol> =
            words.map(|word| known(word).ok_or_else(|| UnknownProtocol(word.to_owned()))).collect::<Result<_, _>>()?;
        list.sort();
        list.dedup();
        Ok(Self(list))
    }
}

/// As git reads it.
impl fmt::Display for GitProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|protocol| protocol.as_str()).collect();
        f.write_str(&words.join(":"))
    }
}

impl GitProtocols {
    /// The transport of a validated address, and whether it is allowed.
    pub(super) fn judge(&self, url: &str) -> (&'static str, bool) {
        let scheme = url.split_once("://").map_or("ssh", |(scheme, _)| scheme);
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.as_str() == scheme);
        found.map_or(("this", false), |protocol| (protocol.as_str(), self.0.contains(&protocol)))
    }
}

/// What an operator decides about sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// The transports that git may use.
    pub git_protocols: GitProtocols,
    /// What installed packages may take on the disk, in bytes; what is in use stays all the same.
    pub cache_bytes: u64,
    /// What one build may take on the disk, in bytes.
    pub build_bytes: u64,
    /// How many files and directories one build may make.
    pub build_files: u64,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            git_protocols: GitProtocols::default(),
            cache_bytes: CACHE_BYTES,
            build_bytes: BUILD_BYTES,
            build_files: BUILD_FILES,
        }
    }
}

impl SourceSettings {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { bytes: self.build_bytes, files: self.build_files }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn protocols_are_a_list_of_known_words() {
        assert_eq!(GitProtocols::default().to_string(), "https:ssh");
        assert_eq!("file:https:file".parse::<GitProtocols>().unwrap().to_string(), "https:file");
        assert_eq!("".parse::<GitProtocols>().unwrap().to_string(), "");
        for bad in ["http", "https:ext", "https,ssh", "git", "HTTPS"] {
            assert!(bad.parse::<GitProtocols>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_judged_by_its_transport() {
        let table = [
            ("https://h/p", "https", true),
            ("ssh://git@h/p", "ssh", true),
            ("git@h:p", "ssh", true),
            ("file:///p", "file", false),
            ("ext://p", "this", false),
        ];
        for (url, name, allowed) in table {
            assert_eq!(GitProtocols::default().judge(url), (name, allowed), "{url}");
        }
        assert!("file".parse::<GitProtocols>().unwrap().judge("file:///p").1);
    }
}
