//! Twenty services, fifty peers that call them, and somebody who kills a service's process five times a second.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::harness::load::Plan;
use tests::harness::peer::{Peer, converse};
use tests::harness::{
    Client, Load, LoadReport, Mesh, Options, Owner, Rng, SETTLE, Session, processes, programs, scaled,
};
use tokio::time::timeout;

/// As many as a mesh may have.
const SERVICES: usize = 20;
/// A member may deploy ten times a minute.
const DEPLOYERS: usize = 4;
const PEERS: usize = 50;
/// Calls of a peer on their way at any moment.
const IN_FLIGHT: usize = 2;
/// What each takes in the server: so every kill meets some that run, however fast the way is.
const CALL_MS: u32 = 50;
/// The pace of the killer is what the story is about; nothing waits for it.
const BETWEEN_KILLS: Duration = Duration::from_millis(200);
const LENGTH_S: u32 = 60;
/// A service is spared until each of its callers had so many answers since its last kill, far more than are on their way
/// at once: a call that two deaths meet is `poison` by promise, which another story shows.
const SPARED: u64 = 10;
/// Every service is asked to show that it serves after the last kill.
const AFTER: u64 = 5;

fn name(number: usize) -> String {
    format!("target-{number}")
}

fn ledger(mesh: &Mesh, number: usize) -> PathBuf {
    mesh.root().join(format!("ledger-{number}"))
}

fn deploy(mesh: &Mesh, deployers: &[Session]) {
    let deployed = converse(async {
        for number in 0..SERVICES {
            let ledger = ledger(mesh, number);
            let argv = [programs::fixture(), "--count-file".into(), ledger];
            let message = json!({
                "type": "mcp_deploy",
                "server_name": name(number),
                "source": { "type": "command", "argv": argv },
                // Soon back, however often it died: what is asked is what becomes of the calls.
                "config": { "env": {}, "policy": { "max_restarts": 1_000, "backoff_max_ms": 1_000 } },
                "scope": "mesh",
            });
            let deployer = &deployers[number % deployers.len()];
            let mut peer = Peer::enter(mesh.port(), deployer, Client::Command).await?;
            let said = timeout(SETTLE, peer.settle(message)).await.map_err(|_| "no end of a deploy".to_owned())??;
            if said["status"] != "running" {
                return Err(said.to_string());
            }
        }
        Ok(())
    });
    deployed.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
}

/// A peer's calls: of the tool that may be repeated, or of the one that writes each run down.
struct Caller {
    service: usize,
    load: Load,
}

/// Two peers for each service, one for each tool, and the rest for the first services.
fn callers(mesh: &Mesh, memberships: &[Value]) -> [Vec<Caller>; 2] {
    let mut callers = [Vec::new(), Vec::new()];
    for number in 0..PEERS {
        let (service, which) = (number % SERVICES, number / SERVICES % 2);
        let plan = Plan {
            service: name(service),
            // The first only reads; the second acts, and its hints say so.
            tool: ["slow", "count"][which].to_owned(),
            arguments: json!({ "ms": CALL_MS }),
            in_flight: IN_FLIGHT,
            pause: Duration::ZERO,
        };
        let load = Load::start_as(memberships[number % memberships.len()].clone(), plan);
        callers[which].push(Caller { service, load });
    }
    for Caller { load, .. } in callers.iter().flatten() {
        load.wait_for_more(mesh, AFTER, SETTLE);
    }
    callers
}

/// The services whose process runs, and it.
fn running(mesh: &Mesh) -> Vec<(usize, u32)> {
    let tree = mesh.tree().unwrap();
    let one = |number| tree.process(&name(number)).filter(|node| node.state == "running")?.number("pid");
    (0..SERVICES).filter_map(|number| Some((number, one(number)?))).collect()
}

/// How many answers each caller of a service has had.
fn answers(callers: &[Vec<Caller>; 2], service: usize) -> Vec<u64> {
    let of = callers.iter().flatten().filter(|caller| caller.service == service);
    of.map(|caller| caller.load.report()).map(|report| report.ok + report.errors.values().sum::<u64>()).collect()
}

