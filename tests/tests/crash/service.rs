//! kill -9 of a service's process under a steady load of calls.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tests::harness::load::Plan;
use tests::harness::{Load, Mesh, SETTLE, scaled};

/// Results that must come after each recovery before the next kill.
const BETWEEN_KILLS: u64 = 50;

fn plan(service: &str, tool: &str, in_flight: usize, pause: Duration) -> Plan {
    let arguments = if tool == "echo" { json!({ "text": "steady" }) } else { json!({}) };
    Plan { service: service.to_owned(), tool: tool.to_owned(), arguments, in_flight, pause }
}

#[test]
fn h09_kill_of_a_service_under_load_fails_no_call_that_may_be_repeated() {
    let mesh = Mesh::start_alone();
    let ledger = mesh.root().join("ledger");
    let generous = ["--max-restarts", "1000", "--within", "60"];
    let _ = mesh.deploy_fixture("victim", &generous, &["--count-file", ledger.to_str().unwrap()]).ok();
    let _ = mesh.deploy_fixture("sibling", &[], &[]).ok();
    let sibling_pid = mesh.pid("sibling");

    // As fast as answers come, so that a kill always meets calls on their way.
    let repeatable = Load::start(&mesh, plan("victim", "echo", 8, Duration::ZERO));
    let once = Load::start(&mesh, plan("victim", "count", 16, Duration::ZERO));
    let sibling = Load::start(&mesh, plan("sibling", "echo", 2, Duration::from_millis(2)));
    for load in [&repeatable, &once, &sibling] {
        load.wait_for_more(&mesh, BETWEEN_KILLS, SETTLE);
    }
    let kills = scaled(20, 4);
    for _ in 0..kills {
        let _ = mesh.kill_service("victim");
        for load in [&repeatable, &once, &sibling] {
            load.wait_for_more(&mesh, BETWEEN_KILLS, SETTLE * 2);
        }
    }
    let (repeatable, once, sibling) = (repeatable.stop(), once.stop(), sibling.stop());

    for report in [&repeatable, &once, &sibling] {
        assert_eq!((report.unanswered, report.lost), (0, 0), "every call has an answer: {report:?}");
        assert_eq!(report.sent, report.ok + report.errors.values().sum::<u64>(), "{report:?}");
    }
    assert!(repeatable.errors.is_empty(), "a call of an idempotent tool failed: {repeatable:?}");
    assert!(sibling.errors.is_empty(), "the sibling noticed: {sibling:?}");
    assert_eq!(mesh.pid("sibling"), sibling_pid, "the sibling was restarted");
    assert!(
        once.errors.keys().all(|code| code == "outcome_unknown"),
        "what may have run has exactly one answer besides a result: {once:?}"
    );

    assert!(once.most_attempts <= 1, "a call that may not be repeated was: {once:?}");
    assert!(repeatable.most_attempts <= 2, "a call was given to a third process: {repeatable:?}");

    // What the server itself wrote down: each result ran once, and what is unknown at most once.
    let runs = fs::read_to_string(&ledger).unwrap().lines().count() as u64;
    let unknown: u64 = once.errors.values().sum();
    assert!(
        (once.ok..=once.ok + unknown).contains(&runs),
        "{runs} runs for {} results and {unknown} unknown: something ran twice or never",
        once.ok
    );
    let tree = mesh.tree().unwrap();
    let restarts = tree.process("victim").map(|node| node.restarts.total);
    let service = tree.runner_service("victim").unwrap_or_else(|| panic!("{}", tree.drawing()));
    let counted = service.children.iter().map(|child| child.restarts.total).chain(restarts).max();
    assert_eq!(counted, Some(u64::from(kills)), "every restart is counted: {}", tree.drawing());
}
