//! Calls: what passes through, and what happens to those that are under way when something breaks.

use nix::sys::signal::Signal;
use protocol::link::{FailCode, Header, Policy, ReplyOutcome, ServiceSpec, ServiceState as S, Source};
use serde_json::{Value, json};

use super::bench::{Runner, SOON, failed, send_signal, spec};

#[tokio::test]
async fn h19_results_and_errors_pass_as_the_server_gave_them() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("plain", &[]);
    broker.run(&spec).await;
    let (outcome, body, attempts) = broker.call(&spec, "fail", json!({})).await;
    let result: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((outcome, &result["isError"], attempts), (ReplyOutcome::Result, &json!(true), 1));
    let (outcome, body, _) = broker.call(&spec, "rpcerror", json!({})).await;
    let error: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((outcome, &error["code"]), (ReplyOutcome::Error, &json!(-32602)));
    assert!(error.get("data").is_some(), "{error}");
}

#[tokio::test]
async fn h19_content_of_every_kind_passes_untouched() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("rich", &[]);
    broker.run(&spec).await;
    let (outcome, body, _) = broker.call(&spec, "rich", json!({})).await;
    let result: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((outcome, &result["content"][1]["mimeType"]), (ReplyOutcome::Result, &json!("image/png")));
    assert_eq!(result["structuredContent"], json!({ "n": 1.5, "nested": { "list": [1, null, "x"] } }));
    assert_eq!((&result["isError"], &result["ofTomorrow"]), (&json!(true), &json!({})));
    assert_eq!(result["_meta"], json!({ "vendor/own": [true] }));
}

#[tokio::test]
async fn h20_progress_comes_to_who_asked_for_it_and_not_too_often() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("stepwise", &[]);
    broker.run(&spec).await;
    let steps = json!({ "steps": 500, "ms": 300 });
    let asked = broker.ask_as(&spec, "steps", steps.clone(), |call| call.progress = true).await;
    let silent = broker.ask(&spec, "steps", steps).await;
    assert_eq!(
        (broker.reply(asked).await.0, broker.reply(silent).await.0),
        (ReplyOutcome::Result, ReplyOutcome::Result)
    );
    let words = &broker.progress[&asked];
    assert_eq!(words[0], json!({ "progress": 1, "total": 500, "message": "step 1" }));
    assert_eq!(words.last().unwrap()["progress"], 500, "the last word wins");
    assert!(words.len() <= 12, "{}", words.len());
    assert!(!broker.progress.contains_key(&silent), "nobody asked");
}

#[tokio::test]
async fn h20_a_call_that_is_given_up_is_told_to_the_server() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("told", &[]);
    broker.run(&spec).await;
    let id = broker.ask(&spec, "slow", json!({ "ms": 60_000 })).await;
    broker.caught_up(&spec).await;
    broker.send(&Header::Cancel { id, reason: Some("enough".to_owned()) }, bytes::Bytes::new()).await;
    assert_eq!(failed(&broker.reply(id).await).0, FailCode::Cancelled);
    let seen: Value = serde_json::from_str(&broker.text(&spec, "cancelled", json!({})).await).unwrap();
    assert_eq!((&seen[0]["reason"], seen.as_array().unwrap().len()), (&json!("enough"), 1), "{seen}");
    // One that runs out of time is told as well.
    let late = broker.ask_as(&spec, "slow", json!({ "ms": 60_000 }), |call| call.timeout_ms = 50).await;
    assert_eq!(failed(&broker.reply(late).await).0, FailCode::Timeout);
    let seen: Value = serde_json::from_str(&broker.text(&spec, "cancelled", json!({})).await).unwrap();
    assert_eq!(seen[1]["reason"], "timed out", "{seen}");
}

