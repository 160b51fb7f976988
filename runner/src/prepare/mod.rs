//! Turns a service's source into a program that can be started.
//!
//! **Contract.** [`Preparer::prepare`] answers within its time limit: with a
//! program and its exact version, or with a [`PrepareError`] in the words of
//! the tool that failed. A version that was prepared once is prepared again
//! without any tool and without the network. Tools run as processes of their
//! own (see [`crate::process`]) with an environment from a short list, never
//! with a service's secrets, and may write into one directory that is deleted
//! afterwards. Everything they print reaches the caller line by line.
//!
//! What a restart loses: builds under way. Their directories, with whatever a
//! fetch left in them, are removed when the next runner starts
//! ([`Preparer::sweep`]).
//!
//! `npx`, `uvx`, `git`, `zip` and `command` are one file per kind of source; `package` is the
//! way packages go, `tree` what becomes of files that were fetched, `cache` where all
//! of it ends up and `stock` what is kept there, `build` what the tools share,
//! `brought` how their files are read.

mod brought;
mod build;
mod cache;
mod command;
mod env;
mod error;
mod git;
mod npx;
mod package;
mod program;
mod runtimes;
mod settings;
mod size;
mod stock;
mod tree;
mod uvx;
mod versions;
mod words;
mod zip;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use protocol::source::{self, Source};
use tokio::sync::Semaphore;

pub use self::build::Patience;
use self::cache::Cache;
pub use self::cache::Hold;
pub use self::env::{EnvSource, NETWORK, PASSED, PASSED_PREFIXES};
pub use self::error::PrepareError;
use self::git::Repository;
use self::npx::NpmPackage;
use self::package::Package as _;
pub use self::settings::{CACHE_BYTES, GitProtocols, SourceSettings, UnknownProtocol};
pub use self::size::{BUILD_BYTES, BUILD_FILES};
pub use self::stock::{Stock, StockItem};
use self::uvx::PyPackage;
use self::zip::Archive;
pub use self::zip::{FileError, Files};
use crate::metrics::BuildMeter;
use crate::process::Launcher;

/// Preparations that may wait for their turn, besides those under way.
pub const MAX_WAITING: usize = 20;
/// A sensible number of builds at once: they are bound by the network, and two
/// leave the machine to the services.
pub const BUILDS_AT_ONCE: usize = 2;

/// What runs a prepared program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// Node.js.
    Node,
    /// Bun.
    Bun,
    /// A Python of its own environment.
    Python,
    /// Nothing: it runs by itself.
    Command,
}

impl Runtime {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Bun => "bun",
            Self::Python => "python",
            Self::Command => "command",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A program that is ready to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The exact version, to be passed as `known` the next time. Commands,
    /// which have none, say `unversioned`.
    pub version: String,
    /// The absolute program and all its arguments.
    pub argv: Vec<OsString>,
    /// Directories the program needs to read.
    pub visible: Vec<PathBuf>,
    /// What runs it.
    pub runtime: Runtime,
    /// The `PATH` it should get: its own programs, then the operator's.
    pub path_env: OsString,
    /// Keeps it in the cache for as long as somebody has this.
    pub hold: Option<Hold>,
}

impl Prepared {
    /// What runs it, and in which version where that can be told without running anything: `node 22.1`, `python 3.12`,
    /// `bun`, `program`. Reads a small file.
    #[must_use]
    pub fn runtime_found(&self) -> String {
        versions::shown(self.runtime, self.argv.first().map(Path::new))
    }
}

/// What is to be prepared.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Where the program comes from.
    pub source: &'a Source,
    /// What is to run it, where the source leaves a choice.
    pub runtime: Option<source::Runtime>,
    /// Under whose id an uploaded file waits; empty where there is none.
    pub deployment: &'a str,
}

impl<'a> From<&'a Source> for Wanted<'a> {
    fn from(source: &'a Source) -> Self {
        Self { source, runtime: None, deployment: "" }
    }
}

/// Prepares sources; cheap to clone, and all clones share one queue.
#[derive(Debug, Clone)]
pub struct Preparer {
    cache: Cache,
    launcher: Launcher,
    env: Arc<EnvSource>,
    /// One permit for each preparation that builds or waits to.
    waiting: Arc<Semaphore>,
    /// One permit for each build under way.
    building: Arc<Semaphore>,
    /// Builds at once.
    builds: usize,
    meter: BuildMeter,
    settings: Arc<SourceSettings>,
    /// Whether what a crash left was cleared; a build that begins meanwhile waits for it.
    swept: Arc<Once>,
    files: Files,
}

