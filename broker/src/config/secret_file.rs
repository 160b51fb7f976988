//! Secrets in files: made once, for their owner's eyes.
//!
//! **Contract.** [`secret_file`] makes a file that is never readable by others, not for a moment, and
//! that is there whole or not at all; of several makers at once all get the same content. A file that
//! others may read, or that is somebody else's, is refused rather than repaired: its content must be
//! taken for known.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use protocol::SecretString;
use zeroize::Zeroizing;

/// A longer file is not one of ours.
pub const MAX_SECRET_FILE_BYTES: u64 = 4_096;

/// Why a secret file is not used.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The operating system refused a step.
    #[error("could not {step} the secret file {}", .path.display())]
    Io {
        /// What was tried.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "the secret file {} is open to others (mode {mode:03o}): make a new secret, or chmod 600 \
         if nobody can have read it", .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("the secret file {} belongs to user {uid}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It holds no secret.
    #[error("{} is not a secret file: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The secret in the file at `path`, which is made with what `generate` gives where it is absent.
///
/// # Errors
/// When the file is open to others, somebody else's, empty or too long, or the system refuses.
pub fn secret_file(path: &Path, generate: impl FnOnce() -> SecretString) -> Result<SecretString, SecretFileError> {
    if let Some(secret) = read_secret_file(path)? {
        return Ok(secret);
    }
    let secret = generate();
    match publish(path, secret.expose()) {
        Ok(()) => Ok(secret),
        // Another maker was faster: theirs counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read_secret_file(path)?
            .ok_or_else(|| SecretFileError::Unusable { path: path.to_path_buf(), reason: "it came and went" }),
        Err(source) => Err(SecretFileError::Io { step: "make", path: path.to_path_buf(), source }),
    }
}

/// The secret in the file at `path`, without a final line end; `None` where there is no file.
///
/// # Errors
/// As for [`secret_file`].
pub fn read_secret_file(path: &Path) -> Result<Option<SecretString>, SecretFileError> {
    let failed = |step| move |source| SecretFileError::Io { step, path: path.to_path_buf(), source };
    // A link could lead to a file of others; a pipe would make the open wait.
    let opened = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("open")(source)),
    };
    let unusable = |reason| SecretFileError::Unusable { path: path.to_path_buf(), reason };
    // Asked of the open file, so that it cannot be swapped in between.
    let facts = file.metadata().map_err(failed("look at"))?;
    if !facts.is_file() {
        return Err(unusable("it is not a regular file"));
    }
    if facts.uid() != nix::unistd::geteuid().as_raw() {
        return Err(SecretFileError::Foreign { path: path.to_path_buf(), uid: facts.uid() });
    }
    if facts.mode() & 0o077 != 0 {
        let mode = facts.mode() & 0o777;
        return Err(SecretFileError::Exposed { path: path.to_path_buf(), mode });
    }
    if facts.len() > MAX_SECRET_FILE_BYTES {
        return Err(unusable("it is too long"));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_SECRET_FILE_BYTES).read_to_string(&mut text).map_err(failed("read"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unusable("it is empty")),
        secret => Ok(Some(SecretString::from(secret))),
    }
}

/// Writes beside, then links into place: a link, unlike a rename, does not replace what is there.
fn publish(path: &Path, secret: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let published = file
        .write_all(secret.as_bytes())
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    // The name beside goes in any case; the first error is the one that counts.
    let removed = fs::remove_file(&beside);
    published?;
    removed?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;
    use std::sync::Barrier;

    use super::*;

    fn never() -> SecretString {
        panic!("a secret was generated although there is one")
    }

    #[test]
    fn it_is_made_once_and_read_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(read_secret_file(&path).unwrap(), None);
        let made = secret_file(&path, || SecretString::from("s3cret")).unwrap();
        assert_eq!(made.expose(), "s3cret");
        assert_eq!(secret_file(&path, never).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "something was left beside it");
    }

    #[test]
    fn makers_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let start = Barrier::new(8);
        let made: Vec<SecretString> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|at| {
                    let (path, start) = (&path, &start);
                    scope.spawn(move || {
                        start.wait();
                        secret_file(path, || SecretString::new(format!("maker {at}"))).unwrap()
                    })
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
        assert_eq!(secret_file(&path, never).unwrap(), made[0]);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::write(&path, "known").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = secret_file(&path, never).unwrap_err();
            assert!(matches!(error, SecretFileError::Exposed { mode: m, .. } if m == mode));
            assert_eq!(fs::read_to_string(&path).unwrap(), "known");
        }
    }

    #[test]
    fn what_is_no_secret_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let private = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let whole = private("whole", b"s3cret\n");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&whole, &link).unwrap();
        let long = private("long", &[b'x'; 5_000]);
        for path in [link, long, private("empty", b"\n"), private("bytes", &[0xff, 0xfe])] {
            assert!(secret_file(&path, never).is_err(), "{} passed", path.display());
        }
        assert!(secret_file(dir.path(), never).is_err());
        assert_eq!(secret_file(&whole, never).unwrap().expose(), "s3cret");
    }
}
