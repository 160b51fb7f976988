//! What a session of this person remembers: `sessions/<mesh id>/<name>.json`, mode 0600.
//!
//! Contract: the file is read whole, changed under a lock that is held for that long only, and replaced in one step; so
//! several commands at once share a session. Reading mail takes a lock of its own for as long as it lasts: two readers of
//! one mailbox would each show what the other was sent. What is decided about the content is in [`memory`].

mod memory;

use std::fs::File;
use std::path::{Path, PathBuf};

use protocol::identity::SessionKey;

pub(crate) use memory::{Memory, Pin, SessionMemory};

use super::{Profile, corrupt, file};
use crate::error::CliError;

/// The folder in the configuration directory.
const DIRECTORY: &str = "sessions";

/// More than this is none: what a session remembers at its fullest, several times over.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The session that a person's commands share.
const SHARED: &str = "cli";

/// A session's file.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile {
    directory: PathBuf,
    name: String,
}

impl Profile {
    /// The session that a person's commands share in a mesh; made, with a key of its own, when there is none.
    pub(crate) fn session(&self, mesh_id: &str) -> Result<SessionFile, CliError> {
        let directory = self.directory.join(DIRECTORY).join(file_name(mesh_id)?);
        Ok(SessionFile { directory, name: SHARED.to_owned() })
    }
}

fn new_key() -> SessionKey {
    SessionKey::from_seed(&zeroize::Zeroizing::new(rand::random()))
}

/// Removes what the sessions of a mesh remember.
pub(super) fn forget(config: &Path, mesh_id: &str) -> Result<(), CliError> {
    let directory = config.join(DIRECTORY).join(file_name(mesh_id)?);
    for name in [format!("{SHARED}.json"), format!("{SHARED}.lock"), format!("{SHARED}.inbox.lock")] {
        file::remove(&directory.join(name))?;
    }
    // Others may have put their sessions there: a folder that is not empty stays.
    let _ = std::fs::remove_dir(directory);
    Ok(())
}

/// A broker's id as the name of a file: nothing that leads elsewhere.
pub(super) fn file_name(id: &str) -> Result<&str, CliError> {
    let plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if plain && id.len() <= 128 {
        Ok(id)
    } else {
        Err(CliError::failed("the mesh's id in config.json is none that a broker gives"))
    }
}

impl SessionFile {
    /// What is remembered now.
    pub(crate) fn read(&self) -> Result<Memory, CliError> {
        match file::read(&self.path(), MAX_BYTES)? {
            Some(bytes) => self.parse(&bytes),
            None => self.update(|memory| memory.clone()),
        }
    }

    /// Changes what is remembered, on top of what other commands remembered meanwhile.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> Result<T, CliError> {
        let _lock = file::lock(&self.directory, &format!("{}.lock", self.name))?;
        let path = self.path();
        let mut memory = match file::read(&path, MAX_BYTES)? {
            Some(bytes) => self.parse(&bytes)?,
            None => Memory::new(&new_key(), uuid::Uuid::now_v7()),
        };
        let result = change(&mut memory);
        let bytes = serde_json::to_vec(&memory)
            .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
        file::replace(&path, &zeroize::Zeroizing::new(bytes))?;
        Ok(result)
    }

    /// Makes another session of it, with another address; what it knows of others stays.
    pub(crate) fn renew(&self) -> Result<Memory, CliError> {
        self.update(|memory| {
            memory.renew(&new_key(), uuid::Uuid::now_v7());
            memory.clone()
        })
    }

    /// Takes the right to read this session's mail, until the lock is dropped.
    pub(crate) fn lock_inbox(&self) -> Result<File, CliError> {
        file::lock(&self.directory, &format!("{}.inbox.lock", self.name)).map_err(|error| match error.kind {
            crate::error::Kind::TimedOut => CliError::failed("another claudemesh reads these messages already")
                .hint("stop it first (inbox --follow)"),
            _ => error,
        })
    }

    fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.json", self.name))
    }

    fn parse(&self, bytes: &[u8]) -> Result<Memory, CliError> {
        Memory::parse(bytes).map_err(|error| corrupt(&self.path(), &error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn session() -> (tempfile::TempDir, SessionFile) {
        let directory = tempfile::tempdir().unwrap();
        let profile = Profile { directory: directory.path().join("config") };
        let file = profile.session("mesh-1").unwrap();
        (directory, file)
    }

    #[test]
    fn a_session_is_made_once_and_is_private() {
        let (_guard, file) = session();
        let (first, second) = (file.read().unwrap(), file.read().unwrap());
        assert_eq!(first.key().unwrap().public(), second.key().unwrap().public());
        assert_eq!(first.session_id(), second.session_id());
        let mode = std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn many_at_once_lose_nothing() {
        const WRITERS: u64 = 8;
        let (_guard, file) = session();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let file = &file;
                scope.spawn(move || file.update(|memory| memory.remember_sent(&format!("nonce-{writer}"))).unwrap());
            }
        });
        let memory = file.read().unwrap();
        for writer in 0..WRITERS {
            assert!(memory.nonces().is_sent(&format!("nonce-{writer}")), "{writer}");
        }
    }

    #[test]
    fn one_reads_the_mail_at_a_time() {
        let (_guard, file) = session();
        let held = file.lock_inbox().unwrap();
        assert!(file.lock_inbox().unwrap_err().message.contains("reads these messages already"));
        drop(held);
        file.lock_inbox().unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_alone_and_not_quoted() {
        let (_guard, file) = session();
        file.read().unwrap();
        std::fs::write(file.path(), "{\"seed\": \"5ecret\"").unwrap();
        let error = file.update(|_| ()).unwrap_err();
        assert!(error.message.contains("left as it is") && !error.message.contains("5ecret"), "{error}");
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "{\"seed\": \"5ecret\"");
    }

    #[test]
    fn an_id_that_leads_elsewhere_is_refused() {
        for id in ["", "..", "a/b", "a.b", "a\0"] {
            assert!(file_name(id).is_err(), "{id:?}");
        }
    }
}
