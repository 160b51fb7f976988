//! What can keep a source from becoming a program.
//!
//! Every variant reads as a sentence for the person who deployed: which step
//! failed, on what, and in the words of the tool that refused.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{ExitStatus, RunError, SpawnError};

/// Why a source could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The deployer asked for something that is refused before any tool runs.
    #[error("{field}: {why}")]
    Invalid {
        /// The part of the deployment at fault: `package`, `argv`, `args`, `version`.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A program the source needs is not on the runner's `PATH`.
    #[error("{what} was not found on the runner's PATH: {hint}")]
    RuntimeMissing {
        /// The missing program.
        what: String,
        /// What an operator should install.
        hint: String,
    },
    /// No exact version could be found for the specification.
    #[error("{program} found no version for {spec} ({status}){}", Quoted(words))]
    Resolve {
        /// The tool that was asked.
        program: &'static str,
        /// The specification it was asked about.
        spec: String,
        /// How the tool ended.
        status: ExitStatus,
        /// The tool's own last words.
        words: Vec<String>,
    },
    /// The version is known, but installing it failed.
    #[error("{program} could not install {spec} ({status}){}", Quoted(words))]
    Install {
        /// The tool that failed.
        program: &'static str,
        /// What it was installing.
        spec: String,
        /// How the tool ended.
        status: ExitStatus,
        /// The tool's own last words.
        words: Vec<String>,
    },
    /// The package installed, but does not say which program to run.
    #[error("{package} names no program to run: {why}{}", Found(found))]
    NoBinary {
        /// The installed package.
        package: String,
        /// Why none of the candidates was chosen.
        why: &'static str,
        /// The candidates.
        found: Vec<String>,
    },
    /// What was fetched cannot be installed as it is.
    #[error("{what} {why}")]
    Project {
        /// The file or folder at fault, as the repository names it.
        what: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The file to build from is not on this runner.
    #[error(
        "the uploaded file is not on this runner any more; start or deploy the service again, and it is sent again"
    )]
    FileGone,
    /// It grew over what one build may take.
    #[error("the build grew over {bound} {unit}, which is the limit")]
    TooLarge {
        /// The bound.
        bound: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The deployment's own build command failed.
    #[error("the build command {command:?} failed ({status}){}", Quoted(words))]
    Build {
        /// The command's first words.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        words: Vec<String>,
    },
    /// The time limit of the whole preparation passed during this step.
    #[error("the time limit of {limit:?} passed while {step}")]
    TimedOut {
        /// What was going on.
        step: &'static str,
        /// The limit that was given.
        limit: Duration,
    },
    /// Whoever asked for it wants it no more.
    #[error("given up while {step}")]
    GivenUp {
        /// What was going on.
        step: &'static str,
    },
    /// The cache could not be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Disk {
        /// The action, as a verb.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A tool could not be started or watched.
    #[error("cannot run {program}")]
    Tool {
        /// The tool.
        program: &'static str,
        /// Why not.
        source: RunError,
    },
    /// This kind of source is known, but this runner cannot prepare it.
    #[error("{what} sources cannot be prepared by this runner")]
    Unsupported {
        /// The kind of source.
        what: &'static str,
    },
    /// Too many preparations wait already; worth trying again later.
    #[error("{bound} installations are waiting already; try again later")]
    Busy {
        /// How many may wait.
        bound: usize,
    },
}

impl PrepareError {
    /// Whether the same request may well succeed later without anyone changing
    /// it: the queue was full, or the system was short of something.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Tool { source, .. } => {
                matches!(source, RunError::Spawn(reason) if SpawnError::is_transient(reason))
            }
            Self::Invalid { .. }
            | Self::RuntimeMissing { .. }
            | Self::Resolve { .. }
            | Self::Install { .. }
            | Self::NoBinary { .. }
            | Self::Project { .. }
            | Self::FileGone
            | Self::TooLarge { .. }
            | Self::Build { .. }
            | Self::TimedOut { .. }
            | Self::GivenUp { .. }
            | Self::Disk { .. }
            | Self::Unsupported { .. } => false,
        }
    }

    pub(super) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { field, why: why.into() }
    }

    /// For `map_err` on a file operation.
    pub(super) fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_path_buf();
        move |source| Self::Disk { what, path, source }
    }
}

/// `: ` and the words on one line, or nothing.
struct Quoted<'a>(&'a [String]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            words => write!(f, ": {}", words.join(" | ")),
        }
    }
}

/// The candidates there were, or nothing.
struct Found<'a>(&'a [String]);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            found => write!(f, " (it has {})", found.join(", ")),
        }
    }
}
