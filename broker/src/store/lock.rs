//! Who owns a data directory.
//!
//! **Contract.** The proof of ownership is an advisory lock on an open file, which the kernel drops
//! with its holder, however that one ended. The number written into the file is only there to be shown
//! to a person. The file is closed on exec, so no child keeps the lock alive, and it is never
//! unlinked: two processes could otherwise hold locks on two files of one name.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The lock file's name inside the data directory.
pub const LOCK_FILE: &str = "lock";

/// The longest text that is read from a lock file for its holder's number.
const MAX_LOCK_TEXT_BYTES: u64 = 32;

/// The data directory is in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is in use by another broker{}", .dir.display(),
    .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
)]
pub struct Locked {
    /// The directory.
    pub dir: PathBuf,
    /// The holder's process number, where the file could be read. A hint, not a fact.
    pub pid: Option<u32>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(transparent)]
    Held(#[from] Locked),
    /// The operating system refused a step.
    #[error("could not {step} {}", .path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Ownership of a data directory, held until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct DirLock {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    dir: PathBuf,
    /// Closing it gives the lock back.
    _file: File,
}

impl DirLock {
    /// Takes the lock of `dir`, making the directory (for its owner only) where it is absent.
    /// Never waits.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process, or another part of this one, has the lock.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let failed = |step, path: &Path| {
            let path = path.to_path_buf();
            move |source| LockError::Io { step, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make the directory", dir))?;
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file);
                return Err(Locked { dir: dir.to_path_buf(), pid }.into());
            }
            Err(TryLockError::Error(source)) => {
                return Err(failed("lock", &path)(source));
            }
        }
        write_pid(&mut file).map_err(failed("write the lock file", &path))?;
        Ok(Self { held: Arc::new(Held { dir: dir.to_path_buf(), _file: file }) })
    }

    /// The directory this lock stands for.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.held.dir
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(MAX_LOCK_TEXT_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn one_holder_at_a_time_and_the_last_clone_gives_it_back() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        let first = DirLock::acquire(&dir).unwrap();
        let clone = first.clone();
        drop(first);

        let LockError::Held(locked) = DirLock::acquire(&dir).unwrap_err() else { panic!() };
        assert_eq!(locked.pid, Some(std::process::id()));
        assert!(locked.to_string().contains(&format!("process {}", std::process::id())));

        drop(clone);
        DirLock::acquire(&dir).unwrap();
    }

    #[test]
    fn a_leftover_number_proves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "1\n").unwrap();
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn an_unreadable_holder_is_still_a_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _held = DirLock::acquire(dir.path()).unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "not a number").unwrap();
        let LockError::Held(locked) = DirLock::acquire(dir.path()).unwrap_err() else { panic!() };
        assert_eq!(locked.pid, None);
    }

    #[test]
    fn the_directory_and_the_file_are_for_their_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let _held = DirLock::acquire(&dir).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(LOCK_FILE)), 0o600);
    }

    #[test]
    fn a_child_process_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(held);
        // A child that another test starts at this moment has a copy of everything until it is the other program.
        let soon = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let again = loop {
            let again = DirLock::acquire(dir.path());
            if again.is_ok() || std::time::Instant::now() > soon {
                break again;
            }
            std::thread::yield_now();
        };
        child.kill().unwrap();
        child.wait().unwrap();
        again.unwrap();
    }
}
