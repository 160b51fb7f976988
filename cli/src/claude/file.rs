//! Carries a change of one of the client's files out.
//!
//! Contract: ours take turns by a lock; the client is kept out by its own lock as far as it lets itself be. Against a
//! writer without any lock the file is read again just before it is replaced, and the replacement is an exchange: what
//! comes out of it is compared with what was read, and where somebody wrote in between, theirs is taken up and the
//! change made again on top of it. Mode and owner stay; a link stays a link. A file that is no JSON when looked at
//! again is left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::lock;
use crate::error::CliError;

/// More than this is no file of the client's.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How often a change is made anew because somebody else wrote meanwhile.
const CHANGE_TRIES: u32 = 50;
/// How often a file that is no JSON is looked at again: a writer in place may be half through.
const PARSE_TRIES: u32 = 10;
/// How long between two looks.
const PARSE_PAUSE: Duration = Duration::from_millis(20);
/// Links that are followed.
const MAX_LINKS: u32 = 16;
/// The mode of a file that we make: it may come to hold secrets.
const NEW_MODE: u32 = 0o600;

/// Changes the file at `path`; whether there was something to change. `edit` gets the text (an empty one if there is no
/// file) and returns the new one, or `None` to leave it. It may be asked several times.
pub(crate) fn change(
    path: &Path,
    edit: impl Fn(&str) -> Result<Option<String>, serde_json::Error>,
) -> Result<bool, CliError> {
    let target = followed(path)?;
    let directory = target.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).create(directory).map_err(|error| failed("create", directory, &error))?;
    let _ours = lock::ours(&target)?;
    let _theirs = lock::theirs(path);
    let mut change = Change { target: &target, base: None, expected: None };
    let mut parse_tries = 0;
    (change.base, change.expected) = fresh(&target)?;
    for _ in 0..CHANGE_TRIES {
        let after = match edit(change.base.as_deref().unwrap_or_default()) {
            Ok(after) => after.or_else(|| change.base.clone()),
            Err(error) if parse_tries == PARSE_TRIES => return Err(unreadable(path, &error)),
            Err(_) => {
                parse_tries += 1;
                thread::sleep(PARSE_PAUSE);
                (change.base, change.expected) = fresh(&target)?;
                continue;
            }
        };
        let Some(after) = after.filter(|after| Some(after) != change.expected.as_ref()) else {
            return Ok(false);
        };
        if change.put(&after)? {
            return Ok(true);
        }
    }
    Err(CliError::failed(format!("others keep writing {}; it was left as they have it", path.display()))
        .hint("close what writes it, and try again"))
}

/// A file's text as it is now, twice: to be changed, and to be found there again.
fn fresh(target: &Path) -> Result<(Option<String>, Option<String>), CliError> {
    let text = read(target)?;
    Ok((text.clone(), text))
}

/// A change under way.
struct Change<'a> {
    target: &'a Path,
    /// What it is made on top of.
    base: Option<String>,
    /// What is believed to be in the file.
    expected: Option<String>,
}

impl Change<'_> {
    /// Puts `after` in the place of what is expected there. False if something else was there: then the change has to
    /// be made on top of that.
    fn put(&mut self, after: &str) -> Result<bool, CliError> {
        let new = temporary(self.target, after)?;
        let put = self.put_file(&new, after);
        // Gone already if it was renamed; else it is ours to clear away, or what was exchanged for it.
        let _ = fs::remove_file(&new);
        put
    }

    fn put_file(&mut self, new: &Path, after: &str) -> Result<bool, CliError> {
        let now = read(self.target)?;
        if now != self.expected {
            (self.base, self.expected) = (now.clone(), now);
            return Ok(false);
        }
        let flags = if now.is_some() { RenameFlags::RENAME_EXCHANGE } else { RenameFlags::RENAME_NOREPLACE };
        match renameat2(AT_FDCWD, new, AT_FDCWD, self.target, flags) {
            Ok(()) => {}
            // It came, or went, in this moment: look again.
            Err(Errno::EEXIST | Errno::ENOENT) => {
                (self.base, self.expected) = fresh(self.target)?;
                return Ok(false);
            }
            // A file system without exchange: what was read a moment ago has to do.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                fs::rename(new, self.target).map_err(|error| failed("replace", self.target, &error))?;
                return self.settled();
            }
            Err(error) => return Err(failed("replace", self.target, &error.into())),
        }
        if flags == RenameFlags::RENAME_EXCHANGE {
            let out = read(new)?;
            if out != now {
                return self.give_back(new, after, out);
            }
        }
        self.settled()
    }

    /// Puts what somebody wrote in the last moment back at once: they may read it. What comes out is ours, or what yet
    /// another wrote on top of it: then that is what counts, and theirs is what has to be found when it is put in.
    fn give_back(&mut self, new: &Path, after: &str, theirs: Option<String>) -> Result<bool, CliError> {
        renameat2(AT_FDCWD, new, AT_FDCWD, self.target, RenameFlags::RENAME_EXCHANGE)
            .map_err(|error| failed("replace", self.target, &error.into()))?;
        let out = read(new)?;
        self.base = if out.as_deref() == Some(after) { theirs.clone() } else { out };
        self.expected = theirs;
        Ok(false)
    }

    /// So that a power cut does not undo it.
    fn settled(&self) -> Result<bool, CliError> {
        let directory = self.target.parent().unwrap_or(Path::new("/"));
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| failed("write", self.target, &error))?;
        Ok(true)
    }
}

/// The new text in a file beside the target, with the target's mode and owner, on disk.
fn temporary(target: &Path, text: &str) -> Result<PathBuf, CliError> {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{}.claudemesh-new", std::process::id()));
    let path = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        // What a crash left: the lock says that nobody writes it, and a number that was given out again says whose it
        // was.
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().create_new(true).write(true).mode(NEW_MODE).open(&path)?;
        match fs::metadata(target) {
            Ok(old) => {
                let new = file.metadata()?;
                if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
                    fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(failed("write beside", target, &error))
        }
    }
}

/// The file's text; `None` when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<String>, CliError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed("read", path, &error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        let most = MAX_BYTES / (1024 * 1024);
        return Err(CliError::failed(format!("{} is larger than {most} MiB; it was left as it is", path.display())));
    }
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| CliError::failed(format!("{} is no text; it was left as it is", path.display())))
}

/// Where a link leads to in the end, whether there is something or not.
fn followed(path: &Path) -> Result<PathBuf, CliError> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(to) => path = path.parent().unwrap_or(Path::new("/")).join(to),
            Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => return Ok(path),
            Err(error) => return Err(failed("read", &path, &error)),
        }
    }
    Err(CliError::failed(format!("{} is a link that leads nowhere", path.display())))
}

/// Says where the fault is, and not what stands there: it may be a secret.
pub(super) fn unreadable(path: &Path, error: &serde_json::Error) -> CliError {
    CliError::failed(format!(
        "cannot understand {} (line {}, column {}); it was left as it is",
        path.display(),
        error.line(),
        error.column()
    ))
    .hint("it has to be a JSON object, and mcpServers and hooks in it too: repair it or restore a copy")
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
