//! A service's life: loaded, ready, down, up, given up.

use std::time::Duration;

use nix::sys::signal::Signal;
use protocol::link::{FailCode, Outcome, Policy, ReplyOutcome, RestartKind, ServiceSpec, ServiceState as S, Source};
use serde_json::json;

use super::bench::{Broker, Runner, failed, processes_with, send_signal, spec};
use crate::levels::levels;

fn brisk() -> Policy {
    Policy { backoff_first_ms: 20, backoff_max_ms: 100, max_restarts: 2, stop_timeout_ms: 1_000, ..Policy::default() }
}

#[tokio::test]
async fn h15_a_load_goes_through_its_states_to_running_with_tools() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("echo", &["--pages", "3"]);
    broker.run(&spec).await;
    let report = &broker.services[&spec.deployment];
    let tools: Vec<&str> = report.tools.as_ref().unwrap().iter().map(|tool| tool.name.as_str()).collect();
    assert!(tools.contains(&"echo") && tools.contains(&"crash"), "{tools:?}");
    assert!(report.failure.is_none());
    assert_eq!(broker.states["echo"].last(), Some(&S::Running));
    assert!(
        broker.states["echo"].iter().all(|state| [S::Queued, S::Building, S::Starting, S::Running].contains(state))
    );
    // Loading it again changes nothing.
    let pid = broker.pid(&spec);
    assert_eq!(broker.load(&spec).await, Outcome::Ok);
    assert_eq!(broker.text(&spec, "echo", json!({ "text": "hi" })).await, "hi");
    assert_eq!(broker.pid(&spec), pid);
    // The tree that is told is the tree that runs.
    let tree = broker.until("the tree", |broker| {
        let text = broker.tree.as_ref()?.to_string();
        text.contains(&format!("\"pid\":{pid}")).then_some(text)
    });
    let tree = tree.await;
    for node in ["default:echo@", "calls", "prepare", "instance:shared", "process", "mcp", "health"] {
        assert!(tree.contains(node), "{node} is missing in {tree}");
    }
}

#[tokio::test]
async fn h08_a_killed_server_that_enforces_the_handshake_comes_back() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let spec = spec("strict", &["--enforce-handshake"]);
        broker.run(&spec).await;
        let mut pid = broker.pid(&spec);
        for round in 0..3 {
            send_signal(pid, Signal::SIGKILL);
            // Whether the runner knows already or not, the call is answered.
            let text = broker.text(&spec, "echo", json!({ "text": format!("round {round}") })).await;
            assert_eq!(text, format!("round {round}"));
            pid = broker.in_another_process(&spec, pid).await;
        }
        assert!(broker.states["strict"].contains(&S::Restarting));
        assert_eq!(broker.services[&spec.deployment].restarts_total, 3);
    }
}

#[tokio::test]
async fn h10_never_ready_is_failed_with_reason_and_log() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let spec = spec("early", &["--exit-at-start", "3"]);
        assert_eq!(broker.load(&spec).await, Outcome::Ok);
        let report = broker.in_state(&spec, S::Failed).await;
        let failure = report.failure.unwrap();
        assert_eq!(failure.reason, "exit code 3");
        assert!(!failure.log.is_empty(), "the server's last words are missing");
        assert_eq!(broker.logs("early").await, failure.log);
        assert!(!broker.states["early"].contains(&S::Restarting), "one try: {:?}", broker.states);
        let reply = broker.call(&spec, "echo", json!({})).await;
        assert_eq!(failed(&reply), (FailCode::NotRunning, "the service is failed: exit code 3"));
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    }
}

#[tokio::test]
async fn h10_a_server_that_keeps_dying_is_crashed_and_its_sibling_does_not_notice() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let sibling = spec("sibling", &[]);
        broker.run(&sibling).await;
        let pid = broker.pid(&sibling);
        let dying = ServiceSpec { policy: brisk(), ..spec("dying", &["--die-after-ms", "20"]) };
        assert_eq!(broker.load(&dying).await, Outcome::Ok);
        let report = broker.in_state(&dying, S::Crashed).await;
        assert_eq!(report.failure.unwrap().reason, "exit code 1");
        assert_eq!(report.restarts_total, 2);
        assert!(report.instances.is_empty());
        let reply = broker.call(&dying, "echo", json!({})).await;
        assert_eq!(failed(&reply), (FailCode::NotRunning, "the service is crashed: too many restarts: exit code 1"));
        assert_eq!((broker.pid(&sibling), broker.states["sibling"].last()), (pid, Some(&S::Running)));
        // By hand it starts once more.
        assert_eq!(broker.restart(&dying).await, Outcome::Ok);
        broker
            .until("another try", |broker| (broker.services[&dying.deployment].state != S::Crashed).then_some(()))
            .await;
        broker.in_state(&dying, S::Crashed).await;
    }
}

