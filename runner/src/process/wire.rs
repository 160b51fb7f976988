//! What runner and warden say to each other on the control socket. Both are
//! the same binary, so the form may change with any release.
//!
//! Runner to warden: one byte that carries the program's three standard
//! streams (`SCM_RIGHTS`), a big-endian `u32` length, a [`Request`] in JSON;
//! then [`TERMINATE`] bytes; then end of file, which means: kill everything.
//! Warden to runner: [`Event`]s, one line of JSON each.

use std::ffi::OsString;
use std::fmt;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use super::command::{Access, Level};
use super::status::ExitStatus;

/// What a folder may hold that is covered, so that a secret file is shown in it.
pub(crate) const MAX_COVERED_ENTRIES: usize = 2_048;

/// The byte under which the standard streams travel.
pub(super) const STREAMS: u8 = b'S';
/// Asks for `SIGTERM` to the program.
pub(super) const TERMINATE: u8 = b'T';
/// Upper bound of a request. The kernel takes about 2 MiB of arguments and
/// environment together; JSON spends up to four bytes on each.
pub(super) const MAX_REQUEST: usize = 16 * 1024 * 1024;
/// Upper bound of an event line; the longest holds a path.
pub(super) const MAX_EVENT: usize = 64 * 1024;

/// Everything the warden needs. It travels on the socket so that neither
/// arguments nor environment of the program show in `/proc` of the warden.
#[derive(Serialize, Deserialize)]
pub(super) struct Request {
    pub level: Level,
    pub argv: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: OsString,
    pub visible: Vec<(OsString, Access)>,
    pub hidden: Vec<OsString>,
    pub fds: u64,
    pub secrets: Option<Secrets>,
}

/// Secret files, for a level that can hold them in memory.
#[derive(Serialize, Deserialize)]
pub(super) struct Secrets {
    pub dir: OsString,
    pub files: Vec<SecretFile>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct SecretFile {
    pub name: String,
    pub shown_at: Option<OsString>,
    pub content: Vec<u8>,
}

impl Drop for Request {
    /// What was asked for is said; its secrets are not left lying in memory that is used again.
    fn drop(&mut self) {
        for (_, value) in &mut self.env {
            std::mem::take(value).into_encoded_bytes().zeroize();
        }
        for file in self.secrets.iter_mut().flat_map(|secrets| &mut secrets.files) {
            file.content.zeroize();
        }
    }
}

/// What the warden reports, in this order: `Executing`, then `Started` or
/// `Failed`, then `Exited`. `Failed` may come at any point and is the last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// Sent by the program's own process just before it becomes the program:
    /// the kernel attaches its pid, translated into the runner's numbering.
    Executing,
    /// The program runs.
    Started,
    /// It could not be started.
    Failed(Trouble),
    /// The program ended. Its descendants are being taken away.
    Exited(ExitStatus),
}

/// The step of a start that failed, on what, and the kernel's reason.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Trouble {
    pub step: Step,
    pub path: Option<OsString>,
    pub errno: i32,
}

impl Trouble {
    pub(super) fn new(step: Step, errno: Errno) -> Self {
        Self::raw(step, None, errno_number(errno))
    }

    pub(super) fn at(step: Step, path: impl Into<OsString>, errno: Errno) -> Self {
        Self::raw(step, Some(path.into()), errno_number(errno))
    }

    pub(super) fn io(step: Step, path: impl Into<OsString>, error: &std::io::Error) -> Self {
        Self::raw(step, Some(path.into()), error.raw_os_error().unwrap_or(nix::libc::EIO))
    }

    fn raw(step: Step, path: Option<OsString>, errno: i32) -> Self {
        Self { step, path, errno }
    }
}

#[expect(clippy::as_conversions, reason = "Errno is a C-like enum over i32; it offers no conversion of its own")]
fn errno_number(errno: Errno) -> i32 {
    errno as i32
}

/// The steps between asking for a program and running it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Open the pipes and the control socket (in the runner).
    Plumbing,
    /// Start the warden (in the runner).
    Warden,
    /// Receive the request.
    Request,
    /// The warden must have one thread only.
    Threads,
    /// Block signals and open a descriptor for them.
    Signals,
    /// Close descriptors that are not ours.
    Descriptors,
    /// Unshare namespaces.
    Namespace,
    /// Map the user into the new user namespace.
    UserMap,
    /// Fork the init or the program's process.
    Fork,
    /// Tie the process to its parent's life.
    Tie,
    /// Detach the mounts from the host's.
    Mounts,
    /// Mount a `/proc` of its own.
    Proc,
    /// Cover a hidden directory.
    Hide,
    /// Show a visible path.
    Show,
    /// Put secret files into memory.
    Secrets,
    /// Give the program its own session.
    Session,
    /// Set resource limits.
    Limits,
    /// Give up privileges.
    Privileges,
    /// Enter the working directory.
    WorkingDirectory,
    /// Execute the program.
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plumbing => "open the program's pipes",
            Self::Warden => "start the warden",
            Self::Request => "read the request",
            Self::Threads => "find the warden single-threaded",
            Self::Signals => "take charge of signals",
            Self::Descriptors => "close inherited descriptors",
            Self::Namespace => "unshare namespaces",
            Self::UserMap => "map the user into its namespace",
            Self::Fork => "fork",
            Self::Tie => "tie the process to its parent",
            Self::Mounts => "detach the mounts",
            Self::Proc => "mount /proc",
            Self::Hide => "hide",
            Self::Show => "show",
            Self::Secrets => "place secret files at",
            Self::Session => "open a session",
            Self::Limits => "set resource limits",
            Self::Privileges => "give up privileges",
            Self::WorkingDirectory => "enter the working directory",
            Self::Execute => "execute",
        })
    }
}
