//! From an archive to a tree of plain files.
//!
//! **Contract.** All or nothing, and nothing outside `place`. Names are plain paths below it, each once; there are files
//! and folders and nothing else, with the executable bit and no other. What is bounded (bytes of a file, of all, what they
//! are to the archive's own, how many, how deep) is counted while it is written, whatever the headers say, and a header
//! that says something else is an error. An archive in which two entries share bytes is refused before any is read.
//!
//! A tree that is one folder and nothing beside it is that folder's content: so archives of repositories are made.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use zip::ZipArchive;
use zip::read::ZipFile;

use crate::prepare::error::PrepareError;
use crate::prepare::size;

/// Entries of one archive.
const MAX_ENTRIES: usize = 20_000;
/// Folders inside each other.
const MAX_DEPTH: usize = 32;
/// Bytes of a path.
const MAX_PATH_BYTES: usize = 1_024;
/// Bytes of one file, unpacked.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;
/// Bytes that all may become, for one of the archive's. Programs and their texts become three to twenty.
const MAX_RATIO: u64 = 100;
/// So much may come of any archive: small ones may be of zeros.
const SMALL: u64 = 16 * 1024 * 1024;
/// Written at a time; between two pieces the bounds are looked at.
const PIECE_BYTES: usize = 64 * 1024;
/// Longest end of an archive: its last record and a comment behind it.
const MAX_END_BYTES: u64 = 22 + 65_535 + 20;
/// Marks the archives for more and for larger files than these bounds let through.
const ZIP64_LOCATOR: &[u8] = b"PK\x06\x07";
/// What one desktop puts beside the files of others.
const BESIDE: &str = "__MACOSX";

/// What the mode of an entry says it is.
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const EXECUTABLE: u32 = 0o111;

/// What one archive may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) entries: usize,
    pub(super) file_bytes: u64,
    pub(super) bytes: u64,
    /// Bytes that any archive may become.
    pub(super) small: u64,
}

impl Bounds {
    /// Those of an archive in a build of `bounds`.
    pub(super) fn within(bounds: size::Bounds) -> Self {
        let entries = usize::try_from(bounds.files).unwrap_or(usize::MAX).min(MAX_ENTRIES);
        Self { entries, file_bytes: MAX_FILE_BYTES, bytes: bounds.bytes, small: SMALL }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// Unpacks `file` into the new folder `place`. Blocks; gives up soon after `stop` is set.
pub(super) fn unpack(
    mut file: File,
    place: &Path,
    bounds: Bounds,
    stop: &AtomicBool,
) -> Result<Unpacked, PrepareError> {
    let packed_bytes = plain_form(&mut file).map_err(|why| refused("the archive", why))?;
    let mut archive = ZipArchive::new(file).map_err(|error| refused("the archive", unreadable(&error)))?;
    if archive.len() > bounds.entries {
        return Err(PrepareError::TooLarge { bound: number(bounds.entries), unit: "entries of an archive" });
    }
    if archive.has_duplicate_names() {
        return Err(refused("the archive", "has two entries of one name"));
    }
    let shared = archive.has_overlapping_entries().map_err(|error| refused("the archive", unreadable(&error)))?;
    if shared {
        return Err(refused("the archive", "has entries that share bytes"));
    }
    fs::create_dir_all(place).map_err(PrepareError::disk("create", place))?;
    let limit = bounds.bytes.min(packed_bytes.saturating_mul(MAX_RATIO).max(bounds.small));
    let mut unpacking = Unpacking { place, bounds, limit, stop, done: Unpacked::default(), names: HashSet::new() };
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| refused(&format!("entry {index}"), unreadable(&error)))?;
        unpacking.entry(entry)?;
    }
    let done = unpacking.done;
    strip(place)?;
    Ok(done)
}