#[tokio::test]
async fn a_restart_by_hand_is_a_new_process() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("again", &[]);
    broker.run(&spec).await;
    let pid = broker.pid(&spec);
    assert_eq!(broker.restart(&spec).await, Outcome::Ok);
    broker.in_another_process(&spec, pid).await;
    assert_eq!(broker.text(&spec, "echo", json!({ "text": "back" })).await, "back");
    assert_eq!(broker.services[&spec.deployment].restarts_total, 1, "one restart is one");
    let unknown = super::bench::spec("unknown", &[]);
    assert!(matches!(broker.restart(&unknown).await, Outcome::Error { code, .. } if code == "not_found"));
}

/// Refuses the handshake with more words than a frame can carry, of which each takes six bytes in JSON.
const VERBOSE: &str = r#"
read -r _; printf '{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"'
head -c 600000 /dev/zero | sed 's/\x00/\\u0001/g'; echo '"}}'
read -r _ || true
"#;

#[tokio::test]
async fn h46_what_a_server_says_of_its_failure_does_not_cost_the_link() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let sibling = spec("sibling", &[]);
    broker.run(&sibling).await;
    let argv = ["sh", "-c", VERBOSE].map(ToOwned::to_owned).to_vec();
    let verbose = ServiceSpec { source: Source::Command { argv }, ..spec("verbose", &[]) };
    assert_eq!(broker.load(&verbose).await, Outcome::Ok);
    let report = broker.in_state(&verbose, S::Failed).await;
    let reason = report.failure.unwrap().reason;
    assert!(
        reason.starts_with("the handshake was answered with error 1") && reason.len() < 8 * 1_024,
        "{}",
        reason.len()
    );
    assert_eq!(broker.text(&sibling, "echo", json!({ "text": "here" })).await, "here");
    // Nor does it the next one, which is told everything at once.
    let mut next = runner.broker(2).await;
    next.in_state(&verbose, S::Failed).await;
}

/// Shakes hands, lists no tools, and ends with the code that its first argument names.
const BRIEF: &str = r#"
read -r _; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
read -r _; read -r _ || true; exit "$1"
"#;

#[tokio::test]
async fn a_policy_decides_what_an_end_means() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    for (n, (restart, code, expected)) in [
        (RestartKind::Transient, "0", S::Stopped),
        (RestartKind::Temporary, "0", S::Stopped),
        (RestartKind::Temporary, "3", S::Stopped),
        (RestartKind::Transient, "3", S::Crashed),
        (RestartKind::Permanent, "0", S::Crashed),
    ]
    .into_iter()
    .enumerate()
    {
        let spec = ServiceSpec {
            source: Source::Command { argv: ["/bin/sh", "-c", BRIEF, "brief", code].map(str::to_owned).to_vec() },
            policy: Policy { restart, max_restarts: 1, ..brisk() },
            ..spec(&format!("brief-{n}"), &[])
        };
        broker.run(&spec).await;
        // The third line that it reads is this call, or the next process's.
        let report = loop {
            broker.ask(&spec, "any", json!({})).await;
            let settled = |broker: &Broker| {
                let report = &broker.services[&spec.deployment];
                (report.state == expected || report.state == S::Running).then(|| report.clone())
            };
            let report = broker.until("an end", settled).await;
            if report.state == expected {
                break report;
            }
            broker.logs(&spec.service).await;
        };
        let total = if restart == RestartKind::Temporary || expected == S::Stopped { 0 } else { 1 };
        assert_eq!(report.restarts_total, total, "{restart:?} {code}");
        assert!(code == "0" || report.cause.contains(&format!("exit code {code}")), "{report:?}");
    }
}

#[tokio::test]
async fn h14_an_unload_while_it_starts_wins() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let token = format!("starting-{level}-{}", std::process::id());
        let spec = spec("starting", &["--hang-handshake", "--orphan", &token]);
        assert_eq!(broker.load(&spec).await, Outcome::Ok);
        broker.in_state(&spec, S::Starting).await;
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
        assert_eq!(processes_with(&token), [0_u32; 0]);
        // The same again is a new life, not a left-over of the old one.
        assert_eq!(broker.load(&spec).await, Outcome::Ok);
        broker.in_state(&spec, S::Starting).await;
    }
}

#[tokio::test]
async fn h05_a_hung_server_is_restarted() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let policy = Policy { health_idle_ms: 50, health_timeout_ms: 200, health_misses: 2, ..brisk() };
        let spec = ServiceSpec { policy, ..spec("hung", &[]) };
        broker.run(&spec).await;
        let pid = broker.pid(&spec);
        send_signal(pid, Signal::SIGSTOP);
        broker.in_another_process(&spec, pid).await;
        assert_eq!(broker.text(&spec, "echo", json!({ "text": "thawed" })).await, "thawed");
        let reason = "no answer to 2 pings in a row";
        broker.until(reason, |broker| broker.tree.as_ref()?.to_string().contains(reason).then_some(())).await;
    }
}

