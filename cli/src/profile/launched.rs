//! The configuration directories of launched sessions: `launched/<id>/`, each with a `config.json` of its own.
//!
//! Contract: such a directory holds the one mesh that the session is for, with the member's key, and never an owner's
//! key. What sessions remember, the tools that were kept and the runners that were accepted are the person's own, by
//! links: a session that is taken up again finds its key, and a runner is not taken for a new one. The directory goes
//! with its session; one whose launcher died is swept by the next launch.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use protocol::config::{ClientConfig, MeshEntry, MessageMode, VERSION};
use protocol::wire::Group;
use serde_json::json;

use super::{FILE_NAME, MAX_BYTES, Profile, file};
use crate::claude::{Here, Launcher, Standing};
use crate::error::CliError;

/// The folder in the configuration directory.
const DIRECTORY: &str = "launched";
/// Says who launched.
const MARK: &str = "launcher.json";
/// What is the person's own, and not the session's.
const SHARED: [&str; 3] = ["sessions", "tools", "runners"];

/// What a launched session is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Its mesh.
    pub(crate) mesh: MeshEntry,
    /// The name that others see, where one was chosen.
    pub(crate) display_name: Option<String>,
    /// Its role, where one was chosen.
    pub(crate) role: Option<String>,
    /// The groups that it is in from its first moment.
    pub(crate) groups: Vec<Group>,
    /// How messages reach it, where that was chosen.
    pub(crate) message_mode: Option<MessageMode>,
}

impl Profile {
    /// Where the directory of a launched session would be.
    pub(crate) fn launched(&self, id: &str) -> PathBuf {
        self.all_launched().join(id)
    }

    /// Makes it.
    pub(crate) fn make_launched(&self, directory: &Path, launcher: &Launcher, told: &Told) -> Result<(), CliError> {
        let failed = |what: &Path, error: &dyn std::fmt::Display| {
            CliError::failed(format!("cannot make {}: {error}", what.display()))
        };
        file::directory(directory)?;
        // First, so that whatever follows can be swept.
        let mark = serde_json::to_vec(launcher).map_err(|error| failed(directory, &error))?;
        file::replace(&directory.join(MARK), &mark)?;
        for name in SHARED {
            let own = self.directory.join(name);
            file::directory(&own)?;
            let link = directory.join(name);
            // Where a launched session launches, the first link's end and not the link.
            let own = fs::canonicalize(&own).map_err(|error| failed(&own, &error))?;
            std::os::unix::fs::symlink(own, &link).map_err(|error| failed(&link, &error))?;
        }
        let bytes = serde_json::to_vec_pretty(&told.config()).map_err(|error| failed(directory, &error))?;
        file::replace(&directory.join(FILE_NAME), &zeroize::Zeroizing::new(bytes))
    }

    /// Removes the directories of sessions whose launcher is gone.
    pub(crate) fn sweep_launched(&self, here: &Here) {
        for directory in self.left_behind(here) {
            // What cannot be removed is tried again at the next launch.
            let _ = remove_launched(&directory);
        }
    }

    /// The directories of sessions whose launcher is gone.
    pub(crate) fn left_behind(&self, here: &Here) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.all_launched()).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|directory| is_left_behind(directory, here)).collect()
    }

    fn all_launched(&self) -> PathBuf {
        match self.directory.parent() {
            // We run in a launched session ourselves: beside it, since it goes with its launcher.
            Some(all) if self.directory.join(MARK).exists() => all.to_path_buf(),
            _ => self.directory.join(DIRECTORY),
        }
    }
}

/// Removes the directory of a launched session. Links go, and not what they lead to.
pub(crate) fn remove_launched(directory: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CliError::failed(format!("cannot remove {}: {error}", directory.display())))
        }
        _ => Ok(()),
    }
}

fn is_left_behind(directory: &Path, here: &Here) -> bool {
    let mark = file::read(&directory.join(MARK), MAX_BYTES).ok().flatten();
    let launcher = mark.and_then(|bytes| serde_json::from_slice::<Launcher>(&bytes).ok());
    launcher.is_some_and(|launcher| here.standing(&launcher) == Standing::Gone)
}

impl Told {
    fn config(&self) -> ClientConfig {
        let groups: Vec<_> = self.groups.iter().map(|group| json!(group)).collect();
        ClientConfig {
            version: VERSION,
            meshes: vec![self.mesh.clone()],
            display_name: self.display_name.clone(),
            role: self.role.clone(),
            groups: Some(groups).filter(|groups| !groups.is_empty()),
            message_mode: self.message_mode,
            extra: serde_json::Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::MetadataExt as _;

    use protocol::SecretString;

    use super::*;
    use crate::profile::{Accepted, Runners};

    fn told() -> Told {
        let mesh = MeshEntry {
            mesh_id: "m".into(),
            member_id: "p".into(),
            slug: "demo".into(),
            name: "Demo".into(),
            pubkey: "a".repeat(64),
            secret_key: SecretString::new("b".repeat(128)),
            broker_url: "ws://127.0.0.1:1/ws".into(),
            joined_at: String::new(),
            owner_pubkey: None,
            extra: serde_json::Map::new(),
        };
        let groups = vec![Group { name: "eng".into(), role: Some("lead".into()) }];
        Told { mesh, display_name: Some("Ana".into()), role: None, groups, message_mode: None }
    }

    #[test]
    fn a_launched_session_has_its_mesh_and_what_it_remembers_and_no_owner() {
        let root = tempfile::tempdir().unwrap();
        let profile = Profile { directory: root.path().to_owned() };
        fs::create_dir(root.path().join("owners")).unwrap();
        let directory = profile.launched("l1");
        profile.make_launched(&directory, &Here::now().launcher(), &told()).unwrap();
        let session = Profile { directory: directory.clone() };
        assert_eq!(session.read().unwrap(), told().config());
        assert_eq!(fs::metadata(directory.join(FILE_NAME)).unwrap().mode() & 0o777, 0o600);
        assert!(!directory.join("owners").exists());
        let key = session.session("m").unwrap().read().unwrap().key().unwrap().public();
        assert_eq!(profile.session("m").unwrap().read().unwrap().key().unwrap().public(), key);
        let accepted = Accepted { name: "local".into(), fingerprint: "f".repeat(64) };
        let accepted = Runners([("r".to_owned(), accepted)].into());
        session.accept_runners("m", &accepted).unwrap();
        assert_eq!(profile.runners("m").unwrap(), accepted, "a key that a session accepts is the person's to compare");
        // One that is launched from within lies beside it.
        assert_eq!(session.launched("l2"), profile.launched("l2"));
        remove_launched(&directory).unwrap();
        assert!(!directory.exists() && root.path().join("sessions/m/cli.json").exists());
    }

    #[test]
    fn what_a_dead_launcher_left_is_swept_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let profile = Profile { directory: root.path().to_owned() };
        let here = Here::now();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let mut dead = here.launcher();
        dead.pid = child.id();
        child.wait().unwrap();
        profile.make_launched(&profile.launched("dead"), &dead, &told()).unwrap();
        profile.make_launched(&profile.launched("live"), &here.launcher(), &told()).unwrap();
        profile.sweep_launched(&here);
        assert!(!profile.launched("dead").exists() && profile.launched("live").exists());
        assert!(root.path().join("sessions").is_dir());
    }
}
