//! Where the programs are that a tree names.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::inside;
use crate::prepare::error::PrepareError;
use crate::prepare::runtimes;

/// The program of a build command: a name that is on `path`, or a file of the tree, named from `folder`.
pub(super) fn locate(tree: &Path, folder: &Path, program: &str, path: &OsStr) -> Result<PathBuf, PrepareError> {
    let wrong = |why: String| PrepareError::invalid("build_command", why);
    if !program.contains('/') {
        return runtimes::find(OsStr::new(program), path).ok_or_else(|| PrepareError::RuntimeMissing {
            what: program.to_owned(),
            hint: "the build command needs it; install it, or have the project bring it".to_owned(),
        });
    }
    let file = inside(tree, &folder.join(program));
    let file = file.ok_or_else(|| wrong(format!("{program} is no file of the tree")))?;
    if runtimes::is_executable(&file) {
        return Ok(file);
    }
    Err(wrong(format!("{program} is not an executable file")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_build_runs_what_is_on_the_path_or_in_the_tree() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("packages/a");
        fs::create_dir_all(&folder).unwrap();
        let [script, plain] = ["build.sh", "plain"].map(|name| folder.join(name));
        fs::write(&script, "#!/bin/sh\n").unwrap();
        fs::write(plain, "").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/bin/sh", folder.join("sh")).unwrap();
        let locate = |program: &str| locate(root.path(), &folder, program, OsStr::new("/usr/bin:/bin"));
        assert_eq!(locate("./build.sh").unwrap(), fs::canonicalize(&script).unwrap());
        assert!(locate("sh").unwrap().is_absolute());
        for (program, words) in [
            ("./gone", "no file"),
            ("./sh", "no file"),
            ("./plain", "not an executable"),
            ("no-such-tool", "install it"),
        ] {
            let error = locate(program).unwrap_err().to_string();
            assert!(error.contains(words), "{program}: {error}");
        }
    }
}
