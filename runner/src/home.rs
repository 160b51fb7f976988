//! The runner's data directory: who holds it, who the runner is, and what must survive it.
//!
//! ```text
//! runner.lock   held (flock) by the runner that lives here; close-on-exec, so that no service inherits it
//! runner.json   {pid, start, build, ...}: a fact for whoever wants to adopt it, never a proof of ownership
//! runner_id     made once
//! runner_key    made once: opens the boxes that are sealed for this runner (see `keys`)
//! versions/     the exact versions that this runner found for sources whose programs get secrets
//! fence.json    the highest epoch, before anything is done in its name
//! services/     <mesh>/<service>/data: each service's own; data-<member> where it has a box
//! cache/        installed packages
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::keys::BoxKey;
use crate::link::fence::{Fences, Verdict};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Another runner holds it.
    #[error("a runner is already running on {0}")]
    Taken(PathBuf),
    /// It is not private.
    #[error("{path} {problem}")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Why it is not used.
        problem: &'static str,
    },
    /// A file of it is not what a runner wrote.
    #[error("{path} is damaged: {problem}; nothing was changed")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A data directory that is ours until this is dropped.
pub struct Home {
    dir: PathBuf,
    /// Who the runner is, across restarts.
    pub runner_id: String,
    /// What opens boxes.
    pub key: BoxKey,
    fences: Fences,
    _lock: Flock<File>,
}

#[derive(Serialize)]
struct Fact<'a> {
    pid: u32,
    start: Option<u64>,
    build: &'a str,
    runner_id: &'a str,
    name: &'a str,
    listen: String,
}

impl Home {
    /// Takes the directory, making it if there is none.
    ///
    /// # Errors
    /// See [`HomeError`].
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        private_dir(dir)?;
        let lock_path = dir.join("runner.lock");
        // Rust opens files close-on-exec.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
            nix::errno::Errno::EWOULDBLOCK => HomeError::Taken(dir.to_owned()),
            errno => failed("lock", &lock_path)(errno.into()),
        })?;
        let key = BoxKey::read_or_make(dir)?;
        let home = Self { runner_id: runner_id(dir)?, key, fences: fences(dir)?, dir: dir.to_owned(), _lock: lock };
        // What an earlier life said of itself, if it was killed.
        home.untell();
        Ok(home)
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the services' own directories lie.
    #[must_use]
    pub fn services_dir(&self) -> PathBuf {
        self.dir.join("services")
    }

    /// Where installed packages lie.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        crate::prepare::Stock::place(&self.dir)
    }

    pub(crate) fn fencing(&self) -> Fencing {
        Fencing { path: self.dir.join("fence.json"), fences: Mutex::new(self.fences.clone()) }
    }

    /// Says who runs here.
    pub(crate) fn tell(&self, name: &str, build: &str, listen: String) -> Result<(), HomeError> {
        let path = self.dir.join("runner.json");
        let pid = std::process::id();
        let fact = Fact { pid, start: process_start(), build, runner_id: &self.runner_id, name, listen };
        let text = serde_json::to_vec(&fact).map_err(|error| failed("write", &path)(error.into()))?;
        write_durably(&path, &text).map_err(failed("write", &path))
    }

    /// Nobody runs here any more.
    pub(crate) fn untell(&self) {
        // Without it an adopter compares pids in vain, which is harmless.
        drop(fs::remove_file(self.dir.join("runner.json")));
    }
}

/// The highest epoch, durable before it counts.
pub struct Fencing {
    path: PathBuf,
    fences: Mutex<Fences>,
}

impl Fencing {
    /// The highest epoch, 0 before any.
    pub async fn epoch(&self) -> u64 {
        self.fences.lock().await.epoch()
    }

    /// Judges whoever speaks for `store` in `epoch`, and keeps a new highest.
    ///
    /// # Errors
    /// When it cannot be stored; then it does not count.
    pub async fn admit(&self, store: &str, epoch: u64, occupied: bool) -> io::Result<Verdict> {
        let mut fences = self.fences.lock().await;
        let verdict = fences.judge(store, epoch, occupied);
        if let Verdict::Raise(raised) = &verdict {
            let text = serde_json::to_vec(raised)?;
            let path = self.path.clone();
            tokio::task::spawn_blocking(move || write_durably(&path, &text)).await.map_err(io::Error::other)??;
            *fences = raised.clone();
        }
        Ok(verdict)
    }
}

/// A directory that only we can enter: made so, or found so.
pub(crate) fn private_dir(path: &Path) -> Result<(), HomeError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))?;
    let meta = fs::metadata(path).map_err(failed("read", path))?;
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(HomeError::NotPrivate { path: path.to_owned(), problem: "belongs to another user" });
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(HomeError::NotPrivate {
            path: path.to_owned(),
            problem: "can be written by others; run `chmod 700` on it",
        });
    }
    Ok(())
}

fn runner_id(dir: &Path) -> Result<String, HomeError> {
    let path = dir.join("runner_id");
    match fs::read_to_string(&path) {
        Ok(text) => match Uuid::parse_str(text.trim()) {
            Ok(id) => Ok(id.to_string()),
            Err(error) => Err(HomeError::Damaged { path, problem: error.to_string() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::now_v7().to_string();
            write_durably(&path, id.as_bytes()).map_err(failed("write", &path))?;
            Ok(id)
        }
        Err(error) => Err(failed("read", &path)(error)),
    }
}

fn fences(dir: &Path) -> Result<Fences, HomeError> {
    let path = dir.join("fence.json");
    match fs::read(&path) {
        // Starting from nothing would let an old broker in.
        Ok(text) => {
            serde_json::from_slice(&text).map_err(|error| HomeError::Damaged { path, problem: error.to_string() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Fences::default()),
        Err(error) => Err(failed("read", &path)(error)),
    }
}

/// Whole or not at all, also after a power cut. Blocks.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staging = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&staging)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staging, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// When this process started, in clock ticks since boot (proc(5), stat, field 22).
pub(crate) fn process_start() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may contain anything, but no `)` after its own.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError + use<> {
    let path = path.to_owned();
    move |source| HomeError::Io { what, path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_directory_has_one_runner_and_an_identity() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let id = home.runner_id.clone();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Taken(_))));
        drop(home);
        assert_eq!(Home::open(dir.path()).unwrap().runner_id, id);
    }

    #[actix_rt::test]
    async fn h14_the_highest_epoch_survives() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert!(matches!(home.fencing().admit("s", 7, false).await, Ok(Verdict::Raise(_))));
        drop(home);
        let fencing = Home::open(dir.path()).unwrap().fencing();
        assert_eq!(fencing.admit("s", 6, false).await.unwrap(), Verdict::Lower { epoch: 7 });
        assert_eq!(fencing.admit("s", 7, false).await.unwrap(), Verdict::Current);
    }

    #[test]
    fn h48_a_damaged_fence_says_so_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("fence.json"), "{").unwrap();
        let Err(error) = Home::open(dir.path()) else { panic!("opened") };
        assert!(error.to_string().contains("fence.json is damaged"), "{error}");
        assert_eq!(fs::read(dir.path().join("fence.json")).unwrap(), b"{");
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::NotPrivate { .. })));
    }

    #[test]
    fn the_start_time_is_a_number() {
        assert!(process_start().unwrap() > 0);
    }
}
