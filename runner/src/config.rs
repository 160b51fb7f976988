//! What a runner is told when it starts.
//!
//! The caller reads flags, files and the environment; from here on nothing does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::SecretString;
use protocol::link::proof::MIN_TOKEN_BYTES;
use sha2::{Digest as _, Sha256};

use crate::prepare::SourceSettings;
use crate::process::Level;

/// A runner without a broker for this long stops its services and itself.
pub const DEFAULT_ORPHAN_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Longest path of a socket; the kernel ends them at 108 bytes.
pub const SOCKET_PATH_MAX: usize = 100;
/// Characters of a runner's name.
const NAME_MAX: usize = 64;

/// Where brokers come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A socket of this machine, for this user.
    Unix(PathBuf),
    /// An address.
    Tcp(SocketAddr),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// What people call it.
    pub name: String,
    /// Where brokers come in.
    pub listen: Listen,
    /// Shared with the broker.
    pub token: SecretString,
    /// Absolute. Everything the runner keeps lies below it, and no service sees it.
    pub data_dir: PathBuf,
    /// Further directories that no service sees.
    pub hidden: Vec<PathBuf>,
    /// The highest isolation level to try; `None` for the best there is.
    pub isolation_maximum: Option<Level>,
    /// A binary whose `main` begins with [`warden_main_if_asked`](crate::process::warden_main_if_asked).
    pub exe: PathBuf,
    /// How long to go on without a broker ([`DEFAULT_ORPHAN_TIMEOUT`]).
    pub orphan_timeout: Duration,
    /// The runner's own environment; installations get a short list of it, services nothing but the search path.
    pub env: BTreeMap<OsString, OsString>,
    /// What sources may do and take.
    pub sources: SourceSettings,
    /// Version and commit, to be shown.
    pub build: String,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// In words.
    pub problem: String,
}

impl RunnerConfig {
    /// Checks all of it.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let wrong = |field, problem: String| Err(ConfigError { field, problem });
        if self.name.is_empty() || self.name.chars().count() > NAME_MAX || self.name.chars().any(char::is_control) {
            return wrong("name", format!("must be 1 to {NAME_MAX} characters without control characters"));
        }
        if self.token.len() < MIN_TOKEN_BYTES {
            return wrong("token", format!("must have at least {MIN_TOKEN_BYTES} characters"));
        }
        if !self.data_dir.is_absolute() {
            return wrong("data_dir", format!("{} is not absolute", self.data_dir.display()));
        }
        if !self.exe.is_absolute() {
            return wrong("exe", format!("{} is not absolute", self.exe.display()));
        }
        if let Some(path) = self.hidden.iter().find(|path| !path.is_absolute()) {
            return wrong("hidden", format!("{} is not absolute", path.display()));
        }
        if self.orphan_timeout.is_zero() {
            return wrong("orphan_timeout", "must not be zero".to_owned());
        }
        if let Listen::Unix(path) = &self.listen {
            if !path.is_absolute() {
                return wrong("listen", format!("{} is not absolute", path.display()));
            }
            if path.as_os_str().as_bytes().len() > SOCKET_PATH_MAX {
                return wrong("listen", format!("{} is longer than {SOCKET_PATH_MAX} bytes", path.display()));
            }
        }
        Ok(())
    }
}

/// Where the socket of the runner with this data directory lies: in it, or, where its path is too long for a socket,
/// under a name made of its hash in `runtime_dir`.
#[must_use]
pub fn socket_path(data_dir: &Path, runtime_dir: &Path) -> PathBuf {
    let direct = data_dir.join("runner.sock");
    if direct.as_os_str().as_bytes().len() <= SOCKET_PATH_MAX {
        return direct;
    }
    let digest = hex::encode(Sha256::digest(data_dir.as_os_str().as_bytes()));
    let short: String = digest.chars().take(16).collect();
    runtime_dir.join("claudemesh").join(format!("{short}.sock"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn config() -> RunnerConfig {
        RunnerConfig {
            name: "local".to_owned(),
            listen: Listen::Unix("/run/r.sock".into()),
            token: SecretString::new("t".repeat(MIN_TOKEN_BYTES)),
            data_dir: "/data".into(),
            hidden: Vec::new(),
            isolation_maximum: None,
            exe: "/proc/self/exe".into(),
            orphan_timeout: DEFAULT_ORPHAN_TIMEOUT,
            env: BTreeMap::new(),
            sources: SourceSettings::default(),
            build: "0".to_owned(),
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        config().validate().unwrap();
        let field = |change: fn(&mut RunnerConfig)| {
            let mut config = config();
            change(&mut config);
            config.validate().unwrap_err().field
        };
        assert_eq!(field(|c| c.name.clear()), "name");
        assert_eq!(field(|c| c.name.push('\n')), "name");
        assert_eq!(field(|c| c.token = SecretString::new("short".to_owned())), "token");
        assert_eq!(field(|c| c.data_dir = "data".into()), "data_dir");
        assert_eq!(field(|c| c.exe = "exe".into()), "exe");
        assert_eq!(field(|c| c.hidden.push("x".into())), "hidden");
        assert_eq!(field(|c| c.orphan_timeout = Duration::ZERO), "orphan_timeout");
        assert_eq!(field(|c| c.listen = Listen::Unix("r.sock".into())), "listen");
        assert_eq!(field(|c| c.listen = Listen::Unix(format!("/{}", "x".repeat(100)).into())), "listen");
    }

    #[test]
    fn a_long_path_becomes_a_short_name() {
        let short = socket_path(Path::new("/data"), Path::new("/run/user/0"));
        assert_eq!(short, Path::new("/data/runner.sock"));
        let long = socket_path(&Path::new("/").join("x".repeat(120)), Path::new("/run/user/0"));
        assert!(long.starts_with("/run/user/0/claudemesh") && long.as_os_str().len() <= SOCKET_PATH_MAX, "{long:?}");
    }
}