/// Kills for as long as the story is; how often.
fn kill(mesh: &Mesh, callers: &[Vec<Caller>; 2]) -> usize {
    let mut rng = Rng::seeded(20);
    let (mut kills, mut before) = (0, BTreeMap::<usize, Vec<u64>>::new());
    let end = Instant::now() + Duration::from_secs(scaled(LENGTH_S, 1).into());
    let mut next = Instant::now();
    while next < end {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += BETWEEN_KILLS;
        let served = |service: usize| {
            let Some(before) = before.get(&service) else { return true };
            before.iter().zip(answers(callers, service)).all(|(before, now)| now >= before + SPARED)
        };
        let targets: Vec<_> = running(mesh).into_iter().filter(|(service, _)| served(*service)).collect();
        if targets.is_empty() {
            continue;
        }
        let (service, pid) = *rng.of(&targets);
        processes::send(pid, Signal::SIGKILL);
        before.insert(service, answers(callers, service));
        kills += 1;
    }
    kills
}

/// Of all peers of one tool.
fn sum(reports: &[(usize, LoadReport)]) -> (u64, u64, u64) {
    let of = |part: fn(&LoadReport) -> u64| reports.iter().map(|(_, report)| part(report)).sum();
    (of(|report| report.sent), of(|report| report.ok), of(|report| report.errors.values().sum()))
}

#[test]
fn h09_fifty_peers_and_a_killer_among_twenty_services_no_call_fails_unsaid_or_runs_twice() {
    let mesh = Mesh::with(Options { alone: true, ..Options::default() });
    let crew = Owner::of(&mesh).unwrap().admins("caller", DEPLOYERS).unwrap();
    deploy(&mesh, &crew.iter().map(Session::new).collect::<Vec<_>>());
    let memberships: Vec<Value> = crew.iter().map(|member| member.membership(mesh.port())).collect();
    let callers = callers(&mesh, &memberships);

    let kills = kill(&mesh, &callers);
    assert!(kills >= scaled(LENGTH_S, 1) as usize, "{kills} kills are none to speak of");
    // Whoever died last is back, too.
    for Caller { load, .. } in callers.iter().flatten() {
        load.wait_for_more(&mesh, AFTER, SETTLE);
    }
    let stopped =
        |callers: Vec<Caller>| callers.into_iter().map(|caller| (caller.service, caller.load.stop())).collect();
    let [repeatable, once]: [Vec<(usize, LoadReport)>; 2] = callers.map(stopped);

    for (service, report) in repeatable.iter().chain(&once) {
        assert_eq!((report.unanswered, report.lost), (0, 0), "every call has an answer: {service} {report:?}");
        assert_eq!(report.sent, report.ok + report.errors.values().sum::<u64>(), "{service} {report:?}");
    }
    for (service, report) in &repeatable {
        assert!(report.errors.is_empty(), "a call of an idempotent tool failed: {service} {report:?}");
        assert!(report.most_attempts <= 2, "a call was given to a third process: {service} {report:?}");
    }
    for (service, report) in &once {
        let definite = report.errors.keys().all(|code| code == "outcome_unknown");
        assert!(definite, "what may have run has one answer besides a result: {service} {report:?}");
        assert!(report.most_attempts <= 1, "a call that may not be repeated was: {service} {report:?}");
    }
    // What the servers wrote down: each result ran once, and what is unknown at most once.
    for number in 0..SERVICES {
        let of: Vec<_> = once.iter().filter(|(service, _)| *service == number).cloned().collect();
        let (_, ok, unknown) = sum(&of);
        let runs = fs::read_to_string(ledger(&mesh, number)).unwrap().lines().count() as u64;
        assert!((ok..=ok + unknown).contains(&runs), "{number}: {runs} runs for {ok} results and {unknown} unknown");
    }
    assert!(sum(&once).2 > 0, "no kill met a call that ran: the story shows nothing");
    eprintln!("{kills} kills; repeatable {:?}, once {:?} (sent, results, unknown)", sum(&repeatable), sum(&once));
    for number in 0..SERVICES {
        mesh.wait_for_status(&name(number), "running", SETTLE);
    }
}