#[tokio::test]
async fn a_service_that_answers_no_call_in_time_is_left_alone_and_tried_again_after_a_restart() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let policy = Policy { call_timeout_ms: 50, circuit_timeouts: 2, ..Policy::default() };
    let spec = ServiceSpec { policy, ..spec("deaf", &["--hang-calls"]) };
    broker.run(&spec).await;
    for _ in 0..2 {
        let id = broker.ask_as(&spec, "echo", json!({ "text": "x" }), |call| call.timeout_ms = 50).await;
        assert_eq!(failed(&broker.reply(id).await).0, FailCode::Timeout);
    }
    let reply = broker.call(&spec, "echo", json!({ "text": "x" })).await;
    let (code, words) = failed(&reply);
    assert!(code == FailCode::CircuitOpen && words.contains("tried again in"), "{words}");
    assert!(broker.logs("deaf").await.iter().any(|line| line.starts_with("2 calls in a row")));
    // It answers pings: it is not ended for this.
    assert_eq!(broker.services[&spec.deployment].state, S::Running);
    assert_eq!(broker.restart(&spec).await, protocol::link::Outcome::Ok);
    let id = broker.ask_as(&spec, "echo", json!({ "text": "x" }), |call| call.timeout_ms = 50).await;
    assert_eq!(failed(&broker.reply(id).await).0, FailCode::Timeout, "a new process begins without a past");
}

#[tokio::test]
async fn h50_a_member_with_many_calls_does_not_delay_anothers_first() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let policy = Policy { concurrency: 1, ..Policy::default() };
    let spec = ServiceSpec { policy, ..spec("narrow", &[]) };
    broker.run(&spec).await;
    let of = |who: &'static str| move |call: &mut protocol::link::CallHeader| call.affinity = Some(who.to_owned());
    let mut many = Vec::new();
    for _ in 0..200 {
        many.push(broker.ask_as(&spec, "slow", json!({ "ms": 5 }), of("many")).await);
    }
    let one = broker.ask_as(&spec, "echo", json!({ "text": "mine" }), of("one")).await;
    assert_eq!(broker.reply(one).await.0, ReplyOutcome::Result);
    let waiting = many.iter().filter(|id| !broker.has_reply(**id)).count();
    assert!(waiting > 0, "all of the other's calls came first");
    for id in many {
        assert_eq!(broker.reply(id).await.0, ReplyOutcome::Result);
    }
}

#[tokio::test]
async fn h19_a_large_result_does_not_hold_up_a_small_one() {
    const BYTES: usize = 10 * 1024 * 1024;
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let (large, small) = (spec("large", &[]), spec("small", &[]));
    broker.run(&large).await;
    broker.run(&small).await;
    // The large one is on its way, and cannot come to its end before it is given credit.
    broker.keeps_credit = true;
    let id = broker.ask(&large, "big", json!({ "bytes": BYTES })).await;
    broker.until("a piece of the large one", |broker| (broker.pieces > 0).then_some(())).await;
    assert_eq!(broker.text(&small, "echo", json!({ "text": "quick" })).await, "quick");
    assert!(!broker.has_reply(id));
    broker.keeps_credit = false;
    let (outcome, body, _) = broker.reply(id).await;
    assert_eq!(outcome, ReplyOutcome::Result);
    assert!(body.len() >= BYTES, "{}", body.len());
}

#[tokio::test]
async fn h09_a_call_in_flight_at_a_death_is_answered_at_once_and_does_not_run_twice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("count");
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("counting", &["--count-file", file.to_str().unwrap()]);
    broker.run(&spec).await;
    let pid = broker.pid(&spec);
    assert_eq!(broker.text(&spec, "count", json!({})).await, "1");
    let crash = broker.ask(&spec, "crash", json!({})).await;
    let reply = broker.reply(crash).await;
    assert_eq!((failed(&reply).0, reply.2), (FailCode::OutcomeUnknown, 1));
    // One that comes while it restarts waits and succeeds.
    assert_eq!(broker.text(&spec, "count", json!({})).await, "2");
    broker.in_another_process(&spec, pid).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
}

#[tokio::test]
async fn h09_a_repeatable_call_goes_to_the_next_process() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    // It answers nothing that is a call, so each process dies with it in flight.
    let spec = spec("silent", &["--hang-calls"]);
    broker.run(&spec).await;
    let pid = broker.pid(&spec);
    let id = broker.ask(&spec, "echo", json!({ "text": "x" })).await;
    broker.caught_up(&spec).await;
    send_signal(pid, Signal::SIGKILL);
    let second = broker.in_another_process(&spec, pid).await;
    broker.caught_up(&spec).await;
    send_signal(second, Signal::SIGKILL);
    let reply = broker.reply(id).await;
    assert_eq!((failed(&reply).0, reply.2), (FailCode::Poison, 2));
    broker.in_state(&spec, S::Running).await;
}

