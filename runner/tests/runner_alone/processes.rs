//! Nothing is left of a service, however it ends.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use nix::sys::signal::Signal;
use protocol::link::{Outcome, ServiceSpec, ServiceState as S, Source};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::bench::{Runner, SOON, nothing_left_of, processes_with, send_signal, spec};
use crate::levels::levels;

#[tokio::test]
async fn h07_an_unload_leaves_no_process() {
    for level in levels() {
        let runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let token = format!("unload-{level}-{}", std::process::id());
        let spec = spec("orphans", &["--orphan", &token, "--ignore-term"]);
        broker.run(&spec).await;
        assert!(!processes_with(&token).is_empty());
        assert_eq!(broker.services[&spec.deployment].instances[0].level.as_deref(), Some(level.as_str()));
        // It does not notice that its input ends, so that there is something to wait for.
        send_signal(broker.pid(&spec), Signal::SIGSTOP);
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
        assert_eq!(processes_with(&token), [0_u32; 0], "{level}: said done too early");
        broker.in_state(&spec, S::Stopped).await;
        // Again is no error, and neither is an unload of what was never there.
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    }
}

#[tokio::test]
async fn h07_h47_a_sigterm_stops_everything_and_lets_calls_finish() {
    for level in levels() {
        let token = format!("term-{level}-{}", std::process::id());
        let mut runner = Runner::at(level, &[]).await;
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
}

#[tokio::test]
async fn h07_a_sigkill_of_the_runner_leaves_no_process() {
    for level in levels() {
        let token = format!("kill-{level}-{}", std::process::id());
        let mut runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        let spec = spec("killed", &["--orphan", &token, "--ignore-term"]);
        broker.run(&spec).await;
        // It does not notice that its input ends: somebody must kill it.
        send_signal(broker.pid(&spec), Signal::SIGSTOP);
        runner.signal(Signal::SIGKILL);
        runner.ended().await;
        nothing_left_of(&token).await;
        // The next one takes the directory and its stale socket.
        let Runner { dir, .. } = runner;
        let runner = Runner::start_in(dir, &[]).await;
        assert!(runner.broker(1).await.services.is_empty());
    }
}

/// A directory with a `node` and an `npm` whose installation never ends: it has a child in a session of its own, and
/// files enough that removing them takes a moment.
fn endless_npm(token: &str) -> tempfile::TempDir {
    let tools = tempfile::tempdir().unwrap();
    symlink("/bin/true", tools.path().join("node")).unwrap();
    let npm = tools.path().join("npm");
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\ni=0; while [ $i -lt 3000 ]; do : > f$i; i=$((i+1)); done\nsetsid sh -c 'trap \"\" TERM; kill -STOP $$' {token} &\necho under way >&2\nsleep 600\n"
    );
    std::fs::write(&npm, script).unwrap();
    std::fs::set_permissions(&npm, std::fs::Permissions::from_mode(0o755)).unwrap();
    tools
}

/// Waits until so many processes carry the token.
async fn at_least(count: usize, token: &str) {
    let there = async {
        while processes_with(token).len() < count {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, there).await.expect("the tools did not start");
}

#[tokio::test]
async fn h07_h14_an_unload_during_a_build_leaves_no_tool_and_no_file() {
    for level in levels() {
        let token = format!("build-{level}-{}", std::process::id());
        let tools = endless_npm(&token);
        let path = format!("path={}", tools.path().display());
        let mut runner = Runner::at(level, &[&path]).await;
        let mut broker = runner.broker(1).await;
        let building =
            |name| ServiceSpec { source: Source::Npx { package: format!("{name}@1.0.0") }, ..spec(name, &[]) };
        // The second waits for nothing but its own build, the third for a turn.
        for spec in [building("first"), building("second"), building("third")] {
            assert_eq!(broker.load(&spec).await, Outcome::Ok);
        }
        at_least(2, &token).await;
        for (name, left) in [("third", 2), ("first", 1), ("second", 0)] {
            assert_eq!(broker.unload(&building(name)).await, Outcome::Ok);
            assert_eq!(processes_with(&token).len(), left, "{level} {name}: said done too early");
            let staged = std::fs::read_dir(runner.dir.path().join("cache/staging/npx").join(name));
            assert_eq!(staged.map_or(0, Iterator::count), 0, "{level} {name}: its directory is left");
        }
        // The end of the runner during a build is no different.
        assert_eq!(broker.load(&building("last")).await, Outcome::Ok);
        at_least(1, &token).await;
        runner.signal(Signal::SIGTERM);
        assert_eq!(runner.ended().await, Some(0));
        assert_eq!(processes_with(&token), [0_u32; 0], "{level}: ended too early");
    }
}

#[tokio::test]
async fn stop_all_stops_everything_and_the_runner() {
    for level in levels() {
        let token = format!("all-{level}-{}", std::process::id());
        let mut runner = Runner::at(level, &[]).await;
        let mut broker = runner.broker(1).await;
        for name in ["one", "two", "three"] {
            broker.run(&spec(name, &["--orphan", &token])).await;
        }
        assert_eq!(broker.stop_all().await, Outcome::Ok);
        assert_eq!(processes_with(&token), [0_u32; 0]);
        assert_eq!(runner.ended().await, Some(0));
    }
}

#[tokio::test]
async fn an_orphaned_runner_ends_with_its_services() {
    for level in levels() {
        let token = format!("orphaned-{level}-{}", std::process::id());
        let mut runner = Runner::at(level, &["orphan_ms=700"]).await;
        let mut broker = runner.broker(1).await;
        broker.run(&spec("left", &["--orphan", &token])).await;
        drop(broker);
        assert_eq!(runner.ended().await, Some(0));
        assert_eq!(processes_with(&token), [0_u32; 0]);
    }
}
