//! Who may write one of the client's files.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::CliError;

/// How long another of ours may hold the lock. A change takes milliseconds.
const OURS_WAIT: Duration = Duration::from_secs(10);
/// How long the client may hold its own before we go on without: it is a courtesy, and no change rests on it.
const THEIRS_WAIT: Duration = Duration::from_secs(2);
/// A lock of the client's that was not renewed for so long is a dead one's: by the client's own rule.
const THEIRS_STALE: Duration = Duration::from_secs(10);
/// How often a lock is tried.
const POLL: Duration = Duration::from_millis(5);

/// Our own lock, beside the file, since the file itself is replaced. Held until it is dropped.
pub(super) fn ours(target: &Path) -> Result<File, CliError> {
    let path = beside(target, ".claudemesh-lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| CliError::failed(format!("cannot open {}: {error}", path.display())))?;
    let deadline = Instant::now() + OURS_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL),
            Err(TryLockError::WouldBlock) => {
                let (path, after) = (path.display(), OURS_WAIT.as_secs());
                return Err(CliError::timed_out(format!("another claudemesh has held {path} for {after} s")));
            }
            Err(TryLockError::Error(error)) => {
                return Err(CliError::failed(format!("cannot lock {}: {error}", path.display())));
            }
        }
    }
}

/// The client's lock: a folder beside the file, which is there while it is held.
pub(super) fn theirs(path: &Path) -> Option<Theirs> {
    let folder = beside(path, ".lock");
    let deadline = Instant::now() + THEIRS_WAIT;
    loop {
        match fs::create_dir(&folder) {
            Ok(()) => return Some(Theirs(folder)),
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return None,
            Err(_) if is_stale(&folder) => drop(fs::remove_dir(&folder)),
            Err(_) if Instant::now() >= deadline => return None,
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// The client's lock, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Theirs(PathBuf);

impl Drop for Theirs {
    fn drop(&mut self) {
        // One that somebody took for stale is theirs now.
        let _ = fs::remove_dir(&self.0);
    }
}

fn is_stale(folder: &Path) -> bool {
    let renewed = fs::metadata(folder).and_then(|metadata| metadata.modified());
    renewed.ok().and_then(|then| then.elapsed().ok()).is_some_and(|age| age > THEIRS_STALE)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
