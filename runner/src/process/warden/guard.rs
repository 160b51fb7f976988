//! Level `guard`: a child subreaper. Every descendant whose parent dies becomes
//! the guard's child, in whatever session it hides, and is found there.

use std::time::{Duration, Instant};

use nix::sys::prctl::{set_child_subreaper, set_dumpable};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::super::wire::{Request, Step, Trouble};
use super::sys::{self, Reaped};
use super::watch::{ChildSignals, Watch};
use super::{CLEARED, LEFT_OVER, Streams};

/// How long clearing away may take. Only a process stuck in the kernel, or one
/// that forks faster than it is killed, needs more than milliseconds.
const SWEEP_LIMIT: Duration = Duration::from_secs(10);
/// Longest pause between two rounds; a dying child ends it at once.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// Runs as the guard.
pub(super) fn run(request: &Request, streams: Streams) -> Result<i32, Trouble> {
    set_child_subreaper(true).map_err(|errno| Trouble::new(Step::Tie, errno))?;
    set_dumpable(false).map_err(|errno| Trouble::new(Step::Privileges, errno))?;
    let (_, signals) = Watch::start(request, streams)?.run();
    Ok(if sweep(&signals) { CLEARED } else { LEFT_OVER })
}

/// Kills every descendant; `false` if some were left when time ran out.
///
/// Round by round only our *own* children are killed: nobody else can reap
/// them, so no number can have passed to a stranger. Their children become
/// ours before we can reap them, and are next round's.
fn sweep(signals: &ChildSignals) -> bool {
    let deadline = Instant::now() + SWEEP_LIMIT;
    while Instant::now() < deadline {
        for child in children() {
            let _ = kill(child, Signal::SIGKILL);
        }
        loop {
            match sys::reap() {
                Reaped::One(..) => {}
                Reaped::NoneDead => break,
                Reaped::NoneLeft => return true,
            }
        }
        signals.wait(SWEEP_PAUSE);
    }
    false
}

/// Our children now. The kernel keeps a list, unless it was built without it.
fn children() -> Vec<Pid> {
    let me = getpid();
    match std::fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        Ok(listed) => listed.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect(),
        Err(_) => children_by_search(me),
    }
}

fn children_by_search(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| parent_in_stat(&stat))
            .is_some_and(|found| found == parent.as_raw())
    })
    .map(Pid::from_raw)
    .collect()
}

/// The parent's pid out of `/proc/<pid>/stat`: the second field after the
/// name, which stands in parentheses and may itself contain any of them.
fn parent_in_stat(stat: &[u8]) -> Option<i32> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::zombie_processes, reason = "tests")]
    use super::*;

    #[test]
    fn a_hostile_name_does_not_move_the_parent() {
        assert_eq!(parent_in_stat(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in_stat(b"12 (a) R 1 (b) S 7 12"), Some(7));
        assert_eq!(parent_in_stat(b"12 (\xff )) Z 9 12"), Some(9));
        assert_eq!(parent_in_stat(b""), None);
    }

    #[test]
    fn a_child_is_found_by_searching_too() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(children_by_search(getpid()).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_by_search(getpid()).contains(&pid));
    }
}
