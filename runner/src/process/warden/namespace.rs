//! Level `namespace`: A unshares and waits outside, B is the init inside.
//!
//! The kernel kills every process of a pid namespace when its first one ends,
//! and does not let that one be reaped before. So B only ever has to end, and
//! A's own end says that nothing remains.

use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, getegid, geteuid};

use super::super::wire::{Event, Request, Step, Trouble};
use super::sys::{self, Reaped};
use super::watch::{ChildSignals, Watch};
use super::{CLEARED, FAILED, Streams, mounts, tell};

/// Runs as A.
pub(super) fn run(request: &Request, streams: Streams) -> Result<i32, Trouble> {
    enter()?;
    let signals = ChildSignals::new()?;
    match sys::fork().map_err(|errno| Trouble::new(Step::Fork, errno))? {
        ForkResult::Child => {
            drop(signals);
            sys::exit(match init(request, streams) {
                Ok(()) => CLEARED,
                Err(trouble) => {
                    tell(&Event::Failed(trouble));
                    FAILED
                }
            })
        }
        ForkResult::Parent { child } => {
            drop(streams);
            Ok(wait_outside(&signals, child))
        }
    }
}

/// Makes the next child the first of a new pid namespace. Whoever may not do
/// that as they are may do it as the owner of a new user namespace.
fn enter() -> Result<(), Trouble> {
    match unshare(CloneFlags::CLONE_NEWPID) {
        Err(Errno::EPERM) => {
            // Asked before: inside, unmapped, we are nobody.
            let (uid, gid) = (geteuid(), getegid());
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID)
                .map_err(|errno| Trouble::new(Step::Namespace, errno))?;
            // The kernel wants this before an ordinary user may map a group.
            map("/proc/self/setgroups", "deny")?;
            // Each is mapped to itself: files keep their owners.
            map("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
            map("/proc/self/gid_map", &format!("{gid} {gid} 1"))
        }
        outcome => outcome.map_err(|errno| Trouble::new(Step::Namespace, errno)),
    }
}

fn map(path: &str, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text).map_err(|error| Trouble::io(Step::UserMap, path, &error))
}

/// Runs as A: waits for B. A runner that hangs up is B's business; but B may be
/// stuck in a mount, and the outside can always kill it.
fn wait_outside(signals: &ChildSignals, init: Pid) -> i32 {
    let mut runner_is_there = true;
    loop {
        let input = std::io::stdin();
        // What is sent is for B: only the hang-up matters here. nix has no
        // name for the flag, and calls `any` of an unnamed one unknown.
        let control = PollFd::new(input.as_fd(), PollFlags::from_bits_retain(nix::libc::POLLRDHUP));
        let mut fds = vec![signals.poll_fd()];
        if runner_is_there {
            fds.push(control);
        }
        let _ = poll(&mut fds, PollTimeout::NONE);
        if runner_is_there && fds.get(1).is_some_and(|control| control.any().unwrap_or(true)) {
            runner_is_there = false;
            let _ = kill(init, Signal::SIGKILL);
        }
        signals.clear();
        match sys::reap() {
            Reaped::One(..) | Reaped::NoneLeft => return CLEARED,
            Reaped::NoneDead => {}
        }
    }
}

/// Runs as B, pid 1 inside. Returns when it is time to end, and with it all.
fn init(request: &Request, streams: Streams) -> Result<(), Trouble> {
    // Should A be killed, we follow. Should it have been before this line, the
    // runner notices and hangs up.
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| Trouble::new(Step::Tie, errno))?;
    mounts::arrange(&request.hidden, &request.visible, request.secrets.as_ref())?;
    // Our memory holds what the runner sent; nobody inside is to read it.
    set_dumpable(false).map_err(|errno| Trouble::new(Step::Privileges, errno))?;
    let (_, _signals) = Watch::start(request, streams)?.run();
    Ok(())
}
