//! The last steps before the program: from a fork of the warden to `execve`.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, getppid, setsid};

use super::super::command::Level;
use super::super::wire::{Event, Request, Step, Trouble};
use super::{FAILED, Streams, sys, tell};

/// What a program that runs as root may keep: dealing with files and processes
/// of its own. Without the rest it cannot uncover what is hidden (`SYS_ADMIN`),
/// reach files by handle (`DAC_READ_SEARCH`), make devices (`MKNOD`) or look
/// into a process that is held more firmly (`SYS_PTRACE`).
const KEPT_CAPABILITIES: [libc::c_ulong; 8] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    10, // NET_BIND_SERVICE
];
/// The kernel numbers capabilities in 64 bits; it knows some 41 today.
const CAPABILITY_NUMBERS: libc::c_ulong = 64;

/// Becomes the program, or reports why not and ends.
pub(super) fn become_program(request: &Request, streams: &Streams, started: &OwnedFd, parent: Pid) -> ! {
    let Err(trouble) = prepare_and_execute(request, streams, parent);
    if let Ok(mut line) = serde_json::to_vec(&Event::Failed(trouble)) {
        line.push(b'\n');
        // Fits the pipe as a whole; should it not, the warden sees the end.
        let _ = nix::unistd::write(started, &line);
    }
    sys::exit(FAILED)
}

fn prepare_and_execute(request: &Request, streams: &Streams, parent: Pid) -> Result<Infallible, Trouble> {
    if request.level == Level::Guard {
        tie_to(parent)?;
    }
    setsid().map_err(|errno| Trouble::new(Step::Session, errno))?;
    limit(Resource::RLIMIT_NOFILE, request.fds)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    let cwd = request.cwd.as_os_str();
    chdir(cwd).map_err(|errno| Trouble::at(Step::WorkingDirectory, cwd, errno))?;
    drop_privileges(request.level)?;
    let program = c_string(request.argv.first().map_or(OsStr::new(""), OsString::as_os_str))?;
    let argv = request.argv.iter().map(|argument| c_string(argument)).collect::<Result<Vec<_>, _>>()?;
    let env = request.env.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    // From here on the socket is not ours any more: the first stream takes its
    // place as standard input.
    tell(&Event::Executing);
    let [stdin, stdout, stderr] = streams;
    dup2_stdin(stdin)
        .and_then(|()| dup2_stdout(stdout))
        .and_then(|()| dup2_stderr(stderr))
        .map_err(|errno| Trouble::new(Step::Descriptors, errno))?;
    sys::default_dispositions();
    SigSet::empty().thread_set_mask().map_err(|errno| Trouble::new(Step::Signals, errno))?;
    execve(&program, &argv, &env).map_err(|errno| Trouble::new(Step::Execute, errno))
}

/// A guard that is killed takes at least the program with it. The signal goes
/// with the parent's only thread; it may have gone before we asked.
fn tie_to(parent: Pid) -> Result<(), Trouble> {
    set_pdeathsig(Signal::SIGKILL).map_err(|errno| Trouble::new(Step::Tie, errno))?;
    if getppid() == parent { Ok(()) } else { Err(Trouble::new(Step::Tie, Errno::ESRCH)) }
}

/// Sets soft and hard limit; what our own hard limit forbids is cut to it.
fn limit(resource: Resource, value: u64) -> Result<(), Trouble> {
    let set = || {
        let (_, hard) = getrlimit(resource)?;
        let value = value.min(hard);
        setrlimit(resource, value, value)
    };
    set().map_err(|errno| Trouble::new(Step::Limits, errno))
}

fn drop_privileges(level: Level) -> Result<(), Trouble> {
    sys::clear_ambient_capabilities();
    for number in (0..CAPABILITY_NUMBERS).filter(|number| !KEPT_CAPABILITIES.contains(number)) {
        match sys::drop_capability(number) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            // An ordinary user has nothing to drop, and `no_new_privs` sees to
            // it that nothing comes. In a namespace we can always drop.
            Err(Errno::EPERM) if level == Level::Guard => break,
            Err(errno) => return Err(Trouble::new(Step::Privileges, errno)),
        }
    }
    set_no_new_privs().map_err(|errno| Trouble::new(Step::Privileges, errno))
}

fn variable((name, value): &(OsString, OsString)) -> Result<CString, Trouble> {
    let mut entry = name.clone();
    entry.push("=");
    entry.push(value);
    c_string(&entry)
}

/// The runner has refused NUL bytes already.
fn c_string(text: &OsStr) -> Result<CString, Trouble> {
    CString::new(text.as_bytes())
        .map_err(|error| Trouble::at(Step::Execute, OsString::from_vec(error.into_vec()), Errno::EINVAL))
}
