//! A folder as a zip archive: the same files give the same bytes, whoever packs them and when.
//!
//! Left out are what a repository keeps of itself and what an installation brings again ([`LEFT_OUT`]). A link is an error:
//! the runner takes none.

use std::fs::{self, File};
use std::io::{Cursor, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::too_large;
use crate::error::CliError;
use crate::text;

/// Folders that are never packed, wherever they are.
const LEFT_OUT: [&str; 4] = [".git", "node_modules", ".venv", "__pycache__"];
/// Files of one archive: as many as a runner takes.
const MAX_FILES: usize = 20_000;
/// Folders inside each other.
const MAX_DEPTH: usize = 32;
/// Read at a time; between two pieces the size is looked at.
const PIECE_BYTES: u64 = 1024 * 1024;

/// Bytes that are read for one that may be sent; more would hardly fit, and need not be tried.
const MAX_RATIO: u64 = 8;

/// Packs a folder into at most `max` bytes.
pub(super) fn folder(root: &Path, max: u64) -> Result<Vec<u8>, CliError> {
    let mut files = Vec::new();
    list(root, Path::new(""), 0, &mut files)?;
    if files.is_empty() {
        return Err(CliError::usage(format!("{} holds no file to pack", shown(root))));
    }
    files.sort();
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut read_bytes = 0;
    for file in files {
        add(&mut writer, root, &file, &mut read_bytes, max)?;
    }
    let packed = writer.finish().map_err(|error| cannot("pack", root, &error))?.into_inner();
    if u64::try_from(packed.len()).unwrap_or(u64::MAX) > max { Err(too_large(&shown(root))) } else { Ok(packed) }
}

/// Every file below `folder`, as paths from the root.
fn list(root: &Path, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let place = root.join(folder);
    if depth > MAX_DEPTH {
        return Err(CliError::usage(format!("{} lies too deep to be packed", shown(&place))));
    }
    for entry in fs::read_dir(&place).map_err(|error| cannot("read", &place, &error))? {
        let entry = entry.map_err(|error| cannot("read", &place, &error))?;
        let (path, kind) = (folder.join(entry.file_name()), entry.file_type());
        let kind = kind.map_err(|error| cannot("read", &entry.path(), &error))?;
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                list(root, &path, depth + 1, files)?;
            }
        } else if kind.is_file() {
            if files.len() >= MAX_FILES {
                return Err(CliError::usage(format!("{} holds more than {MAX_FILES} files", shown(root))));
            }
            files.push(path);
        } else {
            return Err(CliError::usage(format!(
                "{} is a link or a device, and cannot be packed",
                shown(&entry.path())
            ))
            .hint("put the file itself there, or name a .zip that you packed"));
        }
    }
    Ok(())
}

fn add(
    writer: &mut ZipWriter<Cursor<Vec<u8>>>,
    root: &Path,
    file: &Path,
    read_bytes: &mut u64,
    max: u64,
) -> Result<(), CliError> {
    let place = root.join(file);
    let name =
        file.to_str().ok_or_else(|| CliError::usage(format!("{} has a name that is not UTF-8", shown(&place))))?;
    let mut open = File::open(&place).map_err(|error| cannot("read", &place, &error))?;
    let facts = open.metadata().map_err(|error| cannot("read", &place, &error))?;
    let mode = if facts.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(mode);
    writer.start_file(name, options).map_err(|error| cannot("pack", &place, &error))?;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        let read = (&mut open).take(PIECE_BYTES).read_to_end(&mut piece);
        if read.map_err(|error| cannot("read", &place, &error))? == 0 {
            return Ok(());
        }
        writer.write_all(&piece).map_err(|error| cannot("pack", &place, &error))?;
        *read_bytes = read_bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if *read_bytes > max.saturating_mul(MAX_RATIO) {
            return Err(too_large(&shown(root)));
        }
    }
}

fn shown(path: &Path) -> String {
    text::line(&path.display().to_string())
}

fn cannot(what: &str, path: &Path, error: &dyn std::fmt::Display) -> CliError {
    CliError::usage(format!("cannot {what} {}: {error}", shown(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const MAX: u64 = 1 << 20;

    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("b/run", "#!/bin/sh"),
            ("a", "x"),
            (".git/config", "secret"),
            ("b/node_modules/m/index.js", "m"),
            ("b/__pycache__/c.pyc", "c"),
        ] {
            let place = root.path().join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        fs::set_permissions(root.path().join("b/run"), fs::Permissions::from_mode(0o700)).unwrap();
        root
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, two) = (project(), project());
        let packed = folder(one.path(), MAX).unwrap();
        assert_eq!(packed, folder(two.path(), MAX).unwrap());
        let mut archive = zip::ZipArchive::new(Cursor::new(&packed)).unwrap();
        let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a", "b/run"], "sorted, and without what is brought again");
        assert_eq!(archive.by_index(1).unwrap().unix_mode().unwrap() & 0o777, 0o755);
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let root = project();
        assert!(folder(root.path(), 10).unwrap_err().message.contains("larger"));
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        let error = folder(root.path(), MAX).unwrap_err();
        assert!(error.message.contains("link") && error.hint.is_some(), "{error}");
        let empty = tempfile::tempdir().unwrap();
        assert!(folder(empty.path(), MAX).unwrap_err().message.contains("no file"));
    }
}