#[tokio::test]
async fn h05_a_hung_server_is_restarted_although_callers_keep_it_busy() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let policy = Policy { health_idle_ms: 50, health_timeout_ms: 100, health_misses: 2, ..brisk() };
    let spec = ServiceSpec { policy, ..spec("busy", &[]) };
    broker.run(&spec).await;
    let pid = broker.pid(&spec);
    send_signal(pid, Signal::SIGSTOP);
    // Two callers, each with a call under way at any moment until another process answers.
    let mut ids = [0, 0];
    for (id, timeout_ms) in ids.iter_mut().zip([150, 400]) {
        *id = broker.ask_as(&spec, "count", json!({}), |call| call.timeout_ms = timeout_ms).await;
    }
    let deadline = tokio::time::Instant::now() + super::bench::SOON;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "it still hangs");
        let ended = broker.until("an answer", |broker| ids.iter().position(|id| broker.has_reply(*id))).await;
        let reply = broker.reply(ids[ended]).await;
        if reply.0 == ReplyOutcome::Result {
            break;
        }
        ids[ended] = broker.ask_as(&spec, "count", json!({}), |call| call.timeout_ms = [150, 400][ended]).await;
    }
    assert_ne!(broker.in_another_process(&spec, pid).await, pid);
}

#[tokio::test]
async fn a_server_that_never_shakes_hands_is_failed_in_time() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let policy = Policy { start_timeout_ms: 300, ..brisk() };
    let spec = ServiceSpec { policy, ..spec("mute", &["--hang-handshake"]) };
    assert_eq!(broker.load(&spec).await, Outcome::Ok);
    let report = broker.in_state(&spec, S::Failed).await;
    assert_eq!(report.failure.unwrap().reason, "not ready within the start timeout");
}

#[tokio::test]
async fn h42_a_changed_tool_list_is_told() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("growing", &["--change-tools-after-ms", "50"]);
    broker.run(&spec).await;
    broker
        .until("the new tool", |broker| {
            let tools = broker.services[&spec.deployment].tools.as_ref()?;
            tools.iter().any(|tool| tool.name == "later").then_some(())
        })
        .await;
}

#[tokio::test]
async fn h17_a_broker_that_comes_back_finds_everything_running() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let spec = spec("steady", &[]);
        let mut broker = runner.broker(1).await;
        broker.run(&spec).await;
        let pid = broker.pid(&spec);
        drop(broker);
        let mut broker = runner.broker(2).await;
        let report = broker.in_state(&spec, S::Running).await;
        assert_eq!((report.instances[0].pid, report.tools.is_some()), (Some(pid), true));
        assert_eq!(broker.text(&spec, "echo", json!({ "text": "again" })).await, "again");
    }
}

#[tokio::test]
async fn h11_one_name_in_two_meshes_is_two_services() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let one = spec("same", &[]);
    let two = ServiceSpec { mesh: "other".to_owned(), deployment: "0190bbbb-2".to_owned(), ..one.clone() };
    broker.run(&one).await;
    broker.run(&two).await;
    let (first, second) = (broker.text(&one, "pid", json!({})).await, broker.text(&two, "pid", json!({})).await);
    assert!(broker.pid(&one) != broker.pid(&two), "{first} {second}");
    for spec in [&one, &two] {
        let data = runner.dir.path().join("services").join(&spec.mesh).join("same/data");
        assert!(data.is_dir(), "{} is not its own", data.display());
    }
    // What one says is not in the other's log.
    let pid = broker.pid(&two);
    let reply = broker.call(&two, "crash", json!({})).await;
    assert_eq!(failed(&reply).0, FailCode::OutcomeUnknown);
    broker.in_another_process(&two, pid).await;
    assert_eq!(broker.logs_in("other", "same").await, ["fixture-mcp: dying with code 1, as told"]);
    assert_eq!(broker.logs("same").await, [""; 0]);
    assert_eq!(broker.unload(&one).await, Outcome::Ok);
    assert_eq!(broker.text(&two, "echo", json!({ "text": "untouched" })).await, "untouched");
}

#[tokio::test]
async fn a_wrong_specification_is_refused_with_the_field() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let bad = ServiceSpec { service: "../up".to_owned(), ..spec("x", &[]) };
    assert!(matches!(broker.load(&bad).await, Outcome::Error { code, .. } if code == "invalid"));
    let none = spec("nowhere", &[]);
    let reply = broker.call(&none, "echo", json!({})).await;
    assert_eq!(failed(&reply).0, FailCode::NotFound);
    assert!(!matches!(reply.0, ReplyOutcome::Result));
    // It is all told well before anybody would give up waiting.
    tokio::time::timeout(Duration::from_secs(1), broker.logs("nowhere")).await.unwrap();
}
