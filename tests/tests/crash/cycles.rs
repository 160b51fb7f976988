//! A thousand times: a server that does all it can to stay is deployed, killed and undeployed, and nothing of it stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Backend, Client, Identity, Member, Mesh, Options, Owner, SETTLE, Session, Table, levels};
use tests::harness::{processes, programs, scaled, wait_until};
use tests::measure::procfs;
use tokio::time::timeout;

on_both! {
    h07_a_thousand_cycles_of_deploy_kill_and_undeploy_leave_nothing,
}

const CYCLES: u32 = 1_000;
/// Of all cycles, those before anything is measured: what is made once is there by then.
const WARM_UP_SHARE: u32 = 10;
/// A member may deploy ten times a minute. No more than the share, so that each had its turn when the warm-up ends: a
/// session that was here once is remembered.
const CYCLES_OF_A_DEPLOYER: u32 = 10;
/// How far a process may have grown at the end of all cycles. A service that only the runner's memory did not forget keeps
/// at least its log, which the flood fills: 1,000 lines of 46 bytes and their times. 900 of those are 60 MiB; an
/// allocator's own ups and downs are a tenth of it. A twentieth of the cycles cannot show it, only what is far worse.
const GROWTH_KIB_MAX: u64 = 24 * 1024;
/// Open files that may come and go beside: sockets of clients that have just left, and timers of the database's pool.
const FILES_MAX: usize = 8;
/// Tables that may have more rows than before, and why: what happened is told of services that are gone (50,000 events
/// a mesh at most), and a hello is remembered for 120 s.
const GROWING: [&str; 2] = ["replay", "service_event"];

/// It forks twice and flees into a session of its own, ignores SIGTERM like what it left, and floods standard error.
fn deploy_message(name: &str, mark: &str) -> Value {
    let argv =
        [programs::fixture().to_str().unwrap(), "--orphan", mark, "--ignore-term", "--flood-stderr"].map(json_of);
    json!({
        "type": "mcp_deploy",
        "server_name": name,
        "source": { "type": "command", "argv": argv },
        // It is never gone by itself, so each stop takes as long as it may.
        "config": { "env": { "CYCLE_MARK": mark }, "policy": { "max_restarts": 1_000, "stop_timeout_ms": 20 } },
        "scope": "mesh",
    })
}

fn json_of(word: &str) -> Value {
    word.into()
}

async fn settled(peer: &mut Peer, message: Value, expected: &str) -> Result<(), String> {
    let said = timeout(SETTLE, peer.settle(message)).await.map_err(|_| format!("not {expected} in time"))??;
    if said["status"] == expected { Ok(()) } else { Err(format!("not {expected}: {said}")) }
}

/// What a cycle is played in.
struct Stage {
    mesh: Mesh,
    deployers: Vec<Session>,
    /// Everyone who carried a mark.
    seen: BTreeSet<Identity>,
}

impl Stage {
    fn cycle(&mut self, number: u32) {
        let deployer = self.deployers[number as usize % self.deployers.len()].clone();
        let (name, mark) =
            (format!("nasty-{number}"), format!("cycle-{}-{number}-{}", self.mesh.port(), std::process::id()));
        let played = converse(async {
            let mut peer = Peer::enter(self.mesh.port(), &deployer, Client::Command).await?;
            settled(&mut peer, deploy_message(&name, &mark), "running").await?;
            let there = marked(&mark);
            if there.len() < 2 {
                return Err(format!("the server and what fled from it were expected, there is {there:?}"));
            }
            self.seen.extend(there);
            let _ = self.mesh.kill_service(&name);
            // Every other time it is back before it has to go; else the restart and the undeploy meet.
            if number.is_multiple_of(2) {
                let answer = timeout(SETTLE, peer.ask(call(&name, "echo", &json!({ "text": "back" })))).await;
                match verdict(&answer.map_err(|_| "no answer after the kill")??).as_str() {
                    "ok" => self.seen.extend(marked(&mark)),
                    other => return Err(format!("after the kill: {other}")),
                }
            }
            settled(&mut peer, json!({ "type": "mcp_undeploy", "server_name": name }), "stopped").await?;
            // That word is a promise: not soon, but now.
            match marked(&mark) {
                left if left.is_empty() => Ok(()),
                left => Err(format!("undeployed, and still there: {left:?}")),
            }
        });
        played.unwrap_or_else(|error| panic!("cycle {number}: {error}\n{}", self.mesh.logs()));
    }
}

/// Everyone on this machine with this mark in the environment.
fn marked(mark: &str) -> Vec<Identity> {
    Table::read().with_variable(&format!("CYCLE_MARK={mark}")).iter().map(|entry| entry.id).collect()
}

/// What may not grow, at one moment.
#[derive(Debug)]
struct Footprint {
    /// Of broker and runner.
    rss_kib: [u64; 2],
    open_files: [usize; 2],
    /// In the mesh's directory and the temporary one.
    files: BTreeSet<String>,
    rows: BTreeMap<String, u64>,
}

