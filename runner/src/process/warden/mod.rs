//! What runs in the other process: the same binary, started with the word
//! [`WARDEN_ARGUMENT`] and an empty environment, its standard input the control
//! socket. It starts one program, watches it, and ends with all of it.
//!
//! Everything here is single-threaded and synchronous: between `fork` and
//! `exec` only one thread exists, so allocation is safe there. Nothing waits
//! but one `poll`. Nothing is printed: what is to be said goes up the socket.

mod check;
mod guard;
mod mounts;
mod namespace;
mod receive;
mod secrets;
mod server;
mod sys;
mod watch;

use std::ffi::OsStr;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{chdir, setsid};

pub(super) use check::{Findings, check_argv};

use super::command::Level;
use super::wire::{Event, Step, Trouble};

/// The first argument that makes this binary a warden.
pub(super) const WARDEN_ARGUMENT: &str = "__warden";

/// The set is gone.
const CLEARED: i32 = 0;
/// The start failed; the socket has said why.
const FAILED: i32 = 1;
/// Something of the set may remain.
const LEFT_OVER: i32 = 2;

/// The program's standard input, output and error.
type Streams = [OwnedFd; 3];

/// Becomes the warden if this process was started as one, and then never
/// returns. To be called first thing in `main`, before any thread exists.
pub fn warden_main_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(WARDEN_ARGUMENT)) {
        return;
    }
    match arguments.next() {
        Some(word) if word == check::CHECK_ARGUMENT => check::main(arguments),
        Some(_) | None => {
            let code = main().unwrap_or_else(|trouble| {
                tell(&Event::Failed(trouble));
                FAILED
            });
            sys::exit(code)
        }
    }
}

fn main() -> Result<i32, Trouble> {
    settle()?;
    let (request, streams) = receive::receive()?;
    match request.level {
        Level::Namespace => namespace::run(&request, streams),
        Level::Guard => guard::run(&request, streams),
    }
}

/// Lets go of everything that ties this process to where it was started.
fn settle() -> Result<(), Trouble> {
    // Only descriptors without close-on-exec are here, and none is ours.
    sys::close_from(3).map_err(|errno| Trouble::new(Step::Descriptors, errno))?;
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(Trouble::new(Step::Threads, Errno::EBUSY));
    }
    // A terminal's Ctrl-C goes to the runner's group; it is not meant for us.
    SigSet::all().thread_block().map_err(|errno| Trouble::new(Step::Signals, errno))?;
    setsid().map_err(|errno| Trouble::new(Step::Session, errno))?;
    // Nor should a working directory be held that somebody wants to unmount.
    chdir("/").map_err(|errno| Trouble::at(Step::WorkingDirectory, "/", errno))
}

/// Reports to the runner. Never waits: a runner that does not read a few
/// hundred bytes is gone or stuck, and no reason to leave processes unwatched.
fn tell(event: &Event) {
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        tell_line(&line);
    }
}

/// Sends a line that is an event already.
fn tell_line(line: &[u8]) {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let _ = send(std::io::stdin().as_raw_fd(), line, flags);
}