struct Unpacking<'a> {
    place: &'a Path,
    bounds: Bounds,
    /// Bytes of all files together.
    limit: u64,
    stop: &'a AtomicBool,
    done: Unpacked,
    names: HashSet<PathBuf>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: ZipFile<'_, File>) -> Result<(), PrepareError> {
        let name = String::from_utf8(entry.name_raw().to_vec())
            .map_err(|_| refused("an entry", "has a name that is not UTF-8"))?;
        let shown = shown(&name);
        let path = plain_path(&name).map_err(|why| refused(&shown, why))?;
        if path.starts_with(BESIDE) {
            return Ok(());
        }
        let folder = name.ends_with('/');
        let mode = entry.unix_mode().unwrap_or_default();
        let right_type = if folder { FOLDER } else { REGULAR };
        if entry.is_symlink() || ![0, right_type].contains(&(mode & TYPE_MASK)) {
            return Err(refused(&shown, "is neither a file nor a folder: links and devices are not unpacked"));
        }
        if !self.names.insert(path.clone()) {
            return Err(refused(&shown, "is there twice"));
        }
        let target = self.place.join(&path);
        if folder {
            return fs::create_dir_all(&target).map_err(PrepareError::disk("create", &target));
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(PrepareError::disk("create", parent))?;
        }
        let says = entry.size();
        let executable = mode & EXECUTABLE != 0;
        let bytes = self.write(entry, &target, executable, &shown)?;
        if bytes != says {
            return Err(refused(&shown, "has another size than its header says"));
        }
        self.done.files += 1;
        Ok(())
    }

    /// The bytes of one file, counted as they come.
    fn write(
        &mut self,
        mut from: impl Read,
        target: &Path,
        executable: bool,
        shown: &str,
    ) -> Result<u64, PrepareError> {
        let mode = if executable { 0o755 } else { 0o644 };
        let open = OpenOptions::new().create_new(true).write(true).mode(mode).open(target);
        let mut file = open.map_err(PrepareError::disk("create", target))?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut written = 0_u64;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(PrepareError::GivenUp { step: "unpacking the archive" });
            }
            let read = from.read(&mut piece).map_err(|error| refused(shown, format!("cannot be unpacked: {error}")))?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(written) };
            written = written.saturating_add(number(read));
            self.done.bytes = self.done.bytes.saturating_add(number(read));
            if written > self.bounds.file_bytes {
                return Err(PrepareError::TooLarge { bound: self.bounds.file_bytes, unit: "bytes of one file" });
            }
            if self.done.bytes > self.limit {
                return Err(PrepareError::TooLarge { bound: self.limit, unit: "unpacked bytes of this archive" });
            }
            file.write_all(bytes).map_err(PrepareError::disk("write", target))?;
        }
    }
}

/// The size of an archive of the plain form. One of the long form could announce more entries than its reader has memory
/// for.
fn plain_form(file: &mut File) -> Result<u64, &'static str> {
    let read = |file: &mut File| {
        let bytes = file.seek(SeekFrom::End(0))?;
        let mut end = Vec::new();
        file.seek(SeekFrom::Start(bytes.saturating_sub(MAX_END_BYTES)))?;
        Read::by_ref(file).take(MAX_END_BYTES).read_to_end(&mut end)?;
        Ok::<_, std::io::Error>((bytes, end))
    };
    let (bytes, end) = read(file).map_err(|_| "cannot be read")?;
    if end.windows(ZIP64_LOCATOR.len()).any(|window| window == ZIP64_LOCATOR) {
        return Err("is of the zip64 form, for more than can be taken: pack it anew, with less in it");
    }
    Ok(bytes)
}

/// The path that a name stands for, if it stands for one below the folder and for nothing else on any system.
fn plain_path(name: &str) -> Result<PathBuf, &'static str> {
    let name = name.strip_suffix('/').unwrap_or(name);
    if name.is_empty() || name.len() > MAX_PATH_BYTES {
        return Err("has no name, or one that is too long");
    }
    if name.chars().any(|c| c.is_control() || protocol::validate::is_hostile(c)) {
        return Err("has a control character in its name");
    }
    if name.contains('\\') || name.starts_with('/') || has_drive(name) {
        return Err("has a name that is no path inside the archive");
    }
    let parts: Vec<&str> = name.split('/').collect();
    if parts.iter().any(|part| part.is_empty() || matches!(*part, "." | "..")) {
        return Err("has a name that is no path inside the archive");
    }
    if parts.len() > MAX_DEPTH {
        return Err("lies too deep");
    }
    Ok(parts.iter().collect())
}

/// `C:` in front.
fn has_drive(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && chars.next() == Some(':')
}

/// Makes the one folder of a tree the tree.
fn strip(place: &Path) -> Result<(), PrepareError> {
    let disk = |what| PrepareError::disk(what, place);
    let entries = fs::read_dir(place).and_then(|entries| entries.take(2).collect::<Result<Vec<_>, _>>());
    let entries = entries.map_err(disk("read"))?;
    let [only] = entries.as_slice() else { return Ok(()) };
    if !only.file_type().is_ok_and(|kind| kind.is_dir()) {
        return Ok(());
    }
    let aside = place.with_extension("stripped");
    let moved =
        fs::rename(only.path(), &aside).and_then(|()| fs::remove_dir(place)).and_then(|()| fs::rename(&aside, place));
    moved.map_err(disk("move"))
}

fn refused(what: &str, why: impl Into<String>) -> PrepareError {
    PrepareError::Project { what: what.to_owned(), why: why.into() }
}

/// A name as it can be shown.
fn shown(name: &str) -> String {
    protocol::validate::cleaned(name).chars().take(80).collect::<String>().escape_debug().to_string()
}

fn unreadable(error: &zip::result::ZipError) -> String {
    format!("cannot be read: {}", protocol::validate::cleaned(&error.to_string()))
}

/// Lengths in memory fit 64 bits on every platform there is.
fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
