//! A build's own directory: everything its tools may write, gone when it ends.
//!
//! Each build has a home of its own, so that a package's install script leaves
//! nothing behind (a doctored download cache, a settings file) for the next one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::lock::try_lock;
use super::{Cache, Key, Kind, Lock, create};
use crate::prepare::error::PrepareError;

/// A tool that is just being killed may still write into its directory while
/// it is removed; then removal starts over, after this pause.
const REMOVE_TRIES: u32 = 5;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// One build's directory and its package's lock, which is let go only after
/// the directory is gone.
#[derive(Debug)]
pub(in crate::prepare) struct Stage {
    root: PathBuf,
    lock: Option<Lock>,
}

impl Stage {
    /// `HOME` of the tools.
    pub(in crate::prepare) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// Where the tools run. It answers their search for a project's settings,
    /// which would otherwise go on in the directories above.
    pub(in crate::prepare) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// What is published in the end. Not created here.
    pub(in crate::prepare) fn package(&self) -> PathBuf {
        self.root.join("pkg")
    }

    /// The whole directory, for the one place of the file system tools may write.
    pub(in crate::prepare) fn root(&self) -> &Path {
        &self.root
    }

    /// Where an unusable installation goes when it is replaced.
    pub(super) fn aside(&self) -> PathBuf {
        self.root.join("replaced")
    }

    /// Removes the directory and lets go of the lock. Blocks.
    pub(in crate::prepare) fn remove(mut self) {
        if let Some(lock) = self.lock.take() {
            remove_and_unlock(&self.root, lock);
        }
    }
}

/// A build that was given up: cleaned up beside, since this may be the thread
/// of an event loop.
impl Drop for Stage {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else {
            return;
        };
        let root = std::mem::take(&mut self.root);
        let cleaner = std::thread::Builder::new().name("stage-cleaner".to_owned());
        if let Err(error) = cleaner.spawn(move || remove_and_unlock(&root, lock)) {
            // Then the next build of the package, or the next sweep, does it.
            tracing::warn!(%error, "no thread to remove a given-up build");
        }
    }
}

fn remove_and_unlock(root: &Path, lock: Lock) {
    if let Err(error) = remove_tree(root) {
        tracing::warn!(%error, path = %root.display(), "a build's directory stays until the next build");
    }
    drop(lock);
}

fn remove_tree(root: &Path) -> io::Result<()> {
    let mut last = Ok(());
    for _ in 0..REMOVE_TRIES {
        last = fs::remove_dir_all(root);
        match &last {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(REMOVE_PAUSE),
        }
    }
    last
}

impl Cache {
    /// A fresh directory for a build, after removing what interrupted builds
    /// of the same package left. Blocks.
    pub(in crate::prepare) fn stage(&self, key: &Key, lock: Lock) -> Result<Stage, PrepareError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let place = self.place("staging", key);
        remove_tree(&place).map_err(PrepareError::disk("clear", &place))?;
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let stage = Stage { root: place.join(name), lock: Some(lock) };
        create(&stage.home())?;
        create(&stage.work())?;
        for (file, content) in [("package.json", "{\"private\":true}\n"), ("uv.toml", "")] {
            let file = stage.work().join(file);
            fs::write(&file, content).map_err(PrepareError::disk("write", &file))?;
        }
        Ok(stage)
    }

    /// Removes what builds interrupted by a crash left, for packages nobody
    /// is building. Blocks. Failures are only logged: nothing depends on it.
    pub(in crate::prepare) fn sweep(&self) {
        for kind in Kind::ALL {
            let staging = self.root.join("staging").join(kind.as_str());
            let locks = self.root.join("locks").join(kind.as_str());
            // No directory: nothing was ever built.
            for left in fs::read_dir(&staging).into_iter().flatten().flatten() {
                match try_lock(&locks.join(left.file_name())) {
                    Ok(Some(lock)) => remove_and_unlock(&left.path(), lock),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "cannot sweep an interrupted build"),
                }
            }
        }
    }
}

#[cfg(test)]
impl Stage {
    /// Lets go of the lock as the kernel does when a builder dies.
    pub(super) fn take_lock_for_test(&mut self) -> Option<Lock> {
        self.lock.take()
    }
}
