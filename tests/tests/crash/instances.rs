//! A service of three processes, one of them killed at random again and again, under a steady load of calls.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tests::harness::load::Plan;
use tests::harness::rng::Rng;
use tests::harness::{Load, Mesh, SETTLE, processes, scaled};

/// Results that must come after each kill before the next one.
const BETWEEN_KILLS: u64 = 25;
const INSTANCES: usize = 3;

fn plan(tool: &str, in_flight: usize) -> Plan {
    let arguments = if tool == "echo" { json!({ "text": "steady" }) } else { json!({}) };
    Plan { service: "herd".to_owned(), tool: tool.to_owned(), arguments, in_flight, pause: Duration::ZERO }
}

/// The processes of its instances that run, in their order.
fn pids(mesh: &Mesh) -> Vec<u32> {
    let tree = mesh.tree().unwrap();
    let service = tree.runner_service("herd").unwrap_or_else(|| panic!("no node: {}", tree.drawing()));
    let below = |node: &tests::harness::tree::Node| node.id.starts_with(&service.id) && node.state == "running";
    tree.of_kind("process").into_iter().filter(|node| below(node)).filter_map(|node| node.number("pid")).collect()
}

#[test]
fn h09_with_several_instances_no_call_runs_twice_and_none_is_lost_whichever_is_killed() {
    let mesh = Mesh::start_alone();
    let ledger = mesh.root().join("ledger");
    let options = ["--instances", "3", "--max-restarts", "1000", "--backoff-max", "1s"];
    let _ = mesh.deploy_fixture("herd", &options, &["--count-file", ledger.to_str().unwrap()]).ok();
    assert_eq!(pids(&mesh).len(), INSTANCES);

    let repeatable = Load::start(&mesh, plan("echo", 8));
    let once = Load::start(&mesh, plan("count", 16));
    let mut rng = Rng::seeded(7);
    for _ in 0..scaled(60, 6) {
        for load in [&repeatable, &once] {
            load.wait_for_more(&mesh, BETWEEN_KILLS, SETTLE * 2);
        }
        let running = mesh.wait("an instance to kill", SETTLE, || {
            Some(pids(&mesh)).filter(|pids| !pids.is_empty()).ok_or_else(|| "none runs".to_owned())
        });
        mesh.look();
        processes::send(*rng.of(&running), Signal::SIGKILL);
    }
    let (repeatable, once) = (repeatable.stop(), once.stop());
    for report in [&repeatable, &once] {
        assert_eq!((report.unanswered, report.lost), (0, 0), "every call has an answer: {report:?}");
        assert_eq!(report.sent, report.ok + report.errors.values().sum::<u64>(), "{report:?}");
    }
    // Two kills in a row may meet one call twice, and nothing else may fail it.
    assert!(repeatable.errors.keys().all(|code| code == "poison"), "{repeatable:?}");
    assert!(once.errors.keys().all(|code| code == "outcome_unknown"), "{once:?}");
    assert!(once.most_attempts <= 1 && repeatable.most_attempts <= 2, "{once:?} {repeatable:?}");
    let runs = fs::read_to_string(&ledger).unwrap().lines().count() as u64;
    let unknown: u64 = once.errors.values().sum();
    assert!(
        (once.ok..=once.ok + unknown).contains(&runs),
        "{runs} runs for {} results and {unknown} unknown: something ran twice or never",
        once.ok
    );
    mesh.wait("all instances to be back", SETTLE, || match pids(&mesh).len() {
        INSTANCES => Ok(()),
        count => Err(format!("{count} run")),
    });
    mesh.wait_for_status("herd", "running", SETTLE);
}