impl Footprint {
    fn take(mesh: &Mesh, temporary: &Path) -> Self {
        let pids = [mesh.broker_pid(), mesh.runner_pid()];
        let mut files = BTreeSet::new();
        for folder in [mesh.root(), temporary] {
            list(folder, &mut files);
        }
        Self {
            rss_kib: pids.map(|pid| procfs::rss_kib(pid).unwrap()),
            open_files: pids.map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()),
            files,
            rows: rows(mesh),
        }
    }

    /// What there is more of than `before`.
    fn growth(&self, before: &Self) -> Vec<String> {
        let new = self.files.difference(&before.files).filter(|file| !stays(file));
        let mut grown: Vec<String> = new.map(|file| format!("file {file}")).collect();
        for (at, who) in ["broker", "runner"].into_iter().enumerate() {
            let (kib, earlier) = (self.rss_kib[at], before.rss_kib[at]);
            if kib > earlier + GROWTH_KIB_MAX {
                grown.push(format!("{who}: {earlier} KiB before, now {kib} KiB"));
            }
            let (open, earlier) = (self.open_files[at], before.open_files[at]);
            if open > earlier + FILES_MAX {
                grown.push(format!("{who}: {earlier} open files before, now {open}"));
            }
        }
        for (table, count) in self.rows.iter().filter(|(table, _)| !GROWING.contains(&table.as_str())) {
            let earlier = before.rows.get(table).copied().unwrap_or_default();
            if *count > earlier {
                grown.push(format!("table {table}: {earlier} rows before, now {count}"));
            }
        }
        grown
    }
}

/// A service's own directory outlives an undeploy, since what it wrote there is its users'; these wrote nothing.
fn stays(file: &str) -> bool {
    let own = file.split_once("/runner/services/default/").map_or("", |(_, own)| own);
    own.starts_with("nasty-") && matches!(own.split('/').collect::<Vec<_>>().as_slice(), [_] | [_, "data"])
}

/// Every file and folder below, sockets and empty folders too.
fn list(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), found);
        }
    }
}

/// How many rows each table has; none for a database in a file, whose tables are the same.
fn rows(mesh: &Mesh) -> BTreeMap<String, u64> {
    let Some(database) = mesh.database() else { return BTreeMap::new() };
    let tables = database.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'");
    let count = |table: &String| database.rows(&format!("SELECT count(*) FROM {table}"))[0][0].clone();
    let of = |table: String| (table.clone(), count(&table).and_then(|count| count.parse().ok()).unwrap());
    tables.into_iter().filter_map(|row| row.into_iter().next().flatten()).map(of).collect()
}

fn h07_a_thousand_cycles_of_deploy_kill_and_undeploy_leave_nothing(backend: Backend) {
    // One level on each backend: neither knows of the other.
    let all = levels();
    let level = if backend == Backend::Sqlite { all.last() } else { all.first() }.copied();
    let temporary = tempfile::Builder::new().prefix("cm-").tempdir().unwrap();
    let variables = vec![("TMPDIR".to_owned(), temporary.path().to_str().unwrap().to_owned())];
    let mesh = Mesh::with(Options { alone: true, level, backend, variables, ..Options::default() });

    let cycles = scaled(CYCLES, 2 * WARM_UP_SHARE);
    let crew = Owner::of(&mesh).unwrap().admins("deployer", (cycles / CYCLES_OF_A_DEPLOYER) as usize).unwrap();
    let deployers = crew.iter().map(|member: &Arc<Member>| Session::new(member)).collect();
    let mut stage = Stage { mesh, deployers, seen: BTreeSet::new() };
    let warm_up = cycles / WARM_UP_SHARE;
    (0..warm_up).for_each(|number| stage.cycle(number));
    let before = Footprint::take(&stage.mesh, temporary.path());
    (warm_up..cycles).for_each(|number| stage.cycle(number));

    let Stage { mesh, seen, .. } = stage;
    assert!(seen.len() >= 2 * cycles as usize, "each cycle has at least two of its own: {}", seen.len());
    nobody_left(&mesh, &seen);
    // What is freed is given back a little later, and a client that left is noticed a little later.
    let flat = wait_until("what was there before, and no more", SETTLE, || {
        match Footprint::take(&mesh, temporary.path()).growth(&before) {
            grown if grown.is_empty() => Ok(()),
            grown => Err(grown.join("\n")),
        }
    });
    flat.unwrap_or_else(|error| panic!("{error}\nbefore: {before:?}"));
    eprintln!("{cycles} cycles: {:?} KiB, then {:?}", before.rss_kib, Footprint::take(&mesh, temporary.path()).rss_kib);
}

/// Neither running nor a zombie, anywhere, and nothing below broker and runner but the runner itself.
fn nobody_left(mesh: &Mesh, seen: &BTreeSet<Identity>) {
    let tops = [mesh.broker_pid(), mesh.runner_pid()];
    mesh.wait("nobody to be left, not even as a zombie", SETTLE, || {
        let table = Table::read();
        let mut left: Vec<_> = seen.iter().filter_map(|id| table.get(id.pid).filter(|now| now.id == *id)).collect();
        for top in tops {
            left.extend(table.descendants(top).into_iter().filter(|entry| !tops.contains(&entry.id.pid)));
        }
        if left.is_empty() { Ok(()) } else { Err(processes::listing(left)) }
    });
}
