//! The calls for which no safe wrapper exists. All are made by the warden,
//! which has one thread.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::{ForkResult, Pid};

use super::super::status::ExitStatus;

/// Ends this process without running handlers that a forked parent registered.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}

/// Forks. The child may do whatever the parent may: there is one thread, so no
/// lock can be held by another (`settle` has counted).
pub(super) fn fork() -> nix::Result<ForkResult> {
    // SAFETY: the process is single-threaded.
    unsafe { nix::unistd::fork() }
}

/// Takes ownership of descriptors that the kernel has just put into this
/// process with a message.
pub(super) fn adopt(received: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: each number came out of `recvmsg` and nothing else owns it.
    received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

/// Closes every descriptor from `first` on. Before Linux 5.9 there is no such
/// call; then those that `/proc` lists are closed one by one.
pub(super) fn close_from(first: u32) -> nix::Result<()> {
    // SAFETY: the caller owns no descriptor from `first` on; a descriptor is
    // only a number to the kernel.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    match Errno::result(result) {
        Ok(_) => Ok(()),
        Err(Errno::ENOSYS) => close_listed(first),
        Err(errno) => Err(errno),
    }
}

fn close_listed(first: u32) -> nix::Result<()> {
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|_| Errno::ENOSYS)?;
    let numbers: Vec<RawFd> = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers {
        if u32::try_from(number).is_ok_and(|fd| fd >= first) {
            // SAFETY: as above; the listing's own descriptor is closed already.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// One look at dead children.
pub(super) enum Reaped {
    /// This one was reaped.
    One(Pid, ExitStatus),
    /// There are children, all alive.
    NoneDead,
    /// There are no children.
    NoneLeft,
}

/// Reaps one dead child, if there is one. By hand, because nix answers EINVAL
/// for a real-time signal, *after* the kernel has reaped the child.
pub(super) fn reap() -> Reaped {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
        0 => Reaped::NoneDead,
        -1 => Reaped::NoneLeft,
        pid if libc::WIFSIGNALED(status) => {
            let ended = ExitStatus::Signal(libc::WTERMSIG(status), libc::WCOREDUMP(status));
            Reaped::One(Pid::from_raw(pid), ended)
        }
        pid => Reaped::One(Pid::from_raw(pid), ExitStatus::Code(libc::WEXITSTATUS(status))),
    }
}

/// Makes every signal do what it does by default. By the bare call, because the
/// C library refuses to touch two signals of its own, and its `posix_spawn`,
/// by which a warden is started, leaves just these ignored.
pub(super) fn default_dispositions() {
    /// Longer than any architecture's action; all zero is `SIG_DFL`, no flags.
    const DEFAULT: [u64; 8] = [0; 8];
    const SIGNAL_SET_BYTES: usize = 8;
    for signal in 1..=libc::SIGRTMAX() {
        let none = std::ptr::null_mut::<u64>();
        // SAFETY: the action outlives the call, the old one is not asked for,
        // and no handler is involved. KILL and STOP are refused, rightly.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), none, SIGNAL_SET_BYTES) };
    }
}

/// Takes a capability away for good: no later `exec` can bring it back.
pub(super) fn drop_capability(number: libc::c_ulong) -> nix::Result<()> {
    // SAFETY: takes a number and no pointer.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// Empties the set of capabilities that an `exec` would keep for a user who is
/// not root. Kernels without it have no such set.
pub(super) fn clear_ambient_capabilities() {
    // SAFETY: takes numbers and no pointer.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
}

/// The kernel's `struct mount_attr`, as of Linux 5.12.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes the mount under `root` read-only; with `recursive` also those beneath
/// it. Other flags stay, which a user namespace insists on.
pub(super) fn make_read_only(root: BorrowedFd<'_>, recursive: bool) -> nix::Result<()> {
    const MOUNT_ATTR_RDONLY: u64 = 1;
    const EMPTY: &CStr = c"";
    let attributes = MountAttributes { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: descriptor, path and attributes outlive the call, and the size
    // is that of the attributes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            root.as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    Errno::result(result).map(drop)
}
