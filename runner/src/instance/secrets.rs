//! The secret files of one process: where they are, and that they are gone when it is.
//!
//! Contract: with a mount namespace they are in memory and in sight of that process set alone, and where they were asked
//! for if that place can be made; the kernel takes them away with the set. Without one they are files of mode 0400 in a
//! private folder, removed when the process is gone, and when the runner starts. The variable always names where it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use protocol::sealed::{SealedError, SecretFile};

use crate::process::{HiddenFile, HiddenFiles, Level, MAX_COVERED_ENTRIES};

/// Places that are the kernel's.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The files of a process that is about to start.
pub(super) struct Laid {
    /// What its variables say.
    pub(super) env: BTreeMap<OsString, OsString>,
    /// What is mounted for it; none without a mount namespace.
    pub(super) mounted: Option<HiddenFiles>,
    /// Those that cannot be where they were asked for: the variable and the path.
    pub(super) elsewhere: Vec<(String, String)>,
    _written: Option<Written>,
}

/// Removes what was written when the process is gone.
struct Written(PathBuf);

impl Drop for Written {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::error!(path = %self.0.display(), %error, "secret files cannot be removed");
        }
    }
}

impl Laid {
    /// `dir` is this process's alone.
    pub(super) fn new(files: &[SecretFile], dir: &Path, level: Level) -> Result<Self, String> {
        let mut laid = Self { env: BTreeMap::new(), mounted: None, elsewhere: Vec::new(), _written: None };
        if files.is_empty() {
            return Ok(laid);
        }
        match level {
            Level::Namespace => laid.mount(files, dir).map_err(|error| error.to_string())?,
            Level::Guard => laid.write(files, dir)?,
        }
        Ok(laid)
    }

    fn mount(&mut self, files: &[SecretFile], dir: &Path) -> Result<(), SealedError> {
        let mut hidden = Vec::new();
        for file in files {
            let shown_at = Some(PathBuf::from(&file.path)).filter(|path| can_be_shown(path));
            let at = shown_at.clone().unwrap_or_else(|| dir.join(&file.var));
            if shown_at.is_none() {
                self.elsewhere.push((file.var.clone(), file.path.clone()));
            }
            self.env.insert(file.var.clone().into(), at.into());
            hidden.push(HiddenFile { name: file.var.clone(), shown_at, content: file.bytes()? });
        }
        self.mounted = Some(HiddenFiles { dir: dir.to_owned(), files: hidden });
        Ok(())
    }

    fn write(&mut self, files: &[SecretFile], dir: &Path) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot write its secret files: {error}");
        let written = Written(dir.to_owned());
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(failed)?;
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        self._written = Some(written);
        for file in files {
            let path = dir.join(&file.var);
            let mut open = OpenOptions::new().create_new(true).write(true).mode(0o400).open(&path).map_err(failed)?;
            let bytes = file.bytes().map_err(|error| error.to_string())?;
            open.write_all(&bytes).map_err(failed)?;
            self.env.insert(file.var.clone().into(), path.into());
            self.elsewhere.push((file.var.clone(), file.path.clone()));
        }
        Ok(())
    }
}

/// Whether a file can be mounted there: over a file, or in a folder that a cover can stand for.
fn can_be_shown(path: &Path) -> bool {
    if KERNELS.iter().any(|kernels| path.starts_with(kernels)) || path.is_dir() {
        return false;
    }
    let nearest = path.ancestors().skip(1).find(|above| above.exists());
    path.exists() || nearest.is_some_and(|nearest| nearest != Path::new("/") && can_be_covered(nearest))
}

/// Whether it is a folder that may be listed and is not too full to be stood for.
fn can_be_covered(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.take(MAX_COVERED_ENTRIES + 1).count() <= MAX_COVERED_ENTRIES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn h25_without_a_mount_namespace_they_are_private_files_and_go_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("secrets/d-1/shared");
        let files = [SecretFile::new("KEY", "/run/key", b"planted")];
        let laid = Laid::new(&files, &place, Level::Guard).unwrap();
        let path = place.join("KEY");
        assert_eq!(laid.env.get(std::ffi::OsStr::new("KEY")), Some(&path.clone().into_os_string()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read(&path).unwrap(), b"planted");
        drop(laid);
        assert!(!place.exists());
    }

    #[test]
    fn places_that_nothing_can_be_mounted_at_are_told_apart() {
        for path in ["/no-such-file-here", "/no-such/folder/here", "/proc/1/key", "/dev/key", "/etc"] {
            assert!(!can_be_shown(Path::new(path)), "{path}");
        }
        let empty = tempfile::tempdir().unwrap();
        let deep = empty.path().join("a/b/c");
        for path in [Path::new("/etc/hostname-of-a-secret"), &deep, Path::new("/etc/passwd")] {
            assert!(can_be_shown(path), "{path:?}");
        }
        let full = tempfile::tempdir().unwrap();
        for number in 0..=MAX_COVERED_ENTRIES {
            fs::write(full.path().join(number.to_string()), "").unwrap();
        }
        assert!(!can_be_shown(&full.path().join("key")), "a folder that is too full to be covered");
        assert!(can_be_shown(&full.path().join("0")), "a file that is there needs no cover");
    }
}
