//! The watch over one program, the same in a namespace's init and in a guard:
//! one `poll` over the control socket, dead children and the program's start.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv};
use nix::unistd::{ForkResult, Pid, pipe2};

use super::super::status::ExitStatus;
use super::super::wire::{Event, MAX_EVENT, Request, Step, TERMINATE, Trouble};
use super::sys::{self, Reaped};
use super::{Streams, server, tell, tell_line};

/// Tells of dead children through a descriptor. The signal is blocked.
pub(super) struct ChildSignals(SignalFd);

impl ChildSignals {
    pub(super) fn new() -> Result<Self, Trouble> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let open = SignalFd::with_flags(&set, flags);
        open.map(Self).map_err(|errno| Trouble::new(Step::Signals, errno))
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(self.0.as_fd(), PollFlags::POLLIN)
    }

    /// Forgets the signals that are queued. To be called *before* reaping.
    pub(super) fn clear(&self) {
        while let Ok(Some(_)) = self.0.read_signal() {}
    }

    /// Waits until a child died, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        let at_most = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [self.poll_fd()], at_most);
        self.clear();
    }
}

/// How a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The program is dead and reaped; the runner was told.
    Died,
    /// The runner hung up or died: everything must go.
    HungUp,
}

/// A program that was forked.
pub(super) struct Watch {
    program: Pid,
    /// Closed by the kernel when the program's image is loaded; what is read
    /// before is the report of a start that failed.
    starting: Option<OwnedFd>,
    report: Vec<u8>,
    signals: ChildSignals,
}

impl Watch {
    /// Forks the program's process and lets go of its streams: an end of a
    /// pipe that was kept here would keep the runner from seeing its end.
    pub(super) fn start(request: &Request, streams: Streams) -> Result<Self, Trouble> {
        let signals = ChildSignals::new()?;
        let (starting, started) =
            pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(|errno| Trouble::new(Step::Fork, errno))?;
        let parent = nix::unistd::getpid();
        match sys::fork().map_err(|errno| Trouble::new(Step::Fork, errno))? {
            ForkResult::Child => server::become_program(request, &streams, &started, parent),
            ForkResult::Parent { child } => {
                drop(streams);
                Ok(Self { program: child, starting: Some(starting), report: Vec::new(), signals })
            }
        }
    }

    /// Watches until the program is dead or the runner wants it to be.
    pub(super) fn run(mut self) -> (End, ChildSignals) {
        loop {
            let (control, signals, starting) = self.wait();
            if starting {
                self.read_start();
            }
            if signals && self.reap_all() {
                return (End::Died, self.signals);
            }
            if control && self.obey() {
                return (End::HungUp, self.signals);
            }
        }
    }

    /// Waits for something to do: on the socket, among children, at the start.
    fn wait(&self) -> (bool, bool, bool) {
        let input = std::io::stdin();
        let control = PollFd::new(input.as_fd(), PollFlags::POLLIN);
        let mut fds = vec![control, self.signals.poll_fd()];
        if let Some(starting) = &self.starting {
            fds.push(PollFd::new(starting.as_fd(), PollFlags::POLLIN));
        }
        // All signals are blocked, so it is not interrupted; should it fail,
        // each descriptor is looked at, and none of the looks waits.
        let failed = poll(&mut fds, PollTimeout::NONE).is_err();
        let mut ready = fds.iter().map(|fd| failed || fd.any().unwrap_or(true));
        let mut next = || ready.next().unwrap_or(false);
        (next(), next(), next())
    }

    /// Reads what the program's process says about its start, and reports once
    /// that is complete.
    fn read_start(&mut self) {
        let Some(starting) = &self.starting else {
            return;
        };
        let mut chunk = [0; 1024];
        loop {
            match nix::unistd::read(starting, &mut chunk) {
                Ok(0) => break,
                Ok(length) if self.report.len() <= MAX_EVENT => {
                    self.report.extend_from_slice(chunk.get(..length).unwrap_or_default());
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => break,
            }
        }
        self.starting = None;
        if self.report.is_empty() {
            tell(&Event::Started);
        } else {
            tell_line(&self.report);
        }
    }

    /// Reaps every dead child; `true` once the program was among them.
    fn reap_all(&mut self) -> bool {
        self.signals.clear();
        while let Reaped::One(pid, status) = sys::reap() {
            if pid == self.program {
                self.conclude(status);
                return true;
            }
        }
        false
    }

    fn conclude(&mut self, status: ExitStatus) {
        // The dead write nothing more: all there is to the start can be read.
        self.read_start();
        if self.report.is_empty() {
            tell(&Event::Exited(status));
        }
    }

    /// Does what the runner says; `true` when it hung up.
    fn obey(&self) -> bool {
        let mut bytes = [0; 16];
        match recv(std::io::stdin().as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => true,
            Ok(length) => {
                if bytes.iter().take(length).any(|byte| *byte == TERMINATE) {
                    self.terminate();
                }
                false
            }
            Err(errno) => !matches!(errno, Errno::EINTR | Errno::EAGAIN),
        }
    }

    /// The program leads a session, so its group is its own. It is not reaped,
    /// so the number is nobody else's.
    fn terminate(&self) {
        if killpg(self.program, Signal::SIGTERM).is_err() {
            let _ = kill(self.program, Signal::SIGTERM);
        }
    }
}
