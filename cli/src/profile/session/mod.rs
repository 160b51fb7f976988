//! What a session of this person remembers: `sessions/<mesh id>/<name>.json`, mode 0600.
//!
//! Contract: the file is read whole, changed under a lock that is held for that long only, and replaced in one step; so
//! several commands at once share a session. Reading mail takes a lock of its own for as long as it lasts: two readers of
//! one mailbox would each show what the other was sent. What is decided about the content is in [`memory`].

mod memory;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// Stands before the id in the name of a session that has one of its own.
const OWN: &str = "session-";

/// A session of its own that nobody took up for so long is forgotten: longer than any message waits for it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 24 * 3_600);

/// A session's file.
#[derive(Debug, Clone)]
pub(crate) struct SessionFile {
    directory: PathBuf,
    name: String,
    /// The id of a session that brings one.
    id: Option<String>,
}

impl Profile {
    /// The session that a person's commands share in a mesh; made, with a key of its own, when there is none.
    pub(crate) fn session(&self, mesh_id: &str) -> Result<SessionFile, CliError> {
        let directory = self.directory.join(DIRECTORY).join(file_name(mesh_id)?);
        Ok(SessionFile { directory, name: SHARED.to_owned(), id: None })
    }

    /// The session with this id: whoever names it again has the same key, and so the same address. Others that were not
    /// taken up for long are cleared away.
    pub(crate) fn own_session(&self, mesh_id: &str, id: &str) -> Result<SessionFile, CliError> {
        let directory = self.directory.join(DIRECTORY).join(file_name(mesh_id)?);
        let bad = |_| CliError::usage("CLAUDEMESH_SESSION_ID is no session's id: letters, digits, - and _");
        let name = format!("{OWN}{}", file_name(id).map_err(bad)?);
        file::sweep(&directory, FORGOTTEN_AFTER, |name| name.starts_with(OWN));
        Ok(SessionFile { directory, name, id: Some(id.to_owned()) })
    }
}

fn new_key() -> SessionKey {
    SessionKey::from_seed(&zeroize::Zeroizing::new(rand::random()))
}

/// Removes what the sessions of a mesh remember.
pub(super) fn forget(config: &Path, mesh_id: &str) -> Result<(), CliError> {
    let directory = config.join(DIRECTORY).join(file_name(mesh_id)?);
    let ours = |name: &str| name.starts_with(OWN) || name.split('.').next() == Some(SHARED);
    for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(ours) {
            file::remove(&entry.path())?;
        }
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
            None => Memory::new(&new_key(), self.new_id()),
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
            memory.renew(&new_key(), self.new_id());
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

    /// Takes the right to be this session, unless another process has it.
    pub(crate) fn try_lock(&self) -> Result<Option<File>, CliError> {
        file::try_lock(&self.directory, &format!("{}.inbox.lock", self.name))
    }

    /// Removes the file, and all that the session remembers with it.
    pub(crate) fn remove(&self) -> Result<(), CliError> {
        for kind in ["json", "lock", "inbox.lock"] {
            file::remove(&self.directory.join(format!("{}.{kind}", self.name)))?;
        }
        Ok(())
    }

    fn new_id(&self) -> String {
        self.id.clone().unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
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
    fn a_session_with_an_id_of_its_own_keeps_its_key_and_is_one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let profile = Profile { directory: directory.path().join("config") };
        let file = profile.own_session("mesh-1", "a-1").unwrap();
        let first = file.read().unwrap();
        assert_eq!(first.session_id(), "a-1");
        let again = profile.own_session("mesh-1", "a-1").unwrap().read().unwrap();
        assert_eq!(again.key().unwrap().public(), first.key().unwrap().public());
        let other = profile.own_session("mesh-1", "a-2").unwrap().read().unwrap();
        assert_ne!(other.key().unwrap().public(), first.key().unwrap().public());
        assert!(profile.own_session("mesh-1", "../a").is_err());
        let held = file.try_lock().unwrap().unwrap();
        assert!(file.try_lock().unwrap().is_none());
        drop(held);
        assert!(file.try_lock().unwrap().is_some());
        file.remove().unwrap();
        assert!(!file.path().exists());
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
