//! Runs the client to its end, as if it had been started without us.
//!
//! Contract: signals that were sent to us alone go on to it; those of the terminal reach it anyway, since it is in our
//! group, and are not sent twice: a second Ctrl-C means something else to it. When it stops itself we stop too, so that
//! the shell takes over. From [`Signals::held`] on no signal ends this program: whoever has something to clear away
//! can.

use std::process::Command;

use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::CliError;

/// What would end us.
const ENDS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// What a shell adds to the number of the signal that ended a program.
const SIGNALLED: i32 = 128;

/// Signals, held back to be read.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Holds them back from now on. This has to be before any other thread is there.
    pub(crate) fn held() -> Result<Self, CliError> {
        let mut set = SigSet::empty();
        ENDS.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| set.add(signal));
        set.thread_block()
            .and_then(|()| SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC))
            .map(Self)
            .map_err(|error| CliError::failed(format!("cannot watch for signals: {error}")))
    }

    /// Starts the client and waits for its end; the exit code that a shell would show. The client has no signal held
    /// back.
    pub(crate) fn run(&self, mut command: Command) -> Result<i32, CliError> {
        let started = command.spawn().map_err(|error| {
            CliError::failed(format!("cannot start {}: {error}", command.get_program().to_string_lossy()))
        })?;
        let pid = i32::try_from(started.id()).map_err(|error| CliError::failed(error.to_string()))?;
        let child = Pid::from_raw(pid);
        loop {
            if let Some(code) = ended(child)? {
                return Ok(code);
            }
            let Ok(Some(info)) = self.0.read_signal() else { continue };
            let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            // The kernel's own are above zero: from a terminal, to the whole group.
            let is_sent = info.ssi_code <= 0;
            if let Some(signal) = signal.filter(|signal| is_sent && ENDS.contains(signal)) {
                // It fails when the client has ended meanwhile, which is seen above.
                let _ = kill(child, signal);
            }
        }
    }
}

/// Its exit code, if it has ended. If it has stopped, so do we, until somebody wakes us.
fn ended(child: Pid) -> Result<Option<i32>, CliError> {
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(Some(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Some(SIGNALLED + number(signal))),
            Ok(WaitStatus::Stopped(..)) => {
                let _ = raise(Signal::SIGSTOP);
                let _ = kill(child, Signal::SIGCONT);
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => return Ok(None),
            Err(error) => return Err(CliError::failed(format!("cannot wait for the client: {error}"))),
        }
    }
}

/// A signal's number.
#[allow(clippy::as_conversions, reason = "the numbers of signals are the enum's own, and below 65")]
fn number(signal: Signal) -> i32 {
    signal as i32
}
