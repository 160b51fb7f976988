//! The effects: read within a bound, lock, replace atomically, look at permissions.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::CliError;

/// How long another command may hold the lock. A write takes milliseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The file's content; `None` when there is none. One of more than `most` bytes is not the file that it should be.
pub(super) fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>, CliError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("read", path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| io_error("read", path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        return Err(CliError::failed(format!("{} is larger than {most} bytes; it was left as it is", path.display())));
    }
    Ok(Some(bytes))
}

/// Whether group or others may read or write the file.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// Makes a directory that only its owner can enter.
pub(super) fn directory(directory: &Path) -> Result<(), CliError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| io_error("create", directory, &error))
}

/// Takes a lock in a directory, and makes the directory first. Held until the file is dropped. The lock is on a file of
/// its own: what it guards is replaced by every write.
pub(super) fn lock(within: &Path, name: &str) -> Result<File, CliError> {
    let path = within.join(name);
    let file = open_lock(within, &path)?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::timed_out(format!(
                    "another claudemesh has held {} for {} s",
                    path.display(),
                    LOCK_WAIT.as_secs()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &path, &error)),
        }
    }
}

/// The same without waiting; none while another has it.
pub(super) fn try_lock(within: &Path, name: &str) -> Result<Option<File>, CliError> {
    let path = within.join(name);
    let file = open_lock(within, &path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, &error)),
    }
}

fn open_lock(within: &Path, path: &Path) -> Result<File, CliError> {
    directory(within)?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error("open", path, &error))
}

/// Replaces the file in one step, so that a reader or a power cut sees the old or the new one, whole. Mode 0600 from
/// its first byte on.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), CliError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    // A leftover of a crash: the lock says that nobody is writing it.
    remove(temporary)?;
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(temporary)?;
        file.write_all(bytes)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(temporary, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error| io_error("write", path, &error))
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> Result<(), CliError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", path, &error)),
        _ => Ok(()),
    }
}

/// Removes a folder with all in it; one that is not there is removed already.
pub(super) fn remove_all(directory: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error("remove", directory, &error)),
        _ => Ok(()),
    }
}

/// Clears away files of these names that were not written for longer than that. What cannot be removed is tried again the
/// next time.
pub(super) fn sweep(directory: &Path, after: Duration, is_meant: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = modified.and_then(|then| then.elapsed().ok()).unwrap_or_default();
        if age > after && entry.file_name().to_str().is_some_and(&is_meant) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn io_error(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot {what} {}: {error}", path.display()))
}
