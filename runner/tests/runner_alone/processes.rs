//! Nothing is left of a service, however it ends.

use nix::sys::signal::Signal;
use protocol::link::{Outcome, ServiceState as S};
use serde_json::json;

use super::bench::{Runner, nothing_left_of, processes_with, spec};

#[tokio::test]
async fn h07_an_unload_leaves_no_process() {
    for level in ["guard", "namespace"] {
        let runner = Runner::start(&[&format!("level={level}")]).await;
        let mut broker = runner.broker(1).await;
        let token = format!("unload-{level}-{}", std::process::id());
        let spec = spec("orphans", &["--orphan", &token, "--ignore-term"]);
        broker.run(&spec).await;
        assert!(!processes_with(&token).is_empty());
        assert_eq!(broker.services[&spec.deployment].instances[0].level.as_deref(), Some(level));
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
        assert_eq!(processes_with(&token), [0_u32; 0], "{level}: said done too early");
        broker.in_state(&spec, S::Stopped).await;
        // Again is no error, and neither is an unload of what was never there.
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    }
}

#[tokio::test]
async fn h07_h47_a_sigterm_stops_everything_and_lets_calls_finish() {
    let token = format!("term-{}", std::process::id());
    let mut runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = spec("ending", &["--orphan", &token]);
    broker.run(&spec).await;
    let id = broker.ask(&spec, "slow", json!({ "ms": 300 })).await;
    // Its predecessor on the same pipe was answered, so this one is on its way too.
    broker.text(&spec, "echo", json!({ "text": "x" })).await;
    runner.signal(Signal::SIGTERM);
    let reply = broker.reply(id).await;
    assert_eq!(reply.0, protocol::link::ReplyOutcome::Result, "{reply:?}");
    assert_eq!(runner.ended().await, Some(0));
    assert_eq!(processes_with(&token), [0_u32; 0]);
    assert!(!runner.socket().exists() && !runner.dir.path().join("runner.json").exists());
}

#[tokio::test]
async fn h07_a_sigkill_of_the_runner_leaves_no_process() {
    for level in ["guard", "namespace"] {
        let token = format!("kill-{level}-{}", std::process::id());
        let mut runner = Runner::start(&[&format!("level={level}")]).await;
        let mut broker = runner.broker(1).await;
        let spec = spec("killed", &["--orphan", &token, "--ignore-term"]);
        broker.run(&spec).await;
        runner.signal(Signal::SIGKILL);
        runner.ended().await;
        nothing_left_of(&token).await;
        // The next one takes the directory and its stale socket.
        let Runner { dir, .. } = runner;
        let runner = Runner::start_in(dir, &[]).await;
        assert!(runner.broker(1).await.services.is_empty());
    }
}

#[tokio::test]
async fn stop_all_stops_everything_and_the_runner() {
    let token = format!("all-{}", std::process::id());
    let mut runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    for name in ["one", "two", "three"] {
        broker.run(&spec(name, &["--orphan", &token])).await;
    }
    assert_eq!(broker.stop_all().await, Outcome::Ok);
    assert_eq!(processes_with(&token), [0_u32; 0]);
    assert_eq!(runner.ended().await, Some(0));
}

#[tokio::test]
async fn an_orphaned_runner_ends_with_its_services() {
    let token = format!("orphaned-{}", std::process::id());
    let mut runner = Runner::start(&["orphan_ms=700"]).await;
    let mut broker = runner.broker(1).await;
    broker.run(&spec("left", &["--orphan", &token])).await;
    drop(broker);
    assert_eq!(runner.ended().await, Some(0));
    assert_eq!(processes_with(&token), [0_u32; 0]);
}
