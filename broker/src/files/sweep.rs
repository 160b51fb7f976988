//! What no row names and what no bytes are of, and what is too old.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Files, FilesError, KEPT_MS};
use crate::store::{FileRemoval, Store, UtcMs};

impl Files {
    /// Brings rows and bytes together. Run at the start, before anything is received.
    ///
    /// # Errors
    /// When the database refuses; what the disk refuses is logged and left.
    pub async fn sweep(&self, store: &Store, now: UtcMs) -> Result<(), FilesError> {
        self.expire(store, now).await?;
        let mut known = HashSet::new();
        for file in store.all_files().await? {
            let place = self.root.join(file.mesh_id.as_str()).join(file.id.as_str());
            if place.is_file() {
                known.insert(place);
                continue;
            }
            tracing::error!(mesh = %file.mesh_id, file = %file.id, "the bytes of a file are gone");
            if let FileRemoval::Named(service) = store.remove_file(&file.mesh_id, &file.id).await? {
                tracing::error!(service, "it cannot be built anew: deploy it again");
            }
        }
        remove_others(&self.root, &known);
        Ok(())
    }

    /// Lets those go that are not to stay, when their time is over.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn expire(&self, store: &Store, now: UtcMs) -> Result<(), FilesError> {
        for (mesh, id) in store.expire_files(now.plus_ms(-KEPT_MS)).await? {
            self.remove(&mesh, &id).await;
        }
        Ok(())
    }
}

/// Removes what lies in the folders of the meshes and is not known, half files included.
fn remove_others(root: &Path, known: &HashSet<PathBuf>) {
    for mesh in entries(root) {
        for file in entries(&mesh).into_iter().filter(|file| !known.contains(file)) {
            if let Err(error) = fs::remove_file(&file) {
                tracing::warn!(%error, path = %file.display(), "nobody's file stays");
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