impl Preparer {
    /// `cache_dir` is absolute and is created when first needed. `env` is the
    /// runner's environment, of which only a short list is used ([`NETWORK`], [`PASSED`]).
    pub fn new(cache_dir: PathBuf, launcher: Launcher, env: EnvSource, builds_at_once: usize) -> Self {
        let builds = builds_at_once.clamp(1, Semaphore::MAX_PERMITS / 2);
        let files = Files::in_cache(&cache_dir);
        Self {
            files,
            cache: Cache::new(cache_dir),
            launcher,
            env: Arc::new(env),
            waiting: Arc::new(Semaphore::new(builds + MAX_WAITING)),
            building: Arc::new(Semaphore::new(builds)),
            builds,
            meter: BuildMeter::default(),
            settings: Arc::default(),
            swept: Arc::new(Once::new()),
        }
    }

    /// The same, counting what it prepares from now on.
    #[must_use]
    pub fn measured(self, meter: BuildMeter) -> Self {
        Self { meter, ..self }
    }

    /// The same with what an operator decided.
    #[must_use]
    pub fn settled(self, settings: SourceSettings) -> Self {
        Self { settings: Arc::new(settings), ..self }
    }

    /// Builds under way, and those that wait.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        let running = self.builds.saturating_sub(self.building.available_permits());
        let admitted = (self.builds + MAX_WAITING).saturating_sub(self.waiting.available_permits());
        (running, admitted.saturating_sub(running))
    }

    /// The program for `source`, installing it if it is not there yet.
    ///
    /// `known` is the exact version recorded when the service was prepared
    /// before; without it a package is resolved anew. `args` follow the
    /// program verbatim. `patience`, a time limit or more, covers everything,
    /// waiting included. Lines of the tools, and some of our own, go to `on_line`.
    ///
    /// A build that is given up through its [`Patience`] returns when its tools
    /// are dead and its directory is removed. Dropping the future brings the
    /// same about, some time later.
    ///
    /// # Errors
    /// [`PrepareError`] says which step failed and why.
    pub async fn prepare<'a>(
        &self,
        wanted: impl Into<Wanted<'a>>,
        known: Option<&str>,
        args: &[String],
        patience: impl Into<Patience>,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Prepared, PrepareError> {
        if args.iter().any(|argument| argument.contains('\0')) {
            return Err(PrepareError::invalid("args", "contain a zero byte"));
        }
        let Wanted { source, runtime, deployment } = wanted.into();
        if let Some(runtime) = runtime.filter(|runtime| !source.runs_on(*runtime)) {
            return Err(PrepareError::invalid(
                "runtime",
                format!("{runtime:?} does not run a source of {}", source.kind()),
            ));
        }
        let installed = match source {
            Source::Npx { package } => {
                let package = NpmPackage::parse(package, runtime)?;
                self.obtain(&package, known, patience.into(), on_line).await?
            }
            Source::Uvx { package, with } => {
                let package = PyPackage::parse(package, with)?;
                self.obtain(&package, known, patience.into(), on_line).await?
            }
            Source::Git { .. } => {
                let repository = Repository::of(source, runtime, &self.settings.git_protocols, &self.env)?;
                self.obtain(&repository, known, patience.into(), on_line).await?
            }
            Source::Command { argv } => return command::prepare(argv, args, self.env.path()),
            Source::Zip { .. } => {
                let archive = self.archive(source, runtime, deployment)?;
                self.obtain(&archive, known, patience.into(), on_line).await?
            }
        };
        program::of(&installed, args, self.env.path())
    }
}

impl Preparer {
    /// Removes what builds left that a crash interrupted, a token of git's among it; once, before or beside the first
    /// build. Blocks. What cannot be removed is logged.
    pub fn sweep(&self) {
        self.swept.call_once(|| self.cache.sweep());
    }

    /// The uploaded files that wait to be built from.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Whether a deployment of an uploaded file can be prepared here without being sent that file. Blocks briefly.
    #[must_use]
    pub fn has_file_of(&self, wanted: Wanted<'_>, version: &str) -> bool {
        let Ok(archive) = self.archive(wanted.source, wanted.runtime, wanted.deployment) else {
            // What is wrong with it is told by its preparation.
            return true;
        };
        let built = cache::is_plain_version(version) && self.cache.find(&archive.key(), version).is_some();
        built || self.files.place(wanted.deployment).is_some_and(|place| place.is_file())
    }

    fn archive(
        &self,
        source: &Source,
        runtime: Option<source::Runtime>,
        deployment: &str,
    ) -> Result<Archive, PrepareError> {
        let file = self.files.place(deployment);
        let file = file.ok_or_else(|| PrepareError::invalid("deployment", "is no plain name"))?;
        Archive::of(source, runtime, file)
    }
}

/// Runs file work that may take long on a thread that may block. The work is
/// finished even when nobody waits for it any more.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that is shutting down cancels blocking work, and
            // it never polls this future again.
            Err(_) => std::future::pending().await,
        },
    }
}

/// `first`, then the rest. A directory whose name contains the separator
/// cannot be on a `PATH` and is left out.
fn search_path(first: &Path, rest: &OsStr) -> OsString {
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(rest));
    std::env::join_paths(all).unwrap_or_else(|_| rest.to_owned())
}
