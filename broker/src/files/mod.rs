//! The bytes of the files that members uploaded.
//!
//! **Contract.** A file lies under `<data dir>/files/<mesh id>/<file id>`, whole or not at all: what is being received is
//! beside it under another name, and goes with whoever receives it. Its row in the store comes after its bytes and goes
//! before them, so whatever a crash leaves without a row is nobody's: it is removed at the next start, as are rows whose
//! bytes are gone. Nothing here asks who may: `http/upload` and `mesh/peer/files` do.

mod sweep;
mod token;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Place;
use object_store::{MultipartUpload, ObjectStoreExt as _};

use crate::store::{FileId, MemberId, MeshId, StoredFile};
use crate::vault::AtRest;

pub use token::{Token, VALID_MS};

/// Largest file: what one message of the link to a runner carries.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// How long a file is kept that is not to stay, ms: 7 days.
pub const KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Files that are received at a time.
const MAX_UPLOADS: usize = 16;
/// And of one member.
const MAX_UPLOADS_PER_MEMBER: usize = 2;
/// Below so much free disk no file is taken.
const MIN_FREE_BYTES: u64 = 500 * 1024 * 1024;
/// The share of the disk that stays free, as one of so many parts; never more than [`MAX_RESERVE_BYTES`].
const FREE_PART: u64 = 20;
const MAX_RESERVE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// The folder in the data directory.
const FOLDER: &str = "files";
/// What the key of the tokens is derived for.
const TOKEN_PURPOSE: &str = "file-url";

/// Why there is no place for one more upload now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSeat {
    /// Too many of all members.
    #[error("limit: {MAX_UPLOADS} uploads are under way; try again in a moment")]
    All,
    /// Too many of this one.
    #[error("limit: {MAX_UPLOADS_PER_MEMBER} uploads of this member are under way")]
    Member,
}

/// Why the bytes of a file could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The folder could not be made.
    #[error("the folder {} cannot be used: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The object store refused.
    #[error("the file store: {0}")]
    Objects(#[from] object_store::Error),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

/// The files of a broker.
pub struct Files {
    objects: LocalFileSystem,
    root: PathBuf,
    tokens: token::Maker,
    uploads: Arc<Mutex<HashMap<(MeshId, MemberId), usize>>>,
}

impl Files {
    /// Those in a data directory. Blocks briefly.
    ///
    /// # Errors
    /// [`FilesError`] when the folder cannot be made.
    pub fn open(data_dir: &Path, at_rest: &AtRest) -> Result<Self, FilesError> {
        let root = data_dir.join(FOLDER);
        let folder = |source| FilesError::Folder { path: root.clone(), source };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
        builder.create(&root).map_err(folder)?;
        let objects = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        let tokens = token::Maker::new(at_rest.derived(TOKEN_PURPOSE));
        Ok(Self { objects, root, tokens, uploads: Arc::default() })
    }

    /// What proves that a file may be fetched, and checks that.
    #[must_use]
    pub fn tokens(&self) -> &token::Maker {
        &self.tokens
    }

    /// Takes a place among the uploads; it is free again when dropped.
    ///
    /// # Errors
    /// [`NoSeat`].
    pub fn seat(&self, mesh: &MeshId, member: &MemberId) -> Result<Seat, NoSeat> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if uploads.values().sum::<usize>() >= MAX_UPLOADS {
            return Err(NoSeat::All);
        }
        let of = (mesh.clone(), member.clone());
        let own = uploads.entry(of.clone()).or_default();
        if *own >= MAX_UPLOADS_PER_MEMBER {
            return Err(NoSeat::Member);
        }
        *own += 1;
        Ok(Seat { uploads: Arc::clone(&self.uploads), of })
    }

    /// Whether the disk has room for `bytes` more and what has to stay free. Blocks briefly.
    #[must_use]
    pub fn disk_has_room(&self, bytes: u64) -> bool {
        let Ok(disk) = nix::sys::statvfs::statvfs(&self.root) else { return false };
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        let total = disk.blocks().saturating_mul(disk.fragment_size());
        has_room(free, total, bytes)
    }

    /// Begins to receive a file; what was put into it is there when it is completed.
    ///
    /// # Errors
    /// [`FilesError`].
    pub async fn receive(&self, mesh: &MeshId, id: &FileId) -> Result<Box<dyn MultipartUpload>, FilesError> {
        Ok(self.objects.put_multipart(&place(mesh, id)).await?)
    }

    /// All bytes of a file.
    ///
    /// # Errors
    /// [`FilesError`], also when it is not there.
    pub async fn bytes(&self, file: &StoredFile) -> Result<Bytes, FilesError> {
        Ok(self.objects.get(&place(&file.mesh_id, &file.id)).await?.bytes().await?)
    }

    /// Removes the bytes of a file whose row is gone. What cannot be removed is nobody's at the next start.
    pub async fn remove(&self, mesh: &MeshId, id: &FileId) {
        if let Err(error) = self.objects.delete(&place(mesh, id)).await {
            tracing::warn!(%mesh, file = %id, %error, "a file's bytes were not removed");
        }
    }
}

fn has_room(free: u64, total: u64, bytes: u64) -> bool {
    let reserve = MIN_FREE_BYTES.max((total / FREE_PART).min(MAX_RESERVE_BYTES));
    free.saturating_sub(bytes) >= reserve
}

fn place(mesh: &MeshId, id: &FileId) -> Place {
    Place::from_iter([mesh.as_str(), id.as_str()])
}

/// A place among the uploads.
pub struct Seat {
    uploads: Arc<Mutex<HashMap<(MeshId, MemberId), usize>>>,
    of: (MeshId, MemberId),
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = uploads.get_mut(&self.of) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                uploads.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_disk_stays_free() {
        const MIB: u64 = 1024 * 1024;
        for (free, total, bytes, expected) in [
            (501 * MIB, 1_000 * MIB, MIB, true),
            (500 * MIB, 1_000 * MIB, MIB, false),
            (1_100 * MIB, 20_000 * MIB, 64 * MIB, true),
            (1_000 * MIB, 20_000 * MIB, 64 * MIB, false),
            (3_000 * MIB, 1_000_000 * MIB, 64 * MIB, true),
            (0, 0, 0, false),
        ] {
            assert_eq!(has_room(free, total, bytes), expected, "{free} of {total} for {bytes}");
        }
    }
}
