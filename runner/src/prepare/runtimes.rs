//! Programs a source needs, found on the operator's `PATH`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::PrepareError;

/// A program by any of its names, and what to do when it is missing.
#[derive(Debug)]
pub(super) struct Needed {
    names: &'static [&'static str],
    hint: &'static str,
}

pub(super) const NODE: Needed = Needed { names: &["node"], hint: "install Node.js (version 18 or newer)" };
pub(super) const NPM: Needed = Needed { names: &["npm"], hint: "install npm, which comes with Node.js" };
pub(super) const UV: Needed = Needed { names: &["uv"], hint: "install uv, which installs Python packages" };
pub(super) const PYTHON: Needed =
    Needed { names: &["python3", "python"], hint: "install Python 3; interpreters are not downloaded" };

pub(super) const BUN: Needed = Needed { names: &["bun"], hint: "install Bun, or deploy with the runtime node" };
pub(super) const GIT: Needed = Needed { names: &["git"], hint: "install git, which fetches repositories" };

/// The first of the needed program's names that is on `path`.
pub(super) fn require(needed: &Needed, path: &OsStr) -> Result<PathBuf, PrepareError> {
    let found = needed.names.iter().find_map(|name| find(OsStr::new(name), path));
    found.ok_or_else(|| PrepareError::RuntimeMissing { what: needed.names.join(" or "), hint: needed.hint.to_owned() })
}

/// The absolute path of the executable called `name`. Relative entries of
/// `path` are skipped: they would mean something else in every directory.
pub(super) fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
}

pub(super) fn is_executable(file: &Path) -> bool {
    const ANY_EXECUTE_BIT: u32 = 0o111;
    file.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & ANY_EXECUTE_BIT != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;

    #[test]
    fn finds_the_first_executable_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let [plain, folder, real] = ["plain", "folder", "real"].map(|n| root.path().join(n));
        for directory in [&plain, &folder, &real] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(plain.join("node"), "").unwrap();
        fs::create_dir(folder.join("node")).unwrap();
        fs::write(real.join("node"), "").unwrap();
        fs::set_permissions(real.join("node"), fs::Permissions::from_mode(0o755)).unwrap();

        let path = std::env::join_paths([Path::new("."), &plain, &folder, &real]).unwrap();
        assert_eq!(require(&NODE, &path).unwrap(), real.join("node"));

        let missing = require(&PYTHON, &path).unwrap_err().to_string();
        assert!(missing.contains("python3 or python") && missing.contains("install Python 3"), "{missing}");
        assert_eq!(find(OsStr::new("node"), OsStr::new("")), None);
    }
}