#[tokio::test]
async fn a_cancelled_call_is_answered_and_the_server_goes_on() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("patient", &["--hang-calls"]);
    broker.run(&spec).await;
    let id = broker.ask(&spec, "slow", json!({ "ms": 60_000 })).await;
    broker.caught_up(&spec).await;
    broker.send(&Header::Cancel { id, reason: None }, bytes::Bytes::new()).await;
    assert_eq!(failed(&broker.reply(id).await).0, FailCode::Cancelled);
    assert_eq!(broker.services[&spec.deployment].state, S::Running);
}

#[tokio::test]
async fn an_ill_behaved_server_is_still_understood() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let flags = ["--double-answer", "--foreign-id", "--requests", "--not-utf8", "--long-line", "20000000"];
    let spec = spec("wild", &flags);
    broker.run(&spec).await;
    for n in 0..20 {
        let text = n.to_string();
        assert_eq!(broker.text(&spec, "echo", json!({ "text": text })).await, text);
    }
    let answers = broker.text(&spec, "answers", json!({})).await;
    let answers: Vec<Value> = serde_json::from_str(&answers).unwrap();
    for (id, is_offered) in [("own-ping", true), ("1", false), ("own-roots", false), ("own-question", false)] {
        let name = |answer: &&Value| {
            answer["id"] == id || answer["id"].as_u64().is_some_and(|number| number.to_string() == id)
        };
        let answer = answers.iter().find(name).unwrap_or_else(|| panic!("{id} has no answer: {answers:?}"));
        assert_eq!(answer["error"]["code"] == -32601, !is_offered, "{answer}");
        assert_eq!(answer["result"].is_object(), is_offered, "{answer}");
    }
    let logs = broker.logs("wild").await.join("\n");
    assert!(logs.contains("no text") && logs.contains("is longer than"), "{logs}");
}

#[tokio::test]
async fn h16_the_log_holds_what_a_flooding_server_said_last() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("loud", &["--flood-stderr"]);
    broker.run(&spec).await;
    assert_eq!(broker.text(&spec, "echo", json!({ "text": "heard" })).await, "heard");
    let logs = broker.logs("loud").await;
    assert!(!logs.is_empty() && logs.len() <= 1_000, "{}", logs.len());
}

/// Shakes hands, lists no tools, and says more lines than are kept, but in few bytes.
const CHATTY: &str = r#"
read -r _; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
read -r _; seq 1 1500 >&2; read -r _ || true
"#;

#[tokio::test]
async fn h16_the_log_holds_the_last_lines_and_not_the_first() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let argv = ["/bin/sh", "-c", CHATTY].map(ToOwned::to_owned).to_vec();
    let spec = ServiceSpec { source: Source::Command { argv }, ..spec("chatty", &[]) };
    broker.run(&spec).await;
    let all_said = async {
        loop {
            let logs = broker.logs("chatty").await;
            if logs.last().is_some_and(|last| last == "1500") {
                return logs;
            }
        }
    };
    let logs = tokio::time::timeout(SOON, all_said).await.expect("its last line is not in the log");
    assert_eq!((logs.len(), logs[0].as_str()), (1_000, "501"));
}

#[tokio::test]
async fn h46_a_line_of_100_mb_costs_the_runner_no_such_memory() {
    const BYTES: u64 = 100_000_000;
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("endless", &["--long-line", &BYTES.to_string()]);
    broker.run(&spec).await;
    assert_eq!(broker.text(&spec, "echo", json!({ "text": "after it" })).await, "after it");
    let logs = broker.logs("endless").await.join("\n");
    assert!(logs.contains("a line of 100000000 bytes is longer than"), "{logs}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", runner.child.id().unwrap())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    assert!(most.parse::<u64>().unwrap() * 1_024 < BYTES, "{most} kB at most");
}
