//! Whoever started this program, and its end.
//!
//! A client that dies without closing our input, since somebody else holds the other end of it too, would leave a server
//! behind that nobody speaks to. What is watched is the process and not its number: numbers are given out again.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use tokio::sync::oneshot;

/// Returns when the parent process is gone. Where it cannot be watched, never: the end of the input remains.
pub(super) async fn gone() {
    let Some(parent) = getppid() else { return };
    let watched = pidfd_open(parent, PidfdFlags::empty());
    // It may have gone, and its number to somebody else, before it was watched: then it is not our parent any more.
    if is_orphan(parent) {
        return;
    }
    let (tell, told) = oneshot::channel();
    let waits = watched.ok().and_then(|pidfd| {
        let wait = move || {
            if ended(&pidfd) {
                let _ = tell.send(());
            }
        };
        // It ends with this program, which waits for no thread.
        std::thread::Builder::new().name("launcher".to_owned()).spawn(wait).ok()
    });
    if waits.is_none() || told.await.is_err() {
        std::future::pending().await
    }
}

/// Waits for the end of a process; false if that cannot be done.
fn ended(pidfd: &OwnedFd) -> bool {
    loop {
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn is_orphan(parent: Pid) -> bool {
    getppid() != Some(parent)
}
