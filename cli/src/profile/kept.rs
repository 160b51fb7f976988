//! The tools of services as they were when they were last asked for: `tools/<mesh id>/<service>.json`, mode 0600.
//!
//! Contract: what is here can be lost; whoever reads it asks again when it can. Files that were not written for long are
//! cleared away.

use std::path::PathBuf;
use std::time::Duration;

use super::{Profile, file, session};
use crate::error::CliError;

/// The folder in the configuration directory.
const DIRECTORY: &str = "tools";
/// More than this is no such list: a broker keeps 1 MiB of schemas of a service.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// A list that was not written for so long belongs to a service that is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 24 * 3_600);

impl Profile {
    /// What was kept of a service's tools.
    pub(crate) fn kept_tools(&self, mesh_id: &str, service: &str) -> Option<Vec<u8>> {
        let path = self.tools_of(mesh_id).ok()?.join(format!("{}.json", session::file_name(service).ok()?));
        file::read(&path, MAX_BYTES).ok().flatten()
    }

    /// Keeps them.
    pub(crate) fn keep_tools(&self, mesh_id: &str, service: &str, bytes: &[u8]) -> Result<(), CliError> {
        let directory = self.tools_of(mesh_id)?;
        let name = session::file_name(service)?;
        // Several proxies of one service write the same.
        let _lock = file::lock(&directory, "tools.lock")?;
        file::sweep(&directory, FORGOTTEN_AFTER, |_| true);
        file::replace(&directory.join(format!("{name}.json")), bytes)
    }

    /// Removes what was kept of a mesh.
    pub(super) fn forget_tools(&self, mesh_id: &str) -> Result<(), CliError> {
        file::remove_all(&self.tools_of(mesh_id)?)
    }

    fn tools_of(&self, mesh_id: &str) -> Result<PathBuf, CliError> {
        Ok(self.directory().join(DIRECTORY).join(session::file_name(mesh_id)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_kept_comes_back_and_a_name_leads_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let profile = Profile { directory: directory.path().to_owned() };
        assert_eq!(profile.kept_tools("m", "time"), None);
        profile.keep_tools("m", "time", b"[1]").unwrap();
        assert_eq!(profile.kept_tools("m", "time").as_deref(), Some(&b"[1]\n"[..]));
        assert!(profile.keep_tools("m", "../x", b"").is_err());
        assert_eq!(profile.kept_tools("../m", "time"), None);
    }
}
