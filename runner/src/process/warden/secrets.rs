//! The secret files of a program: in memory, in its namespace, and nowhere else.
//!
//! They lie in a small file system of their own ([`lay`]), each of them read-only; one that was asked for at another path
//! is shown there too ([`show`]). Where that path does not exist, the nearest folder that does is covered with one that
//! holds the same things and can be added to: the machine's own folder is never written to.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};

use super::super::wire::{MAX_COVERED_ENTRIES, Secrets, Step, Trouble};
use super::sys;

/// Room for what a program adds to a folder that was covered.
const COVER_OPTIONS: &str = "size=64m,nr_inodes=16384";
const PAGE: usize = 4_096;
const INERT: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// Writes the files into memory at their own folder.
pub(super) fn lay(secrets: &Secrets) -> Result<(), Trouble> {
    let dir = Path::new(&secrets.dir);
    let failed = |error: std::io::Error| Trouble::io(Step::Secrets, dir, &error);
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let pages: usize = secrets.files.iter().map(|file| file.content.len().div_ceil(PAGE) + 1).sum();
    let options = format!("mode=0700,size={},nr_inodes={}", (pages + 1) * PAGE, secrets.files.len() + 2);
    mount(Some("secrets"), dir, Some("tmpfs"), INERT, Some(options.as_str()))
        .map_err(|errno| Trouble::at(Step::Secrets, dir, errno))?;
    for file in &secrets.files {
        let open = OpenOptions::new().create_new(true).write(true).mode(0o400).open(dir.join(&file.name));
        open.and_then(|mut open| open.write_all(&file.content)).map_err(failed)?;
    }
    read_only(dir)
}

/// Shows them where they were asked for.
pub(super) fn show(secrets: &Secrets) -> Result<(), Trouble> {
    let mut covered: Vec<PathBuf> = Vec::new();
    for file in &secrets.files {
        let Some(at) = file.shown_at.as_deref().map(Path::new) else { continue };
        if !at.exists() {
            make_mount_point(at, &mut covered)?;
        }
        bind(&Path::new(&secrets.dir).join(&file.name), at)?;
        read_only(at)?;
    }
    Ok(())
}

fn make_mount_point(at: &Path, covered: &mut Vec<PathBuf>) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::io(Step::Secrets, at, &error);
    let nearest = at.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    if !covered.iter().any(|cover| nearest.starts_with(cover)) {
        cover(nearest)?;
        covered.push(nearest.to_owned());
    }
    let parent = at.parent().unwrap_or(nearest);
    DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failed)?;
    File::create(at).map(drop).map_err(failed)
}

/// Puts a folder in memory over one of the machine, with all that is in it.
fn cover(folder: &Path) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::io(Step::Secrets, folder, &error);
    if folder == Path::new("/") {
        return Err(Trouble::at(Step::Secrets, folder, Errno::EPERM));
    }
    let below = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder);
    let below = below.map_err(failed)?;
    let seen = PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd()));
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode() & 0o7777;
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(failed)?;
    if entries.len() > MAX_COVERED_ENTRIES {
        return Err(Trouble::at(Step::Secrets, folder, Errno::E2BIG));
    }
    let options = format!("mode={mode:04o},{COVER_OPTIONS}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("cover"), folder, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|errno| Trouble::at(Step::Secrets, folder, errno))?;
    for entry in entries {
        let (from, to) = (seen.join(entry.file_name()), folder.join(entry.file_name()));
        again(&from, &to).map_err(failed)??;
    }
    Ok(())
}

/// The same thing once more: a link anew, everything else by a mount.
fn again(from: &Path, to: &Path) -> std::io::Result<Result<(), Trouble>> {
    let kind = match fs::symlink_metadata(from) {
        Ok(meta) => meta.file_type(),
        // Gone meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Ok(())),
        Err(error) => return Err(error),
    };
    if kind.is_symlink() {
        return symlink(fs::read_link(from)?, to).map(Ok);
    }
    if kind.is_dir() {
        fs::create_dir(to)?
    } else {
        File::create(to).map(drop)?
    }
    Ok(bind(from, to))
}

fn bind(from: &Path, to: &Path) -> Result<(), Trouble> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(from), to, None::<&str>, flags, None::<&str>).map_err(|errno| Trouble::at(Step::Secrets, to, errno))
}

fn read_only(path: &Path) -> Result<(), Trouble> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    let opened = opened.map_err(|error| Trouble::io(Step::Secrets, path, &error))?;
    sys::make_read_only(opened.as_fd(), false)
        .map_err(|errno| Trouble::at(Step::Secrets, AsRef::<OsStr>::as_ref(path), errno))
}
