//! What a program at level `namespace` sees of the file system: everything but
//! other processes and the hidden directories, and in those only what is shown.

use std::ffi::{OsStr, OsString};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::super::command::Access;
use super::super::wire::{Secrets, Step, Trouble};
use super::{secrets, sys};

/// The cover of a hidden directory holds mount points and nothing else.
const COVER_OPTIONS: &str = "mode=0755,size=64k,nr_inodes=4096";

/// What is done at one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Hide,
    /// Shows the path that was opened under this number before.
    Show(usize, Access),
}

/// Runs as pid 1 of the namespace, before the program exists.
pub(super) fn arrange(
    hidden: &[OsString],
    visible: &[(OsString, Access)],
    files: Option<&Secrets>,
) -> Result<(), Trouble> {
    detach()?;
    // Opened while all can be seen; an open path outlives its being covered.
    let shown = visible.iter().map(|(path, _)| open_path(path, Step::Show)).collect::<Result<Vec<_>, _>>()?;
    for path in hidden {
        // What does not exist could appear later, uncovered.
        open_path(path, Step::Hide)?;
    }
    let mut covers = Vec::new();
    for (path, action) in plan(hidden, visible) {
        match action {
            Action::Hide => covers.extend(hide(path)?),
            Action::Show(number, access) => {
                if let Some(source) = shown.get(number) {
                    show(source, path, access)?;
                }
            }
        }
    }
    files.map_or(Ok(()), secrets::lay)?;
    // Because the mount points had to be made in them.
    for (path, cover) in covers {
        sys::make_read_only(cover.as_fd(), false).map_err(|errno| Trouble::at(Step::Hide, path, errno))?;
    }
    // Last: what is covered for them is covered as it is to be seen.
    files.map_or(Ok(()), secrets::show)
}

/// Own mounts, nothing of which reaches the host, and an own `/proc`.
fn detach() -> Result<(), Trouble> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| Trouble::new(Step::Mounts, errno))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).map_err(|errno| Trouble::new(Step::Mounts, errno))?;
    let inert = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), inert, None::<&str>).map_err(|errno| Trouble::new(Step::Proc, errno))
}

/// From the outermost path inwards, so that what lies inside a covered or shown
/// directory is dealt with inside it; hiding before showing at the same path.
fn plan<'a>(hidden: &'a [OsString], visible: &'a [(OsString, Access)]) -> Vec<(&'a OsStr, Action)> {
    let hides = hidden.iter().map(|path| (path.as_os_str(), Action::Hide));
    let shows =
        visible.iter().enumerate().map(|(number, (path, access))| (path.as_os_str(), Action::Show(number, *access)));
    let mut steps: Vec<_> = hides.chain(shows).collect();
    // A stable sort: the hides stay ahead of the shows.
    steps.sort_by_key(|(path, _)| Path::new(path).components().count());
    steps
}

/// Covers a directory with an empty one; `None` if a cover lies over it already.
fn hide(path: &OsStr) -> Result<Option<(&OsStr, File)>, Trouble> {
    if !Path::new(path).exists() {
        return Ok(None);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("hidden"), path, Some("tmpfs"), flags, Some(COVER_OPTIONS))
        .map_err(|errno| Trouble::at(Step::Hide, path, errno))?;
    Ok(Some((path, open_path(path, Step::Hide)?)))
}

fn show(source: &File, path: &OsStr, access: Access) -> Result<(), Trouble> {
    make_mount_point(source, Path::new(path)).map_err(|error| Trouble::io(Step::Show, path, &error))?;
    let opened = format!("/proc/self/fd/{}", source.as_raw_fd());
    // Recursive, or a user namespace could peel mounts off what lies beneath.
    let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(opened.as_str()), path, None::<&str>, bind, None::<&str>)
        .map_err(|errno| Trouble::at(Step::Show, path, errno))?;
    if access == Access::ReadOnly {
        let root = open_path(path, Step::Show)?;
        sys::make_read_only(root.as_fd(), true).map_err(|errno| Trouble::at(Step::Show, path, errno))?;
    }
    Ok(())
}

/// Something to mount on, of the same kind as what is shown.
fn make_mount_point(source: &File, path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut directories = DirBuilder::new();
    directories.recursive(true).mode(0o755);
    if source.metadata()?.is_dir() {
        return directories.create(path);
    }
    if let Some(parent) = path.parent() {
        directories.create(parent)?;
    }
    File::create(path).map(drop)
}

fn open_path(path: &OsStr, step: Step) -> Result<File, Trouble> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path);
    opened.map_err(|error| Trouble::io(step, path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_paths_come_first_and_hiding_before_showing() {
        let hidden = ["/a/b/c".into(), "/a".into()];
        let visible = [
            ("/a/b".into(), Access::ReadOnly),
            ("/a".into(), Access::ReadWrite),
            ("/a/b/c/d".into(), Access::ReadWrite),
        ];
        let steps: Vec<_> =
            plan(&hidden, &visible).into_iter().map(|(path, action)| (path.to_owned(), action)).collect();
        assert_eq!(
            steps,
            [
                ("/a".into(), Action::Hide),
                ("/a".into(), Action::Show(1, Access::ReadWrite)),
                ("/a/b".into(), Action::Show(0, Access::ReadOnly)),
                ("/a/b/c".into(), Action::Hide),
                ("/a/b/c/d".into(), Action::Show(2, Access::ReadWrite)),
            ]
        );
    }
}
