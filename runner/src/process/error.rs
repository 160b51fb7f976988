//! What can go wrong, told apart by who can do something about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;

use super::command::{Command, Level};
use super::wire::{Step, Trouble};

/// No program can be started on this machine with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A directory to hide is relative, missing or not a directory.
    #[error("{path:?} cannot be hidden from programs: {reason}")]
    Hidden {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No level works here.
    #[error("no isolation level works on this machine: {}", each(.0))]
    NoLevel(
        /// Every level that was tried and why it failed.
        Vec<(Level, String)>,
    ),
}

fn each(reasons: &[(Level, String)]) -> String {
    let each: Vec<_> = reasons.iter().map(|(level, why)| format!("{level}: {why}")).collect();
    each.join("; ")
}

/// A program did not start.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The command cannot be carried out by any machine.
    #[error("{problem}: {what}")]
    Invalid {
        /// The rule that is broken.
        problem: &'static str,
        /// What breaks it, escaped.
        what: String,
    },
    /// There is no such program, or the interpreter it names is missing.
    #[error("{program:?} or the interpreter it names was not found")]
    NotFound {
        /// The program.
        program: PathBuf,
    },
    /// The program is there and cannot be executed.
    #[error("{program:?} cannot be executed: {source}")]
    NotExecutable {
        /// The program.
        program: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The working directory cannot be entered.
    #[error("the working directory {path:?} cannot be entered: {source}")]
    WorkingDirectory {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A path that must be visible cannot be shown.
    #[error("{path:?} cannot be shown to the program: {source}")]
    Visible {
        /// The path.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The system refused; [`is_transient`](SpawnError::is_transient) says
    /// whether it may think better of it.
    #[error("cannot {step}{}: {source}", .path.as_ref().map(|path| format!(" {path:?}")).unwrap_or_default())]
    System {
        /// The step that failed.
        step: Step,
        /// On what, where it was about a path.
        path: Option<PathBuf>,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The warden ended before it said how the start went.
    #[error("the warden ended before the program was started")]
    WardenLost,
    /// The warden did not answer in time.
    #[error("the warden did not start the program within {0:?}")]
    WardenMute(
        /// The time it had.
        Duration,
    ),
}

impl SpawnError {
    /// Whether the same command may well start a moment later: the machine was
    /// short of something, or the warden was taken away.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::System { source, .. } => source.raw_os_error().is_some_and(is_shortage),
            Self::WardenLost | Self::WardenMute(_) => true,
            Self::Invalid { .. }
            | Self::NotFound { .. }
            | Self::NotExecutable { .. }
            | Self::WorkingDirectory { .. }
            | Self::Visible { .. } => false,
        }
    }

    pub(super) fn system(step: Step, source: io::Error) -> Self {
        Self::System { step, path: None, source }
    }

    /// Sorts what the warden reported into the command's faults and the
    /// system's. A shortage is the system's at whatever step it shows.
    pub(super) fn from_trouble(trouble: Trouble, command: &Command) -> Self {
        let source = io::Error::from_raw_os_error(trouble.errno);
        let path = trouble.path.map(PathBuf::from);
        if is_shortage(trouble.errno) {
            return Self::System { step: trouble.step, path, source };
        }
        let program = || command.program().to_path_buf();
        match (trouble.step, path) {
            (Step::Execute, _) => match trouble.errno {
                libc::ENOENT | libc::ENOTDIR => Self::NotFound { program: program() },
                _ => Self::NotExecutable { program: program(), source },
            },
            (Step::WorkingDirectory, _) => Self::WorkingDirectory { path: command.cwd.clone(), source },
            (Step::Show, Some(path)) => Self::Visible { path, source },
            (step, path) => Self::System { step, path, source },
        }
    }
}

/// Reasons of the kernel that pass by themselves. `ENOSPC` is what `unshare`
/// answers at the limit of namespaces, `ETXTBSY` a program that is being
/// written, or whose writer is mid-fork in another thread.
fn is_shortage(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN
            | libc::ENOMEM
            | libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOSPC
            | libc::EUSERS
            | libc::ETXTBSY
            | libc::ETOOMANYREFS
            | libc::EINTR
    )
}

/// A command that was to run to its end did not.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It never started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It ran longer than allowed and was killed with all it had started.
    #[error("it was stopped after {0:?}, its time limit")]
    TimedOut(
        /// The limit.
        Duration,
    ),
    /// Whoever wanted it wants it no more; it was killed with all it had started.
    #[error("it was given up")]
    GivenUp,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::command::Limits;
    use super::*;

    fn sorted(step: Step, errno: i32) -> SpawnError {
        let command = Command {
            hidden_files: None,
            argv: vec!["/opt/tool".into()],
            env: BTreeMap::new(),
            cwd: "/srv".into(),
            visible: Vec::new(),
            limits: Limits::default(),
        };
        let trouble = Trouble { step, path: Some("/some/path".into()), errno };
        SpawnError::from_trouble(trouble, &command)
    }

    #[test]
    fn shortages_are_the_systems_at_every_step() {
        for step in [Step::Fork, Step::Execute, Step::WorkingDirectory, Step::Namespace, Step::Show] {
            for errno in [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE] {
                let error = sorted(step, errno);
                assert!(matches!(error, SpawnError::System { .. }), "{error}");
                assert!(error.is_transient(), "{error}");
            }
        }
    }

    #[test]
    fn the_commands_own_faults_do_not_pass() {
        assert!(matches!(sorted(Step::Execute, libc::ENOENT), SpawnError::NotFound { .. }));
        assert!(matches!(sorted(Step::Execute, libc::ENOTDIR), SpawnError::NotFound { .. }));
        for errno in [libc::EACCES, libc::ENOEXEC, libc::E2BIG, libc::EPERM] {
            assert!(matches!(sorted(Step::Execute, errno), SpawnError::NotExecutable { .. }));
        }
        assert!(matches!(sorted(Step::WorkingDirectory, libc::ENOENT), SpawnError::WorkingDirectory { .. }));
        assert!(matches!(sorted(Step::Show, libc::ENOENT), SpawnError::Visible { .. }));
        for (step, errno) in [
            (Step::Execute, libc::ENOENT),
            (Step::WorkingDirectory, libc::EACCES),
            (Step::Show, libc::ENOENT),
            (Step::Namespace, libc::EPERM),
        ] {
            assert!(!sorted(step, errno).is_transient());
        }
    }
}
