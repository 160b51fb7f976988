//! The processes of a mesh: who they are, and killing them.

use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Mesh;
use crate::harness::level::HINT;
use crate::harness::processes::{self, Entry, Identity, Table};
use crate::harness::{SETTLE, wait_until};

impl Mesh {
    /// The pid of a service's process: the tree's fact, checked against the process table.
    #[must_use]
    pub fn pid(&self, service: &str) -> u32 {
        self.wait(&format!("the process of {service}"), SETTLE, || {
            let pid = self.tree()?.pid(service).ok_or("the tree has no pid for it")?;
            processes::entry(pid).filter(|entry| !entry.is_zombie()).map(|_| pid).ok_or(format!("no process {pid}"))
        })
    }

    /// Fails unless a service's process is shown at the level that was forced.
    #[track_caller]
    pub fn check_level(&self, service: &str) {
        let forced = self.options.level.expect("a level was forced");
        let shown = self.wait(&format!("the process of {service}"), SETTLE, || {
            let tree = self.tree()?;
            let node = tree.process(service).filter(|node| node.number("pid").is_some()).ok_or("no process yet")?;
            Ok(node.facts.get("level").cloned())
        });
        assert_eq!(shown, Some(forced.as_str().into()), "the level of {service}; {HINT}");
    }

    /// The broker's pid: the process of `up` itself.
    #[must_use]
    pub fn broker_pid(&self) -> u32 {
        self.up.as_ref().expect("the mesh is up").id()
    }

    /// The runner's pid, as it wrote it down itself, checked against the process table.
    #[must_use]
    pub fn runner_pid(&self) -> u32 {
        self.wait("the runner's process", SETTLE, || {
            let pid = self.runner_fact().ok_or("no runner.json yet")?;
            processes::entry(pid).filter(|entry| !entry.is_zombie()).map(|_| pid).ok_or(format!("no process {pid}"))
        })
    }

    fn runner_fact(&self) -> Option<u32> {
        let data = self.data();
        let file =
            [data.join("runner/runner.json"), data.join("runner.json")].into_iter().find(|path| path.is_file())?;
        let fact: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).ok()?;
        u32::try_from(fact["pid"].as_u64()?).ok()
    }

    /// Everything of this mesh that runs: below `up` and below the runner, those two included, and whoever names the
    /// mesh's directory.
    #[must_use]
    pub fn processes(&self) -> Vec<Entry> {
        let table = Table::read();
        let tops = self.up.as_ref().map(Child::id).into_iter().chain(self.runner_fact());
        let mut found: Vec<Entry> = Vec::new();
        for top in tops {
            found.extend(table.get(top).cloned());
            found.extend(table.descendants(top).into_iter().cloned());
        }
        found.extend(table.touching(self.root()).into_iter().cloned());
        found.retain(|entry| !entry.is_zombie());
        found.sort_by_key(|entry| entry.id);
        found.dedup_by_key(|entry| entry.id);
        found
    }

    /// The processes below the runner: guards, and services with all that they started.
    #[must_use]
    pub fn below_runner(&self) -> Vec<Identity> {
        let table = Table::read();
        table.descendants(self.runner_pid()).iter().filter(|entry| !entry.is_zombie()).map(|entry| entry.id).collect()
    }

    /// Remembers who belongs to this mesh now, to ask for them at the end.
    pub fn look(&self) {
        self.seen.borrow_mut().extend(self.processes().iter().map(|entry| entry.id));
    }

    /// SIGKILL to the process of a service; the pid that it had.
    pub fn kill_service(&self, service: &str) -> u32 {
        let pid = self.pid(service);
        self.look();
        processes::send(pid, Signal::SIGKILL);
        pid
    }

    /// SIGKILL to the runner; everyone who ran below it.
    pub fn kill_runner(&self) -> Vec<Identity> {
        let pid = self.runner_pid();
        self.look();
        let below = self.below_runner();
        processes::send(pid, Signal::SIGKILL);
        below
    }

    /// Waits until `up` ends by itself; how it ended. Nothing of the mesh may be left then.
    #[track_caller]
    pub fn wait_for_end(&mut self, deadline: Duration) -> ExitStatus {
        self.look();
        let mut up = self.up.take().expect("the mesh is up");
        let ended = wait_until("the end of `up`", deadline, || {
            up.try_wait().map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned())
        });
        match ended {
            Ok(status) => {
                let earlier: Vec<Identity> = self.seen.borrow().iter().copied().collect();
                self.wait_gone("what belonged to the mesh", &earlier, SETTLE);
                status
            }
            Err(error) => {
                self.up = Some(up);
                panic!("{error}\n{}", self.logs());
            }
        }
    }

    /// SIGKILL to the broker, and waits for its end. [`Mesh::start_up`] starts it again.
    pub fn kill_broker(&mut self) {
        self.look();
        let mut up = self.up.take().expect("the mesh is up");
        up.kill().expect("an own child can be killed");
        up.wait().expect("an own child can be waited for");
    }
}
