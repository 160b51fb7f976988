//! Owners' keys, the roots of the meshes that were made here: `owners/<mesh id>.json`, mode 0600.
//!
//! Contract: a file of its own, so that nothing that needs the member's key sees the owner's. It is written before the
//! mesh that it owns is made: a key without a mesh harms nobody.

use std::path::{Path, PathBuf};

use protocol::SecretString;
use protocol::config::MeshEntry;
use protocol::identity::SigningKey;
use protocol::secret;
use serde::{Deserialize, Serialize};

use super::{Profile, corrupt, file};
use crate::error::CliError;

/// The folder in the configuration directory.
const DIRECTORY: &str = "owners";

/// An owner's key, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnerKey {
    /// The mesh that it owns.
    pub(crate) mesh_id: String,
    /// What the mesh is called, for whoever looks at the file.
    pub(crate) slug: String,
    /// 128 hex digits.
    #[serde(serialize_with = "secret::reveal")]
    pub(crate) secret_key: SecretString,
}

impl Profile {
    /// Keeps an owner's key. One that is there already is not replaced.
    pub(crate) fn keep_owner(&self, owner: &OwnerKey) -> Result<(), CliError> {
        let _lock = file::lock(&self.directory, super::LOCK_NAME)?;
        let path = path(&self.directory, &owner.mesh_id)?;
        if file::read(&path, super::MAX_BYTES)?.is_some() {
            return Err(CliError::failed(format!("{} is there already; it was left as it is", path.display())));
        }
        file::directory(&self.directory.join(DIRECTORY))?;
        let bytes = serde_json::to_vec_pretty(owner)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
        file::replace(&path, &bytes)
    }

    /// The key of the mesh's owner, if it is here: in its own file, or, in a mesh that was made when they were one, the
    /// member's.
    pub(crate) fn owner_key(&self, mesh: &MeshEntry) -> Result<Option<SigningKey>, CliError> {
        let path = path(&self.directory, &mesh.mesh_id)?;
        let key = match file::read(&path, super::MAX_BYTES)? {
            Some(bytes) => {
                let kept: OwnerKey = serde_json::from_slice(&bytes).map_err(|error| corrupt(&path, &error))?;
                SigningKey::from_hex(kept.secret_key.expose())
                    .map_err(|error| CliError::failed(format!("cannot use {}: {error}", path.display())))?
            }
            None => match mesh.member_key() {
                Ok(key) => key,
                Err(_) => return Ok(None),
            },
        };
        Ok(Some(key).filter(|key| mesh.owner_pubkey.is_none_or(|owner| owner == key.public())))
    }
}

fn path(directory: &Path, mesh_id: &str) -> Result<PathBuf, CliError> {
    Ok(directory.join(DIRECTORY).join(format!("{}.json", super::session::file_name(mesh_id)?)))
}
