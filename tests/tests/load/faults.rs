//! The echo server's faults, through the whole mesh.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::harness::load::Plan;
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Load, Mesh, SETTLE, programs};

/// Longer than any call here takes that is answered at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls on their way at any moment, under load.
const IN_FLIGHT: u64 = 4;

fn deploy(mesh: &Mesh, name: &str, flags: &[&str]) {
    let _ = mesh.deploy_program(name, &programs::echo(), &["--max-restarts", "100"], flags).ok();
}

/// So many calls, one after the other: what came of each.
fn verdicts(mesh: &Mesh, message: &Value, calls: usize) -> Vec<String> {
    let membership = mesh.membership();
    let asked = converse(async {
        let mut peer = Peer::connect(&membership).await?;
        let mut verdicts = Vec::new();
        for _ in 0..calls {
            let reply = tokio::time::timeout(PATIENCE, peer.ask(message.clone())).await;
            verdicts.push(verdict(&reply.map_err(|_| format!("no answer after {verdicts:?}"))??));
        }
        Ok(verdicts)
    });
    asked.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()))
}

fn echo(service: &str) -> Value {
    call(service, "echo", &json!({ "text": "x" }))
}

#[test]
fn a_crash_after_so_many_calls_is_an_unknown_outcome_each_time() {
    let mesh = Mesh::start();
    deploy(&mesh, "crashing", &["--crash-after", "3"]);
    let life = ["ok", "ok", "ok", "outcome_unknown"];
    assert_eq!(verdicts(&mesh, &echo("crashing"), 8), [life, life].concat());
}

#[test]
fn under_load_the_crashes_and_the_results_add_up_to_the_calls() {
    let mesh = Mesh::start();
    deploy(&mesh, "crashing", &["--crash-after", "20"]);
    let plan = Plan {
        service: "crashing".to_owned(),
        tool: "echo".to_owned(),
        arguments: json!({ "text": "x" }),
        in_flight: IN_FLIGHT as usize,
        pause: Duration::ZERO,
    };
    let load = Load::start(&mesh, plan);
    load.wait_for_more(&mesh, 50, SETTLE);
    let report = load.stop();
    let unknown = report.errors.get("outcome_unknown").copied().unwrap_or_default();
    assert_eq!((report.ok + unknown, report.lost, report.unanswered), (report.sent, 0, 0), "{report:?}");
    // Each life answers 20 calls. At the next one those that were written die with it: that one, and at most all that
    // were in flight.
    let deaths = (report.ok - 1) / 20..=report.ok / 20;
    assert!((*deaths.start()..=IN_FLIGHT * deaths.end()).contains(&unknown), "{report:?}");
}

#[test]
fn a_server_that_hangs_is_a_timeout_for_each_call_and_stays() {
    let mesh = Mesh::start();
    deploy(&mesh, "hanging", &["--hang-after", "2"]);
    let pid = mesh.pid("hanging");
    let mut message = echo("hanging");
    message["timeoutMs"] = json!(200);
    assert_eq!(verdicts(&mesh, &message, 4), ["ok", "ok", "timeout", "timeout"]);
    assert_eq!(mesh.pid("hanging"), pid, "a call that takes too long ends no process");
}

#[test]
fn a_delay_is_a_delay_of_the_answer_and_no_failure() {
    let mesh = Mesh::start();
    deploy(&mesh, "slow", &["--delay", "40"]);
    let begun = Instant::now();
    assert_eq!(verdicts(&mesh, &echo("slow"), 3), ["ok"; 3]);
    // It cannot be sooner, however idle the machine.
    assert!(begun.elapsed() >= Duration::from_millis(3 * 40));
}

#[test]
fn a_flood_of_lines_disturbs_no_call_and_leaves_a_bounded_log() {
    /// Each leaves a hundred lines, half of them on either output: six times what a log holds, and less than it takes
    /// in a second.
    const CALLS: usize = 60;
    const LOG_LINES: usize = 1_000;
    let mesh = Mesh::start();
    deploy(&mesh, "noisy", &["--flood"]);
    assert_eq!(verdicts(&mesh, &echo("noisy"), CALLS), ["ok"; CALLS]);
    // The lines of an output may come after the answer that was written with them.
    mesh.wait("the last lines of both outputs", SETTLE, || {
        let logs = mesh.cli(&["logs", "noisy", "-n", &LOG_LINES.to_string()]).ok().stdout;
        let has = |text: &str| logs.lines().any(|line| line.contains(text));
        let newest = ["stdout", "stderr"].map(|output| has(&format!("{output} noise 49 of call {CALLS} ")));
        let bounded = logs.lines().count() == LOG_LINES && !has("of call 1 ");
        if newest == [true, true] && bounded { Ok(()) } else { Err(format!("{newest:?}, {bounded}: {logs}")) }
    });
}
