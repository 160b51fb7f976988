//! The self-check: run as a program inside a process set, it prints what it can
//! see from there. A level counts as reached when its findings say so, not
//! because no call failed.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;

use nix::sys::prctl::get_no_new_privs;
use serde::{Deserialize, Serialize};

use super::super::command::Level;
use super::{CLEARED, FAILED, WARDEN_ARGUMENT, sys};

/// The second argument that asks for the self-check.
pub(super) const CHECK_ARGUMENT: &str = "check";

/// What the self-check saw.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Findings {
    pid: u32,
    /// Whether it can never gain privileges.
    no_new_privs: bool,
    /// The pids in `/proc`.
    processes: Vec<u32>,
    /// Directories that were to be hidden and are not empty, or can be written.
    uncovered: Vec<String>,
}

/// The command line of the self-check. The binary is named by the link to what
/// runs already: its path may be hidden, or replaced by another version.
pub(in super::super) fn check_argv(hidden: &[OsString]) -> Vec<OsString> {
    let fixed = ["/proc/self/exe", WARDEN_ARGUMENT, CHECK_ARGUMENT];
    fixed.into_iter().map(OsString::from).chain(hidden.iter().cloned()).collect()
}

/// Runs as the program.
pub(super) fn main(hidden: impl Iterator<Item = OsString>) -> ! {
    let findings = Findings {
        pid: std::process::id(),
        no_new_privs: get_no_new_privs().unwrap_or(false),
        processes: processes(),
        uncovered: hidden.filter(|path| !is_covered(path)).map(|path| path.to_string_lossy().into_owned()).collect(),
    };
    let printed = serde_json::to_vec(&findings).is_ok_and(|text| std::io::stdout().write_all(&text).is_ok());
    let flushed = std::io::stdout().flush().is_ok();
    sys::exit(if printed && flushed { CLEARED } else { FAILED })
}

fn processes() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut pids: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn is_covered(path: &OsStr) -> bool {
    let path = Path::new(path);
    let empty = match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        // It lies inside another hidden one, under whose cover it has gone.
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    };
    let probe = path.join(".claudemesh-check");
    let writable = std::fs::write(&probe, "").is_ok();
    if writable {
        let _ = std::fs::remove_file(&probe);
    }
    empty && !writable
}

impl Findings {
    /// Whether this is what `level` promises.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(in super::super) fn judge(&self, level: Level) -> Result<(), String> {
        if !self.no_new_privs {
            return Err("a program could gain privileges".to_owned());
        }
        if level == Level::Guard {
            return Ok(());
        }
        if self.processes != [1, self.pid] {
            let seen = self.processes.len();
            return Err(format!("a program sees {seen} processes in /proc instead of its own and its init"));
        }
        match self.uncovered.first() {
            Some(path) => Err(format!("a program sees into {path}, or can write there")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Findings {
        Findings { pid: 2, no_new_privs: true, processes: vec![1, 2], uncovered: Vec::new() }
    }

    #[test]
    fn each_promise_is_judged() {
        assert_eq!(findings().judge(Level::Namespace), Ok(()));
        let neighbours = Findings { processes: vec![1, 2, 3], ..findings() };
        assert!(neighbours.judge(Level::Namespace).is_err());
        assert_eq!(neighbours.judge(Level::Guard), Ok(()));
        let blind = Findings { processes: Vec::new(), ..findings() };
        assert!(blind.judge(Level::Namespace).is_err());
        let uncovered = Findings { uncovered: vec!["/x".into()], ..findings() };
        assert!(uncovered.judge(Level::Namespace).is_err());
        for level in [Level::Guard, Level::Namespace] {
            assert!(Findings { no_new_privs: false, ..findings() }.judge(level).is_err());
        }
    }
}
