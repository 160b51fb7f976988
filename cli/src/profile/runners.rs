//! Runners' keys that this person accepted: `runners/<mesh id>.json`, mode 0600.
//!
//! Contract: the first runners of a mesh are taken as they are told, once; after that a key is changed, or a runner added,
//! by a person alone. Whoever could add one in silence could read every secret that is deployed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Profile, corrupt, file};
use crate::error::CliError;

/// The folder in the configuration directory.
const DIRECTORY: &str = "runners";
/// Keeps two commands from forgetting each other's.
const LOCK_NAME: &str = "runners.lock";
/// Most runners that are kept of a mesh.
const MAX_RUNNERS: usize = 256;

/// The runners of a mesh that secrets may be sealed for, by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Runners(pub(crate) BTreeMap<String, Accepted>);

/// A runner's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// What the runner was called.
    pub(crate) name: String,
    /// 64 hex digits.
    pub(crate) fingerprint: String,
}

impl Profile {
    /// What was accepted in a mesh.
    pub(crate) fn runners(&self, mesh_id: &str) -> Result<Runners, CliError> {
        let path = self.runners_path(mesh_id)?;
        match file::read(&path, super::MAX_BYTES)? {
            None => Ok(Runners::default()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| corrupt(&path, &error)),
        }
    }

    /// Accepts runners, over what was accepted under their ids before.
    pub(crate) fn accept_runners(&self, mesh_id: &str, accepted: &Runners) -> Result<(), CliError> {
        // Beside what it guards: a launched session has the folder, and not the directory, in common with its person.
        let folder = self.directory.join(DIRECTORY);
        file::directory(&folder)?;
        let _lock = file::lock(&folder, LOCK_NAME)?;
        let mut known = self.runners(mesh_id)?;
        known.0.extend(accepted.0.clone());
        let path = self.runners_path(mesh_id)?;
        if known.0.len() > MAX_RUNNERS {
            return Err(CliError::failed(format!("{} would hold more than {MAX_RUNNERS} runners", path.display()))
                .hint("remove those that are gone from that file"));
        }
        let bytes = serde_json::to_vec_pretty(&known)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
        file::replace(&path, &bytes)
    }

    fn runners_path(&self, mesh_id: &str) -> Result<PathBuf, CliError> {
        Ok(self.directory.join(DIRECTORY).join(format!("{}.json", super::session::file_name(mesh_id)?)))
    }
}
