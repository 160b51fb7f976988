//! What is wrong with a configuration, and where it was said.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag on the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A configuration that cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The settings file could not be read.
    #[error("could not read the settings file {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings file is not TOML. The offending line is not shown: it may hold a secret.
    #[error("{}, line {line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// Nobody knows this setting.
    #[error("unknown setting {key:?} ({origin})")]
    UnknownKey {
        /// The setting.
        key: String,
        /// Where it was said.
        origin: Origin,
    },
    /// A value that the setting does not take.
    #[error("setting {key:?} ({origin}): {reason}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Where it was said.
        origin: Origin,
        /// What it takes.
        reason: String,
    },
    /// A setting without which another makes no sense.
    #[error("setting {key:?} is needed: {reason}")]
    Needed {
        /// The setting that is missing.
        key: &'static str,
        /// What asks for it.
        reason: String,
    },
    /// Plain traffic would leave the machine.
    #[error(
        "refusing to listen on {0}: without TLS only loopback addresses are served; put a proxy that \
         ends TLS in front and say --behind-proxy"
    )]
    Exposed(std::net::SocketAddr),
}
