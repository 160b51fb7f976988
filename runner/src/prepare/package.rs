//! The way every package goes, whichever tool installs it: look, wait for a
//! turn, resolve, look again, build beside, publish, remember.

use std::path::Path;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;

use super::build::{Build, Deadline, Patience};
use super::cache::{Installed, Key, Lock, Receipt, Stage, is_plain_version, real_folder};
use super::error::PrepareError;
use super::{MAX_WAITING, Preparer, off_thread};
use crate::metrics::BuildEnd;

/// What a tool adds to that way.
pub(super) trait Package: Clone + Send + 'static {
    /// What its installations are kept under.
    fn key(&self) -> Key;
    /// The specification as text, for people and for the index.
    fn spec(&self) -> String;
    /// The version, when the specification leaves no choice.
    fn exact(&self) -> Option<&str>;
    /// The tools a build needs.
    type Tools;
    /// Finds the tools, or says which is missing.
    fn tools(&self, build: &Build<'_>) -> Result<Self::Tools, PrepareError>;
    /// Asks the registry which exact version is meant.
    async fn resolve(&self, tools: &Self::Tools, build: &mut Build<'_>) -> Result<String, Unresolved>;
    /// Installs that version into the build's package directory.
    async fn install(&self, tools: &Self::Tools, version: &str, build: &mut Build<'_>) -> Result<(), PrepareError>;
    /// Reads from what was installed under `root` how to start it. Blocks.
    fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError>;
}

/// Why no version is known.
pub(super) struct Unresolved {
    pub(super) error: PrepareError,
    /// The registry could not be asked, so what is known from before may serve.
    pub(super) unreachable: bool,
}

impl From<PrepareError> for Unresolved {
    fn from(error: PrepareError) -> Self {
        Self { error, unreachable: false }
    }
}

impl Preparer {
    /// The installation of `package`, from the cache or newly made.
    pub(super) async fn obtain(
        &self,
        package: &impl Package,
        known: Option<&str>,
        patience: Patience,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Installed, PrepareError> {
        let began = Instant::now();
        let obtained = self.find_or_build(package, known, patience, on_line).await;
        self.meter.ended(end(&obtained), began);
        obtained.map(|(installed, _)| installed)
    }

    async fn find_or_build(
        &self,
        package: &impl Package,
        known: Option<&str>,
        patience: Patience,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<(Installed, BuildEnd), PrepareError> {
        if let Some(known) = known.filter(|known| !is_plain_version(known)) {
            return Err(PrepareError::invalid("version", format!("{known:?} is not an exact version")));
        }
        let key = package.key();
        let wanted = known.or(package.exact());
        if let Some(installed) = wanted.and_then(|version| self.cache.find(&key, version)) {
            return Ok((installed, BuildEnd::Cached));
        }
        let deadline = Deadline::of(patience);
        let (_turn, lock) = self.turn(&key, &deadline).await?;
        // The build before this one may have been of the same version.
        if let Some(installed) = wanted.and_then(|version| self.cache.find(&key, version)) {
            return Ok((installed, BuildEnd::Cached));
        }
        let stage = self.stage(key.clone(), lock).await?;
        let mut build = Build {
            launcher: &self.launcher,
            env: self.env.for_build(&stage.home()),
            path: self.env.path(),
            bounds: self.settings.bounds(),
            stage: &stage,
            deadline,
            on_line,
        };
        match make(package, wanted, &mut build, self).await {
            Ok(Made::Built(version)) => {
                let installed = self.publish(package, key, stage, version, on_line).await?;
                Ok((installed, BuildEnd::Built))
            }
            Ok(Made::Cached(installed)) => {
                off_thread(move || stage.remove()).await;
                Ok((installed, BuildEnd::Cached))
            }
            Err(error) => {
                off_thread(move || stage.remove()).await;
                Err(error)
            }
        }
    }

    /// Waits for the package's lock first and for a build's turn second: builds
    /// of one package, which could only wait for each other, take one turn.
    async fn turn(&self, key: &Key, deadline: &Deadline) -> Result<(Turn, Lock), PrepareError> {
        let admitted = self.waiting.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| PrepareError::Busy { bound: MAX_WAITING })?;
        let locked = deadline.hold("waiting for another build of the package", self.cache.lock(key));
        let lock = locked.await??;
        let building = self.building.clone().acquire_owned();
        let turn = Turn {
            _admitted: admitted,
            // Never closed; were it, building without a permit is the lesser harm.
            _building: deadline.hold("waiting for its turn to build", building).await?.ok(),
        };
        Ok((turn, lock))
    }

    async fn stage(&self, key: Key, lock: Lock) -> Result<Stage, PrepareError> {
        let preparer = self.clone();
        off_thread(move || {
            preparer.sweep();
            preparer.cache.stage(&key, lock)
        })
        .await
    }

    async fn publish(
        &self,
        package: &impl Package,
        key: Key,
        stage: Stage,
        version: String,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<Installed, PrepareError> {
        let (cache, limit) = (self.cache.clone(), self.settings.cache_bytes);
        let package = package.clone();
        let (published, remembered) = off_thread(move || {
            // The tools have ended, and from here on it is this process that reads and writes there.
            let whole = real_folder(&stage.package());
            let receipt = whole.and_then(|()| package.receipt(&stage.package(), &version));
            let published = receipt.and_then(|receipt| cache.publish(&stage, &key, receipt));
            let remembered = published.is_ok().then(|| cache.remember(&key, &package.spec(), &version));
            stage.remove();
            if published.is_ok() {
                cache.trim(limit);
            }
            (published, remembered)
        })
        .await;
        if let Some(Err(error)) = remembered {
            on_line(&forgotten(&error));
        }
        published
    }
}

fn end(obtained: &Result<(Installed, BuildEnd), PrepareError>) -> BuildEnd {
    match obtained {
        Ok((_, end)) => *end,
        Err(PrepareError::Busy { .. }) => BuildEnd::Busy,
        Err(PrepareError::TimedOut { .. }) => BuildEnd::TimedOut,
        Err(PrepareError::GivenUp { .. }) => BuildEnd::GivenUp,
        Err(_) => BuildEnd::Failed,
    }
}

/// A place in the queue and among the builds under way, given up when dropped.
struct Turn {
    _admitted: OwnedSemaphorePermit,
    _building: Option<OwnedSemaphorePermit>,
}

enum Made {
    /// The version that was meant is in the cache already.
    Cached(Installed),
    /// This version is installed in the build's package directory.
    Built(String),
}

async fn make<P: Package>(
    package: &P,
    wanted: Option<&str>,
    build: &mut Build<'_>,
    preparer: &Preparer,
) -> Result<Made, PrepareError> {
    let tools = package.tools(build)?;
    let version = match wanted {
        Some(version) => version.to_owned(),
        None => match package.resolve(&tools, build).await {
            Ok(version) if is_plain_version(&version) => version,
            Ok(version) => {
                return Err(PrepareError::invalid("version", format!("the registry answered {version:?}")));
            }
            Err(unresolved) => match preparer.installed_earlier(package, &unresolved, build) {
                Some(installed) => return Ok(Made::Cached(installed)),
                None => return Err(unresolved.error),
            },
        },
    };
    if let Some(installed) = preparer.cache.find(&package.key(), &version) {
        let (cache, key, spec) = (preparer.cache.clone(), package.key(), package.spec());
        if let Err(error) = off_thread(move || cache.remember(&key, &spec, &version)).await {
            build.say(&forgotten(&error));
        }
        return Ok(Made::Cached(installed));
    }
    build.say(&format!("installing {} at version {version}", package.spec()));
    package.install(&tools, &version, build).await?;
    Ok(Made::Built(version))
}

impl Preparer {
    /// What the specification meant when the registry was last within reach,
    /// if that is why it is unresolved now.
    fn installed_earlier(&self, package: &impl Package, why: &Unresolved, build: &mut Build<'_>) -> Option<Installed> {
        let key = package.key();
        let version = why.unreachable.then(|| self.cache.resolved(&key, &package.spec()))??;
        let installed = self.cache.find(&key, &version)?;
        build.say(&format!(
            "the registry cannot be reached; using {} at version {version}, installed earlier",
            package.spec()
        ));
        Some(installed)
    }
}

fn forgotten(error: &PrepareError) -> String {
    format!("the resolved version could not be recorded for offline starts: {error}")
}
