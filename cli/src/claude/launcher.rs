//! Which process launched a session.
//!
//! Contract: a number alone names nobody, since the kernel gives it out again, other machines have the same ones, and
//! so do containers. A launcher is its number, when it started, in which boot, in which namespace of numbers and on
//! which host. Of one that is not of this host and namespace nothing can be said, so nothing of it is touched.

use std::fs;

use serde::{Deserialize, Serialize};

/// A launcher, as it is kept. Clients of before kept the number alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Launcher {
    /// Its number.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
    /// Where its number is that process's.
    #[serde(flatten)]
    place: Place,
}

/// Where a number of a process has its meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<String>,
}

/// What has become of a launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs.
    Alive,
    /// It has ended.
    Gone,
    /// It is none that could be seen from here.
    Elsewhere,
}

/// This place, as seen at one moment.
#[derive(Debug)]
pub(crate) struct Here(Place);

impl Here {
    /// As the kernel tells it.
    pub(crate) fn now() -> Self {
        let line = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self(Place {
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid").ok().map(|link| link.to_string_lossy().into_owned()),
            host: line("/proc/sys/kernel/hostname"),
        })
    }

    /// This process.
    pub(crate) fn launcher(&self) -> Launcher {
        let pid = std::process::id();
        Launcher { pid, start_time: start_time(pid), place: self.0.clone() }
    }

    /// What has become of it.
    pub(crate) fn standing(&self, launcher: &Launcher) -> Standing {
        self.judge(launcher, start_time(launcher.pid))
    }

    /// The same, given when the process that has the number now started.
    fn judge(&self, launcher: &Launcher, started: Option<u64>) -> Standing {
        let differs = |kept: &Option<String>, here: &Option<String>| kept.is_some() && kept != here;
        let (kept, here) = (&launcher.place, &self.0);
        if differs(&kept.host, &here.host) {
            Standing::Elsewhere
        } else if differs(&kept.boot_id, &here.boot_id) {
            // Nothing outlives its boot.
            Standing::Gone
        } else if differs(&kept.pid_namespace, &here.pid_namespace) {
            Standing::Elsewhere
        } else if started.is_none() || (launcher.start_time.is_some() && launcher.start_time != started) {
            Standing::Gone
        } else {
            Standing::Alive
        }
    }
}

/// When a process started, in clock ticks since the boot; none for one that has ended, though nobody asked how yet.
fn start_time(pid: u32) -> Option<u64> {
    /// Of the fields after the name: the state, and the start.
    const STATE: usize = 0;
    const START: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, closing brackets too; what follows the last is plain.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    if matches!(fields.get(STATE), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(START)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn here() -> Here {
        let some = |word: &str| Some(word.to_owned());
        Here(Place { boot_id: some("b"), pid_namespace: some("n"), host: some("h") })
    }

    #[test]
    fn h40_a_launcher_is_known_by_more_than_its_number() {
        let launcher = Launcher { pid: 7, start_time: Some(100), place: here().0 };
        let elsewhere = |change: fn(&mut Place)| {
            let mut other = launcher.clone();
            change(&mut other.place);
            other
        };
        let of_before = Launcher { pid: 7, ..Launcher::default() };
        for (what, launcher, started, expected) in [
            ("it runs", launcher.clone(), Some(100), Standing::Alive),
            ("no such number", launcher.clone(), None, Standing::Gone),
            ("the number is another's now", launcher.clone(), Some(200), Standing::Gone),
            ("before the boot", elsewhere(|p| p.boot_id = Some("a".into())), Some(100), Standing::Gone),
            ("in a container", elsewhere(|p| p.pid_namespace = Some("m".into())), None, Standing::Elsewhere),
            ("on another machine", elsewhere(|p| p.host = Some("g".into())), None, Standing::Elsewhere),
            ("the number alone, and it runs", of_before.clone(), Some(1), Standing::Alive),
            ("the number alone, and nobody has it", of_before, None, Standing::Gone),
        ] {
            assert_eq!(here().judge(&launcher, started), expected, "{what}");
        }
    }

    #[test]
    fn this_process_is_alive_and_a_dead_one_is_not() {
        let here = Here::now();
        assert!(here.launcher().start_time.is_some());
        assert_eq!(here.standing(&here.launcher()), Standing::Alive);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        assert_eq!(here.standing(&Launcher { pid, ..here.launcher() }), Standing::Gone);
    }
}
