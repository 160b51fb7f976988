//! Services that do not work: their deployer learns why, nobody else notices, and they cost nothing.

use std::thread;
use std::time::Duration;

use tests::harness::{Mesh, SETTLE, levels, processes};

/// How long a given-up service is watched for work that it should not do.
const WATCH: Duration = Duration::from_secs(1);
/// Of that time: a tenth, in ticks of 10 ms, for all that broker and runner do besides.
const IDLE_TICKS: u64 = 10;

/// Processor time of the whole mesh while nothing is asked of it.
fn ticks_while_idle(mesh: &Mesh) -> u64 {
    let sum = || mesh.processes().iter().map(|entry| entry.ticks).sum::<u64>();
    let before = sum();
    // The one wait for a time: what is measured is that nothing happens in it.
    thread::sleep(WATCH);
    sum().saturating_sub(before)
}

#[test]
fn h10_a_server_that_exits_at_once_ends_failed_with_its_reason_and_its_lines() {
    for level in levels() {
        let mesh = Mesh::at(level);
        let outcome = mesh.deploy_fixture("stillborn", &[], &["--exit-at-start", "3"]).code_is(1);
        let said = outcome.said();
        assert!(said.contains("exit code 3"), "the reason: {outcome}");
        assert!(said.contains("exit-at-start") || said.to_lowercase().contains("exiting"), "its own line: {outcome}");
        assert_eq!(mesh.status("stillborn"), "failed");

        let call = mesh.cli(&["call", "stillborn", "echo", "text=x"]);
        assert_ne!(call.code, Some(0), "{call}");
        assert!(call.said().contains("failed"), "a call says which state and why: {call}");
        assert!(mesh.below_runner().is_empty(), "a process of a failed service is left");
        let ticks = ticks_while_idle(&mesh);
        assert!(ticks <= IDLE_TICKS, "{ticks} ticks of work in {WATCH:?}");
    }
}

#[test]
fn h10_a_server_that_dies_in_a_loop_ends_crashed_and_its_sibling_never_notices() {
    for level in levels() {
        let mesh = Mesh::at(level);
        let _ = mesh.deploy_fixture("sibling", &[], &[]).ok();
        mesh.check_level("sibling");
        let sibling = mesh.pid("sibling");

        let limits = ["--max-restarts", "3", "--within", "60"];
        let _ = mesh.deploy_fixture("dying", &limits, &["--die-after-ms", "300"]).ok();
        mesh.wait_for_status("dying", "crashed", SETTLE);

        let row = mesh.service("dying").unwrap();
        let tree = mesh.tree().unwrap();
        let node = tree.runner_service("dying").unwrap_or_else(|| panic!("no node: {}", tree.drawing()));
        assert!(node.last_exit.is_some(), "why it ended: {node:?}\n{row}");
        let call = mesh.cli(&["call", "dying", "echo", "text=x"]);
        assert_ne!(call.code, Some(0), "{call}");
        assert!(call.said().contains("crashed"), "{call}");

        assert_eq!(mesh.pid("sibling"), sibling, "the sibling was restarted");
        let _ = mesh.cli(&["call", "sibling", "echo", "text=x"]).ok();
        let own: Vec<_> = mesh.below_runner().iter().map(|id| id.pid).collect();
        let dying: Vec<_> = own
            .iter()
            .filter_map(|pid| processes::entry(*pid))
            .filter(|entry| entry.argv.iter().any(|argument| argument == "--die-after-ms"))
            .collect();
        assert!(dying.is_empty(), "a process of a crashed service is left:{}", processes::listing(&dying));
        let ticks = ticks_while_idle(&mesh);
        assert!(ticks <= IDLE_TICKS, "{ticks} ticks of work in {WATCH:?}");
    }
}

#[test]
fn h45_a_command_that_cannot_be_done_says_why_and_what_to_do() {
    let mesh = Mesh::start();
    let outcome = mesh.cli(&["call", "nobody", "echo"]);
    assert!(matches!(outcome.code, Some(1 | 4)), "{outcome}");
    assert!(outcome.stderr.contains("MCP server \"nobody\" not found in mesh"), "{outcome}");

    let outcome = mesh.cli(&["deploy", "no/such name", "--npx", "x"]);
    assert!(matches!(outcome.code, Some(1 | 2 | 4)), "{outcome}");
    assert!(outcome.stderr.contains("service name must be 1-64 chars"), "{outcome}");

    let outcome = mesh.cli(&["deploy", "rude", "--npx", "--upload-pack=x"]);
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert!(mesh.service("rude").is_none() || mesh.status("rude") == "failed");

    let _ = mesh.deploy_fixture("kind", &[], &[]).ok();
    let outcome = mesh.cli(&["call", "kind", "fail"]).code_is(1);
    assert!(!outcome.said().trim().is_empty(), "{outcome}");
    let outcome = mesh.cli(&["call", "kind", "rpcerror"]).code_is(1);
    assert!(outcome.said().contains("-32602"), "the server's own code: {outcome}");
}
