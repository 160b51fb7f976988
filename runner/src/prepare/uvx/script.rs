//! Which script of an installed distribution is the one to run, read from the
//! distribution's own records inside a virtual environment.

use std::fs;
use std::path::{Path, PathBuf};

use super::spec::normalise;
use crate::prepare::brought::{MANIFEST_BYTES, read as read_brought};
use crate::prepare::cache::Start;
use crate::prepare::error::PrepareError;

/// What is read of the list of a distribution's files: some have many.
const RECORD_BYTES: u64 = 64 * 1024 * 1024;

/// What an installed distribution says about itself.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::prepare) struct Distribution {
    /// The exact version, from its metadata.
    pub(in crate::prepare) version: String,
    /// Its scripts in the environment's `bin`, and how each is started.
    pub(in crate::prepare) scripts: Vec<(String, Start)>,
}

/// Reads the distribution called `name` in the environment `venv`; `None` when
/// there is none.
pub(in crate::prepare) fn read(venv: &Path, name: &str) -> Result<Option<Distribution>, PrepareError> {
    let Some((info, version)) = find_info(venv, name)? else {
        return Ok(None);
    };
    // Both files may be absent: a distribution without scripts, or one whose
    // installer left no record.
    let text = |name: &str, most| text(&info.join(name), most).unwrap_or_default();
    let (entry_points, record) = (text("entry_points.txt", MANIFEST_BYTES), text("RECORD", RECORD_BYTES));
    Ok(Some(Distribution { version, scripts: scripts(&entry_points, &record) }))
}

/// The module called like the package, if it can be run by `python -m`, and the file that says so, relative to the
/// environment.
pub(super) fn module(venv: &Path, name: &str) -> Result<Option<(String, PathBuf)>, PrepareError> {
    let module = normalise(name).replace('-', "_");
    for python in entries(&venv.join("lib"))? {
        let file = python.join("site-packages").join(&module).join("__main__.py");
        if let (true, Ok(file)) = (file.is_file(), file.strip_prefix(venv)) {
            return Ok(Some((module, file.to_owned())));
        }
    }
    Ok(None)
}

fn text(file: &Path, most: u64) -> Result<String, PrepareError> {
    let bytes = read_brought(file, most)?;
    String::from_utf8(bytes).map_err(|error| PrepareError::disk("read", file)(std::io::Error::other(error)))
}

fn find_info(venv: &Path, name: &str) -> Result<Option<(PathBuf, String)>, PrepareError> {
    let wanted = normalise(name);
    for python in entries(&venv.join("lib"))? {
        for info in entries(&python.join("site-packages"))? {
            if info.extension().is_none_or(|ending| ending != "dist-info") {
                continue;
            }
            let file = info.join("METADATA");
            let metadata = text(&file, MANIFEST_BYTES)?;
            if header(&metadata, "Name").is_some_and(|found| normalise(found) == wanted) {
                return Ok(header(&metadata, "Version").map(|version| (info, version.to_owned())));
            }
        }
    }
    Ok(None)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, PrepareError> {
    let failed = || PrepareError::disk("read", directory);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        paths.push(entry.map_err(failed())?.path());
    }
    Ok(paths)
}

/// A header of the metadata, which ends at the first empty line.
fn header<'a>(metadata: &'a str, name: &str) -> Option<&'a str> {
    metadata
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// Console scripts run under the environment's python; other files the
/// distribution put into `bin` (compiled programs, mostly) run as they are.
fn scripts(entry_points: &str, record: &str) -> Vec<(String, Start)> {
    let mut found: Vec<(String, Start)> = Vec::new();
    let mut console = false;
    for line in entry_points.lines().map(str::trim) {
        if line.starts_with('[') {
            console = line == "[console_scripts]";
        } else if let Some((name, _)) = line.split_once('=').filter(|_| console) {
            found.push((name.trim().to_owned(), Start::Python));
        }
    }
    for line in record.lines() {
        let file = line.split(',').next().unwrap_or_default();
        if let Some(name) = file.strip_prefix("../../../bin/")
            && !found.iter().any(|(known, _)| known == name)
        {
            found.push((name.to_owned(), Start::Direct));
        }
    }
    found.retain(|(name, _)| !name.is_empty() && !name.contains('/') && name != "..");
    found
}

