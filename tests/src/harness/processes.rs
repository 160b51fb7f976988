//! The kernel's process table: which processes exist, whose children they are, what they have cost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Its number on this machine.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start: u64,
}

/// One row of the table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who it is.
    pub id: Identity,
    /// Its parent's number.
    pub parent: u32,
    /// The kernel's letter: `R`, `S`, `D`, `Z`, ….
    pub state: char,
    /// User and system time so far, in clock ticks.
    pub ticks: u64,
    /// Its arguments; empty for a zombie and for the kernel's own threads.
    pub argv: Vec<String>,
}

impl Entry {
    /// Ended, and not yet collected by its parent.
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// The table at one moment.
#[derive(Debug, Clone)]
pub struct Table(Vec<Entry>);

impl Table {
    /// Reads it. A process that ends in the middle is left out.
    #[must_use]
    pub fn read() -> Self {
        let folders = fs::read_dir("/proc").expect("/proc is mounted");
        let entries =
            folders.filter_map(|folder| folder.ok()?.file_name().to_str()?.parse().ok()).filter_map(entry).collect();
        Self(entries)
    }

    /// The row of `pid`.
    #[must_use]
    pub fn get(&self, pid: u32) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.id.pid == pid)
    }

    /// Children, their children, and so on; `pid` itself not.
    #[must_use]
    pub fn descendants(&self, pid: u32) -> Vec<&Entry> {
        let mut found = BTreeSet::from([pid]);
        let mut family = Vec::new();
        loop {
            let before = family.len();
            for entry in &self.0 {
                if found.contains(&entry.parent) && found.insert(entry.id.pid) {
                    family.push(entry);
                }
            }
            if family.len() == before {
                return family;
            }
        }
    }

    /// Live processes with `token` in one of their arguments.
    #[must_use]
    pub fn with_argument(&self, token: &str) -> Vec<&Entry> {
        self.0
            .iter()
            .filter(|entry| !entry.is_zombie() && entry.argv.iter().any(|argument| argument.contains(token)))
            .collect()
    }

    /// Live processes with this variable in their environment, written `NAME=value`.
    #[must_use]
    pub fn with_variable(&self, variable: &str) -> Vec<&Entry> {
        let has = |entry: &&Entry| {
            let environment = fs::read(format!("/proc/{}/environ", entry.id.pid)).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        };
        self.0.iter().filter(|entry| !entry.is_zombie()).filter(has).collect()
    }

    /// Live processes that name `folder` in their arguments or their environment, or work in it.
    #[must_use]
    pub fn touching(&self, folder: &Path) -> Vec<&Entry> {
        let name = folder.to_str().expect("the harness makes plain paths");
        self.0
            .iter()
            .filter(|entry| !entry.is_zombie() && entry.id.pid != std::process::id())
            .filter(|entry| {
                let of = |file: &str| Path::new("/proc").join(entry.id.pid.to_string()).join(file);
                entry.argv.iter().any(|argument| argument.contains(name))
                    || fs::read(of("environ")).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(name))
                    || fs::read_link(of("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
            })
            .collect()
    }
}

/// Those of `earlier` that still run.
#[must_use]
pub fn survivors(earlier: &[Identity]) -> Vec<Entry> {
    earlier.iter().filter_map(|id| entry(id.pid).filter(|now| now.id == *id && !now.is_zombie())).collect()
}

/// The row of one process, or nothing when there is none.
#[must_use]
pub fn entry(pid: u32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold spaces and parentheses: what counts begins after the last one.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let argv = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Some(Entry {
        id: Identity { pid, start: number(19)? },
        parent: u32::try_from(number(1)?).ok()?,
        state: fields.first()?.chars().next()?,
        ticks: number(11)? + number(12)?,
        argv: argv
            .split(|byte| *byte == 0)
            .filter(|argument| !argument.is_empty())
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect(),
    })
}

/// Sends `signal`; a process that is gone already is no error.
pub fn send(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("a pid fits in an i32")), signal);
}

/// A list for a failure message, a line each.
#[must_use]
pub fn listing<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    entries
        .into_iter()
        .map(|entry| {
            format!("\n  {} (parent {}, {}) {}", entry.id.pid, entry.parent, entry.state, entry.argv.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_found_by_its_parent_and_its_argument_and_is_gone_after_its_kill() {
        let token = format!("61.{}", std::process::id());
        let mut child = Command::new("sleep").arg(&token).env("HARNESS_TOKEN", &token).spawn().unwrap();
        let found = super::super::wait_until("the child's arguments", std::time::Duration::from_secs(10), || {
            let table = Table::read();
            let ids: Vec<_> = table.with_argument(&token).iter().map(|entry| entry.id).collect();
            let family = table.descendants(std::process::id());
            match ids.as_slice() {
                [id] if family.iter().any(|entry| entry.id == *id) => Ok(*id),
                other => Err(format!("{other:?}")),
            }
        })
        .unwrap();
        assert_eq!(found.pid, child.id());
        let marked = |variable: &str| Table::read().with_variable(variable).len();
        assert_eq!((marked(&format!("HARNESS_TOKEN={token}")), marked(&format!("HARNESS_TOKEN={token}0"))), (1, 0));
        assert_eq!(survivors(&[found]).len(), 1);
        send(found.pid, Signal::SIGKILL);
        child.wait().unwrap();
        assert!(survivors(&[found]).is_empty());
    }

    #[test]
    fn another_start_time_is_another_process() {
        let own = entry(std::process::id()).unwrap().id;
        let earlier = Identity { start: own.start + 1, ..own };
        assert!(survivors(&[earlier]).is_empty());
        assert_eq!(survivors(&[own]).len(), 1);
    }
}
