//! A broker with two runners, each a process of its own: where services go, and that none is ever on both.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::harness::processes::{self, Identity, Table};
use tests::harness::{BOOT, Mesh, Options, Outcome, SETTLE};

/// What broker and runners know each other by.
const TOKEN: &str = "0123456789abcdef0123456789abcdef-two-runners";
/// Longer than a broker lets a runner be silent.
const SILENCE: Duration = Duration::from_secs(60);
const RUNNERS: [&str; 2] = ["runner-1", "runner-2"];

/// The broker, its two runners, and the mesh's directories and client.
struct Fleet {
    mesh: Mesh,
    broker: Option<Child>,
    runners: [Option<Child>; 2],
}

impl Fleet {
    fn start() -> Self {
        let mut fleet = Self { mesh: Mesh::unstarted(Options::default()), broker: None, runners: [None, None] };
        fleet.start_runner(0);
        fleet.start_runner(1);
        let mut broker = fleet.program("broker");
        broker.args(["broker", "--listen", &format!("127.0.0.1:{}", fleet.mesh.port())]);
        for index in 0..2 {
            broker.arg("--runner-url").arg(format!("unix:{}", fleet.socket(index).display()));
        }
        fleet.broker = Some(broker.spawn().expect("the broker starts"));
        fleet.mesh.wait("the broker", BOOT, || match fleet.mesh.get("/health/ready") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let url = format!("ws://127.0.0.1:{}/ws", fleet.mesh.port());
        let _ = fleet.mesh.cli(&["mesh", "create", "fleet", "--broker", &url]).ok();
        fleet
    }

    fn socket(&self, index: usize) -> PathBuf {
        self.mesh.root().join(format!("{}.sock", RUNNERS[index]))
    }

    fn program(&self, log: &str) -> Command {
        let log = std::fs::File::options().create(true).append(true).open(self.mesh.root().join(format!("{log}.log")));
        let log = log.expect("a log");
        let mut command = self.mesh.program();
        command
            .env("RUNNER_TOKEN", TOKEN)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        command
    }

    fn start_runner(&mut self, index: usize) {
        let name = RUNNERS[index];
        let mut runner = self.program(name);
        runner.args(["runner", "--name", name, "--listen", &format!("unix:{}", self.socket(index).display())]);
        runner.arg("--data-dir").arg(self.mesh.root().join(name));
        self.runners[index] = Some(runner.spawn().expect("the runner starts"));
    }

    fn signal_runner(&self, index: usize, signal: Signal) {
        signal_child(self.runners[index].as_ref().expect("it runs"), signal);
    }

    /// SIGKILL; everybody below it.
    fn kill_runner(&mut self, index: usize) -> Vec<Identity> {
        let mut child = self.runners[index].take().expect("it runs");
        let below = Table::read().descendants(child.id()).iter().map(|entry| entry.id).collect();
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
        below
    }

    /// Deploys the fixture so that its processes can be told from others.
    fn deploy(&self, service: &str, options: &[&str]) -> Outcome {
        let mark = self.mesh.root().join(mark(service));
        self.mesh.deploy_fixture(service, options, &["--count-file", mark.to_str().expect("a plain path")])
    }

    fn on(&self, service: &str) -> String {
        self.mesh.service(service).and_then(|row| row["runner"].as_str().map(str::to_owned)).unwrap_or_default()
    }

    fn runs_on(&self, service: &str, runner: &str) {
        self.mesh.wait(&format!("{service} to run on {runner}"), SETTLE * 2, || {
            let row = self.mesh.service(service).ok_or("it is not in the catalog")?;
            let there = row["runner"] == runner && row["status"] == "running";
            if there { Ok(()) } else { Err(row.to_string()) }
        });
        let answer = self.mesh.cli(&["call", service, "echo", "text=hello"]).ok();
        assert!(answer.stdout.contains("hello"), "{answer}");
    }

    /// What `runner list` says of it.
    fn listed(&self, runner: &str, up: bool) -> u64 {
        self.mesh.wait(&format!("{runner} to be listed"), SETTLE * 2, || {
            let list = self.mesh.cli(&["runner", "list", "--json"]).ok().json();
            let rows = list["runners"].as_array().ok_or("a list")?;
            let row = rows.iter().find(|row| row["name"] == runner).ok_or("it is not listed")?;
            if row["up"] == up { row["services"].as_u64().ok_or("a number".to_owned()) } else { Err(row.to_string()) }
        })
    }

    /// The processes of a service below a runner: those that name it among their words.
    fn processes_of(&self, index: usize, service: &str) -> Vec<Identity> {
        let Some(runner) = &self.runners[index] else { return Vec::new() };
        let table = Table::read();
        let marked: Vec<_> = table.with_argument(&mark(service)).iter().map(|entry| entry.id).collect();
        let below = table.descendants(runner.id());
        below.iter().filter(|entry| !entry.is_zombie() && marked.contains(&entry.id)).map(|entry| entry.id).collect()
    }
}

fn mark(service: &str) -> String {
    format!("mark-of-{service}")
}

fn signal_child(child: &Child, signal: Signal) {
    // One that is gone needs no signal.
    let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let children = self.broker.iter_mut().chain(self.runners.iter_mut().flatten());
        for child in children {
            signal_child(child, Signal::SIGCONT);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn h14_services_of_two_runners_go_where_they_are_sent_and_are_never_on_both() {
    let mut fleet = Fleet::start();
    for name in ["a", "b", "c", "d"] {
        let _ = fleet.deploy(name, &[]).ok();
    }
    let mut places = ["a", "b", "c", "d"].map(|name| fleet.on(name));
    places.sort();
    assert_eq!(places, ["runner-1", "runner-1", "runner-2", "runner-2"], "each has as many as the other");
    let _ = fleet.deploy("e", &["--runner", "runner-1"]).ok();
    fleet.runs_on("e", "runner-1");
    let wide = fleet.mesh.cli(&["catalog", "--wide"]).ok().stdout;
    assert!(wide.contains("runner-1") && wide.contains("runner-2"), "{wide}");

    // To the other one, and nothing of it is left on the first.
    let _ = fleet.deploy("e", &["--runner", "runner-2"]).ok();
    fleet.runs_on("e", "runner-2");
    fleet.mesh.wait("its processes on the first to go", SETTLE, || match fleet.processes_of(0, "e").len() {
        0 => Ok(()),
        left => Err(format!("{left} left")),
    });

    // One runner dies: what it had is unreachable, the rest does not notice.
    let on_first: Vec<_> = ["a", "b", "c", "d"].into_iter().filter(|name| fleet.on(name) == "runner-1").collect();
    let earlier = fleet.kill_runner(0);
    for name in &on_first {
        fleet.mesh.wait_for_status(name, "unreachable", SETTLE);
    }
    fleet.runs_on("e", "runner-2");
    fleet.mesh.wait_gone("what was below the dead runner", &earlier, SETTLE);
    let refused = fleet.mesh.deploy_fixture(on_first[0], &["--runner", "runner-2"], &["--mark", on_first[0]]);
    assert!(refused.said().contains("runner forget runner-1"), "{refused}");
    fleet.listed("runner-1", false);
    let _ = fleet.mesh.cli(&["runner", "forget", "runner-2"]).code_is(1);
    let forgotten = fleet.mesh.cli(&["runner", "forget", "runner-1", "--json"]).ok().json();
    assert_eq!(forgotten["services"].as_array().map(Vec::len), Some(2), "{forgotten}");
    for name in ["a", "b", "c", "d", "e"] {
        fleet.runs_on(name, "runner-2");
    }
    // It comes back with nothing, and is given nothing.
    fleet.start_runner(0);
    assert_eq!(fleet.listed("runner-1", true), 0);
    assert_eq!(fleet.on("a"), "runner-2");
}

#[test]
fn h14_a_forgotten_runner_that_returns_is_told_to_stop_what_it_still_runs() {
    let fleet = Fleet::start();
    let _ = fleet.deploy("a", &["--runner", "runner-1"]).ok();
    let old = fleet.processes_of(0, "a");
    assert!(!old.is_empty(), "it runs below its runner");
    // It hangs, or the way to it does: its service lives on, out of sight.
    fleet.signal_runner(0, Signal::SIGSTOP);
    fleet.mesh.wait_for_status("a", "unreachable", SILENCE);
    assert_eq!(processes::survivors(&old).len(), old.len(), "it still runs");
    let _ = fleet.mesh.cli(&["runner", "forget", "runner-1"]).ok();
    fleet.runs_on("a", "runner-2");
    let new = fleet.processes_of(1, "a");
    fleet.signal_runner(0, Signal::SIGCONT);
    fleet.mesh.wait_gone("what the forgotten runner still ran", &old, SILENCE);
    fleet.listed("runner-1", true);
    fleet.runs_on("a", "runner-2");
    assert_eq!(processes::survivors(&new).len(), new.len(), "the other one was not touched");
}