/// The script called like the package, or else the only one.
pub(in crate::prepare) fn choose(distribution: &Distribution, package: &str) -> Result<(String, Start), PrepareError> {
    let wanted = normalise(package);
    let none = |why| PrepareError::NoBinary {
        package: package.to_owned(),
        why,
        found: distribution.scripts.iter().map(|(name, _)| name.clone()).collect(),
    };
    let named = distribution.scripts.iter().find(|(name, _)| normalise(name) == wanted);
    match (named, distribution.scripts.as_slice()) {
        (Some(script), _) | (None, [script]) => Ok(script.clone()),
        (None, []) => Err(none("it has no console script; it is a library")),
        (None, _) => Err(none("several scripts, and none is called like the package")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn distribution(scripts: &[(&str, Start)]) -> Distribution {
        Distribution {
            version: "1".to_owned(),
            scripts: scripts.iter().map(|(n, s)| ((*n).to_owned(), s.clone())).collect(),
        }
    }

    #[test]
    fn scripts_come_from_both_records() {
        let entry_points =
            "[gui_scripts]\nwin = a:b\n[console_scripts]\nmy-tool = pkg.cli:main\nother=x:y [extra]\n[x]\nz = 1\n";
        let record =
            "../../../bin/my-tool,sha256=x,1\n../../../bin/native,,\npkg/__init__.py,,\n../../../bin/../evil,,\n";
        let names: Vec<_> = scripts(entry_points, record);
        assert_eq!(
            names,
            [
                ("my-tool".to_owned(), Start::Python),
                ("other".to_owned(), Start::Python),
                ("native".to_owned(), Start::Direct),
            ]
        );
    }

    #[test]
    fn h46_what_a_distribution_says_is_not_read_through_a_link_or_from_a_pipe() {
        let venv = tempfile::tempdir().unwrap();
        let info = venv.path().join("lib/python3.11/site-packages/s-1.dist-info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("METADATA"), "Name: s\nVersion: 1\n").unwrap();
        std::os::unix::fs::symlink("/dev/zero", info.join("entry_points.txt")).unwrap();
        nix::unistd::mkfifo(&info.join("RECORD"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(venv.path(), "s").unwrap(), Some(distribution(&[])));
        fs::rename(info.join("METADATA"), info.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", info.join("METADATA")).unwrap();
        assert!(matches!(read(venv.path(), "s").unwrap_err(), PrepareError::Disk { .. }));
    }

    #[test]
    fn a_module_is_run_when_it_says_that_it_can_be() {
        let venv = tempfile::tempdir().unwrap();
        let site = venv.path().join("lib/python3.11/site-packages");
        fs::create_dir_all(site.join("my_server")).unwrap();
        fs::create_dir_all(site.join("silent")).unwrap();
        let file = "lib/python3.11/site-packages/my_server/__main__.py";
        fs::write(venv.path().join(file), "").unwrap();
        let found = module(venv.path(), "My.Server").unwrap();
        assert_eq!(found, Some(("my_server".to_owned(), file.into())));
        assert_eq!(module(venv.path(), "silent").unwrap(), None);
    }

    #[test]
    fn choice_table() {
        let table = [
            (vec![("my_server", Start::Python), ("x", Start::Python)], Ok("my_server")),
            (vec![("serve", Start::Python)], Ok("serve")),
            (vec![("My.Server", Start::Direct), ("x", Start::Python)], Ok("My.Server")),
            (vec![], Err("library")),
            (vec![("a", Start::Python), ("b", Start::Python)], Err("it has a, b")),
        ];
        for (scripts, expected) in table {
            match (choose(&distribution(&scripts), "my-server"), expected) {
                (Ok((name, _)), Ok(expected)) => assert_eq!(name, expected),
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{error}")
                }
                (got, expected) => panic!("{got:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn the_metadata_and_not_the_folder_gives_the_version() {
        let venv = tempfile::tempdir().unwrap();
        let site = venv.path().join("lib/python3.11/site-packages");
        for (folder, name, version) in
            [("other-1.dist-info", "other", "1"), ("my_server-9.dist-info", "My.Server", "2.0")]
        {
            fs::create_dir_all(site.join(folder)).unwrap();
            let text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nVersion: 7\n");
            fs::write(site.join(folder).join("METADATA"), text).unwrap();
        }
        assert_eq!(read(venv.path(), "my-server").unwrap().unwrap().version, "2.0");
        assert_eq!(read(venv.path(), "absent").unwrap(), None);
    }
}
