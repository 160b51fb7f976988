//! The files that deployments wait to be built from.
//!
//! **Contract.** A file is kept whole or not at all, under its deployment's id, and only when its bytes have the SHA-256
//! that was named. All of them together are bounded: the oldest go first. They do not outlive the runner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::is_sha256;
use crate::prepare::cache::is_plain_version;

/// What waiting files may take on the disk: as many of the largest as may be building and waiting to, and a few more.
const MAX_WAITING_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Its deployment's id is no plain name.
    #[error("the deployment's id is no plain name")]
    Name,
    /// It is not what was announced.
    #[error("the bytes that came do not have the SHA-256 that was named")]
    Damaged,
    /// The disk refused.
    #[error("the file cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// The folder of them.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// In a cache's directory.
    pub(in crate::prepare) fn in_cache(cache: &Path) -> Self {
        Self { root: cache.join("files") }
    }

    /// Where the file of a deployment lies; `None` for an id that is no plain name.
    pub(in crate::prepare) fn place(&self, deployment: &str) -> Option<PathBuf> {
        is_plain_version(deployment).then(|| self.root.join(deployment))
    }

    /// Keeps a file. Blocks.
    ///
    /// # Errors
    /// [`FileError`]; then nothing is left of it.
    pub fn keep(&self, deployment: &str, sha256: &str, bytes: &Bytes) -> Result<(), FileError> {
        let place = self.place(deployment).ok_or(FileError::Name)?;
        if !is_sha256(sha256) || hex::encode(Sha256::digest(bytes)) != sha256 {
            return Err(FileError::Damaged);
        }
        fs::create_dir_all(&self.root)?;
        self.make_room(u64::try_from(bytes.len()).unwrap_or(u64::MAX), MAX_WAITING_BYTES);
        // No id of a deployment ends like this: a `~` is in none.
        let half = self.root.join(format!("{deployment}~"));
        let kept = fs::write(&half, bytes).and_then(|()| fs::rename(&half, &place));
        if kept.is_err() {
            drop(fs::remove_file(&half));
        }
        Ok(kept?)
    }

    /// A deployment needs its file no more. Blocks.
    pub fn forget(&self, deployment: &str) {
        if let Some(place) = self.place(deployment) {
            drop(fs::remove_file(place));
        }
    }

    /// What an earlier life left. Blocks.
    pub(crate) fn clear(&self) {
        if let Err(error) = fs::remove_dir_all(&self.root)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the files of an earlier runner stay");
        }
    }

    /// Removes the oldest until `more` bytes fit.
    fn make_room(&self, more: u64, limit: u64) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut found: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let facts = entry.metadata().ok()?;
                Some((facts.modified().unwrap_or(SystemTime::UNIX_EPOCH), facts.len(), entry.path()))
            })
            .collect();
        found.sort();
        let mut total = found.iter().fold(more, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        for (_, bytes, path) in found {
            if total <= limit {
                return;
            }
            drop(fs::remove_file(&path));
            total = total.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_named_and_no_more_than_fits() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::in_cache(root.path());
        let sha256 = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
        let body = Bytes::from_static(b"abc");
        files.keep("d-1", &sha256(&body), &body).unwrap();
        assert_eq!(fs::read(files.place("d-1").unwrap()).unwrap(), b"abc");
        let damaged = files.keep("d-2", &sha256(b"abd"), &body).unwrap_err();
        assert!(matches!(damaged, FileError::Damaged) && !files.place("d-2").unwrap().exists());
        for name in ["../d", "a/b", "", "..", "a\0"] {
            assert!(matches!(files.keep(name, &sha256(&body), &body), Err(FileError::Name)), "{name}");
        }
        files.make_room(3, 6);
        assert!(files.place("d-1").unwrap().exists(), "it fits");
        files.make_room(4, 6);
        assert!(!files.place("d-1").unwrap().exists(), "the oldest goes");
        files.keep("d-3", &sha256(&body), &body).unwrap();
        files.forget("d-3");
        files.clear();
        assert!(fs::read_dir(root.path()).unwrap().next().is_none());
    }
}
