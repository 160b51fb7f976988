//! How a program ended.

use std::fmt;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// How a program ended, as its parent was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It ended by itself with this code.
    Code(i32),
    /// A signal (its number) ended it; `true` if the kernel wrote a core.
    Signal(i32, bool),
    /// It is dead, and what watched it died before it could say how.
    Lost,
}

impl ExitStatus {
    /// What [`ProcessHandle::kill`](super::ProcessHandle::kill) makes of a set
    /// that had not ended by then.
    pub(super) const KILLED: Self = Self::Signal(nix::libc::SIGKILL, false);

    /// Exit code 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number, core) => {
                match Signal::try_from(number) {
                    Ok(signal) => write!(f, "killed by {signal}")?,
                    // Real-time signals have numbers only.
                    Err(_) => write!(f, "killed by signal {number}")?,
                }
                if core { f.write_str(" (core dumped)") } else { Ok(()) }
            }
            Self::Lost => f.write_str("dead, for a reason nobody was left to report"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ExitStatus;

    #[test]
    fn words() {
        for (status, words) in [
            (ExitStatus::Code(1), "exit code 1"),
            (ExitStatus::Signal(9, false), "killed by SIGKILL"),
            (ExitStatus::Signal(11, true), "killed by SIGSEGV (core dumped)"),
            (ExitStatus::Signal(40, false), "killed by signal 40"),
        ] {
            assert_eq!(status.to_string(), words);
        }
    }
}
