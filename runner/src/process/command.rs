//! What to run and how: plain data, checked before anything is started.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::SpawnError;

/// Open files a program may hold unless its command says otherwise.
pub const DEFAULT_FDS: u64 = 1024;

/// How firmly a process set is held. A higher level holds more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A subreaper per program. It takes every descendant away, and no more:
    /// neighbours under the same uid can be seen, and a `SIGKILL` of the guard
    /// itself leaves the program's descendants (not the program) behind.
    Guard,
    /// Pid and mount namespaces of its own: the kernel ends the set with its
    /// first process; neighbours and hidden paths cannot be seen.
    Namespace,
}

impl Level {
    /// The word shown to operators.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Namespace => "namespace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a program may do with a path that is shown to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Look, whatever the file's mode says. Covers what is mounted beneath.
    ReadOnly,
    /// Whatever the file's mode allows.
    ReadWrite,
}

/// A path the program needs, shown even where it lies inside a hidden one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visible {
    /// Absolute; a directory or a file. It must exist.
    pub path: PathBuf,
    /// What the program may do with it.
    pub access: Access,
}

/// Bounds of one program. See [`Launcher::unenforced`](super::Launcher::unenforced)
/// for those that this machine cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open files per process (`RLIMIT_NOFILE`, soft and hard).
    pub fds: u64,
    /// Processes and threads of the set.
    pub pids: Option<u64>,
    /// Memory of the set in bytes.
    pub memory: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fds: DEFAULT_FDS, pids: None, memory: None }
    }
}

/// A program to start. There is no shell: the arguments arrive as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Command {
    /// The program (an absolute path) and its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<OsString, OsString>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// What must be seen inside hidden directories.
    pub visible: Vec<Visible>,
    /// Bounds.
    pub limits: Limits,
    /// Files in memory that no other set sees; only a level with a mount namespace can hold them.
    pub hidden_files: Option<HiddenFiles>,
}

/// Secret files: mode 0400, in a file system of their own.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenFiles {
    /// Where they lie, absolute; a path that is the program's alone, in a hidden directory.
    pub dir: PathBuf,
    /// The files.
    pub files: Vec<HiddenFile>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub struct HiddenFile {
    /// Its name in their directory.
    pub name: String,
    /// Where else it is shown, absolute.
    pub shown_at: Option<PathBuf>,
    /// What is in it.
    pub content: Zeroizing<Vec<u8>>,
}

impl Drop for Command {
    /// Variables may be secrets.
    fn drop(&mut self) {
        for value in self.env.values_mut() {
            std::mem::take(value).into_encoded_bytes().zeroize();
        }
    }
}

/// Prints the names of the variables and never a value: values are secrets.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("argv", &self.argv)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .field("visible", &self.visible)
            .field("limits", &self.limits)
            .finish()
    }
}

impl Command {
    /// The program's path; empty if `argv` is.
    #[must_use]
    pub fn program(&self) -> &Path {
        self.argv.first().map_or(Path::new(""), Path::new)
    }

    /// Refuses what the kernel would misread or silently cut.
    ///
    /// # Errors
    /// [`SpawnError::Invalid`] with the part that is wrong.
    pub(super) fn check(&self) -> Result<(), SpawnError> {
        let program = self.program();
        if !program.is_absolute() {
            return Err(invalid("the program's path is not absolute", program));
        }
        if !self.cwd.is_absolute() {
            return Err(invalid("the working directory is not absolute", &self.cwd));
        }
        for argument in &self.argv {
            no_nul("an argument contains a NUL byte", argument)?;
        }
        no_nul("the working directory contains a NUL byte", self.cwd.as_os_str())?;
        for (name, value) in &self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(invalid("not a name for a variable", name));
            }
            no_nul("a variable's name contains a NUL byte", name)?;
            if value.as_bytes().contains(&0) {
                return Err(invalid("the variable's value contains a NUL byte", name));
            }
        }
        for visible in &self.visible {
            if !visible.path.is_absolute() {
                return Err(invalid("a visible path is not absolute", &visible.path));
            }
            no_nul("a visible path contains a NUL byte", visible.path.as_os_str())?;
        }
        Ok(())
    }
}

fn no_nul(problem: &'static str, text: &OsStr) -> Result<(), SpawnError> {
    if text.as_bytes().contains(&0) {
        return Err(invalid(problem, text));
    }
    Ok(())
}

fn invalid(problem: &'static str, what: impl AsRef<OsStr>) -> SpawnError {
    SpawnError::Invalid { problem, what: what.as_ref().to_string_lossy().escape_debug().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command {
            argv: vec!["/bin/true".into(), "a".into()],
            env: BTreeMap::from([("NAME".into(), "s3cret".into())]),
            cwd: "/".into(),
            visible: Vec::new(),
            limits: Limits::default(),
            hidden_files: None,
        }
    }

    fn problem(change: impl FnOnce(&mut Command)) -> Option<&'static str> {
        let mut command = command();
        change(&mut command);
        match command.check() {
            Ok(()) => None,
            Err(SpawnError::Invalid { problem, .. }) => Some(problem),
            Err(other) => panic!("another error: {other}"),
        }
    }

    #[test]
    fn what_the_kernel_would_misread_is_refused() {
        assert_eq!(problem(|_| ()), None);
        assert!(problem(|c| c.argv.clear()).is_some());
        assert!(problem(|c| c.argv = vec!["true".into()]).is_some());
        assert!(problem(|c| c.argv.push("a\0b".into())).is_some());
        assert!(problem(|c| c.cwd = "here".into()).is_some());
        assert!(problem(|c| c.cwd = "/a\0b".into()).is_some());
        for name in ["", "A=B", "A\0"] {
            assert!(problem(|c| drop(c.env.insert(name.into(), "".into()))).is_some());
        }
        assert!(problem(|c| drop(c.env.insert("B".into(), "x\0".into()))).is_some());
        let relative = Visible { path: "x".into(), access: Access::ReadOnly };
        assert!(problem(|c| c.visible.push(relative)).is_some());
    }

    #[test]
    fn a_printed_command_shows_no_value() {
        let printed = format!("{:?}", command());
        assert!(printed.contains("NAME"), "{printed}");
        assert!(!printed.contains("s3cret"), "{printed}");
    }

    #[test]
    fn levels_are_ordered() {
        assert!(Level::Guard < Level::Namespace);
    }
}
