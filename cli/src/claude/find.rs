//! Finds programs and conversations.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::plan::project_folder;

/// A program by its name, as a shell finds it.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    program_in(&std::env::var_os("PATH")?, name)
}

fn program_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(name)).find(is_program)
}

/// The id of the conversation that the client would go on with in this directory.
pub(crate) fn last_conversation(projects: &Path, directory: &Path) -> Option<String> {
    let folder = projects.join(project_folder(directory.to_str()?));
    let entries = fs::read_dir(folder).ok()?.flatten();
    let kept = entries.filter_map(|entry| {
        let path = entry.path();
        let id = path.file_stem()?.to_str()?.to_owned();
        let is_one = path.extension()? == "jsonl" && uuid::Uuid::parse_str(&id).is_ok();
        Some((entry.metadata().ok()?.modified().ok()?, id)).filter(|_| is_one)
    });
    kept.max().map(|(_, id)| id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_program_is_a_file_that_may_run_in_a_folder_with_a_whole_name() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("tool"), "").unwrap();
        let path = std::env::join_paths([Path::new("."), root.path()]).unwrap();
        assert_eq!(program_in(&path, "tool"), None);
        fs::set_permissions(root.path().join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(program_in(&path, "tool"), Some(root.path().join("tool")));
    }

    #[test]
    fn the_last_conversation_is_the_newest_file_with_an_id() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("-w-x");
        fs::create_dir(&folder).unwrap();
        let ids = ["6f2c1c1e-0000-4000-8000-000000000001", "6f2c1c1e-0000-4000-8000-000000000002", "notes"];
        for (age, id) in [(10, ids[1]), (20, ids[0]), (0, ids[2])] {
            let file = fs::File::create(folder.join(format!("{id}.jsonl"))).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        assert_eq!(last_conversation(root.path(), Path::new("/w/x")).as_deref(), Some(ids[1]));
        assert_eq!(last_conversation(root.path(), Path::new("/w/y")), None);
    }
}
