//! The runner's own key: secrets are sealed for it, and it never leaves this machine.
//!
//! Contract: an X25519 pair, made once, in `runner_key` (64 hex digits, mode 0600). A file that is none is never replaced:
//! with it goes what is sealed for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use protocol::identity::{X25519Public, X25519Secret};
use zeroize::Zeroizing;

use crate::home::{HomeError, failed};

/// The file in the runner's data directory.
const FILE: &str = "runner_key";
/// While it is being made.
const STAGING: &str = "runner_key.new";
const KEY_BYTES: usize = 32;
/// More than this is no key.
const MAX_FILE_BYTES: u64 = 1_024;

/// Opens boxes. Cannot be printed.
#[derive(Clone, Debug)]
pub struct BoxKey(X25519Secret);

impl BoxKey {
    /// The key of the runner that lives in `dir`, if it has one.
    ///
    /// # Errors
    /// [`HomeError`] when the file is no key, or others may read it.
    pub fn read(dir: &Path) -> Result<Option<Self>, HomeError> {
        let path = dir.join(FILE);
        let damaged = |problem: &str| HomeError::Damaged { path: path.clone(), problem: problem.to_owned() };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(HomeError::Io { what: "read", path, source }),
        };
        let meta = file.metadata().map_err(failed("read", &path))?;
        if meta.permissions().mode() & 0o077 != 0 || meta.uid() != nix::unistd::geteuid().as_raw() {
            return Err(HomeError::NotPrivate { path, problem: "holds a secret key and is not its owner's alone" });
        }
        let mut text = Zeroizing::new(String::new());
        let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
        read.map_err(|_| damaged("it is not text"))?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        let decoded = hex::decode_to_slice(text.trim_end(), bytes.as_mut_slice());
        // The decoder's words could quote a digit.
        decoded.map_err(|_| damaged("it is not 64 hex digits"))?;
        Ok(Some(Self(X25519Secret::from_bytes(&bytes))))
    }

    /// The same, made if there is none. Called under the directory's lock.
    ///
    /// # Errors
    /// As [`BoxKey::read`], and when it cannot be stored.
    pub(crate) fn read_or_make(dir: &Path) -> Result<Self, HomeError> {
        if let Some(key) = Self::read(dir)? {
            // A kill between the link and its end left the secret a second name.
            drop(fs::remove_file(dir.join(STAGING)));
            return Ok(key);
        }
        let bytes = Zeroizing::new(rand::random::<[u8; KEY_BYTES]>());
        let text = Zeroizing::new(hex::encode(bytes.as_slice()));
        let (staging, path) = (dir.join(STAGING), dir.join(FILE));
        write(&staging, &text).map_err(failed("write", &staging))?;
        // Not over one that is there: a link fails where a rename would replace.
        fs::hard_link(&staging, &path).map_err(failed("write", &path))?;
        fs::remove_file(&staging).map_err(failed("remove", &staging))?;
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("write", &path))?;
        Ok(Self(X25519Secret::from_bytes(&bytes)))
    }

    /// The public half, which everybody may know.
    #[must_use]
    pub fn public(&self) -> X25519Public {
        self.0.public()
    }

    pub(crate) fn secret(&self) -> &X25519Secret {
        &self.0
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn it_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(BoxKey::read(dir.path()).unwrap().is_none());
        let made = BoxKey::read_or_make(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(BoxKey::read_or_make(dir.path()).unwrap().public(), made.public());
        assert_eq!(BoxKey::read(dir.path()).unwrap().unwrap().public(), made.public());
        assert!(!dir.path().join(STAGING).exists());
        fs::set_permissions(dir.path().join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(BoxKey::read(dir.path()), Err(HomeError::NotPrivate { .. })));
    }

    #[test]
    fn h48_a_damaged_key_says_so_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        write(&path, "00ff").unwrap();
        let error = BoxKey::read_or_make(dir.path()).unwrap_err().to_string();
        assert!(error.contains("runner_key is damaged") && !error.contains("00ff"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "00ff");
    }
}
