//! A service of several processes.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use protocol::link::{Outcome, Policy, ReplyOutcome, ServiceSpec, ServiceState as S, StrategyKind};
use serde_json::json;

use super::bench::{Broker, Runner, send_signal, spec};

fn three(service: &str, strategy: StrategyKind, flags: &[&str]) -> ServiceSpec {
    let policy = Policy {
        instances: 3,
        strategy,
        backoff_first_ms: 20,
        backoff_max_ms: 100,
        max_restarts: 100,
        stop_timeout_ms: 1_000,
        ..Policy::default()
    };
    ServiceSpec { policy, ..spec(service, flags) }
}

/// The instances that are others than before, once all of them run again.
async fn exchanged(broker: &mut Broker, spec: &ServiceSpec, before: &[u32], killed: usize) -> Vec<usize> {
    let gone = before[killed];
    broker
        .until("the killed one to be replaced", |broker| {
            let instances = &broker.services[&spec.deployment].instances;
            instances.iter().all(|one| one.pid != Some(gone) && one.state == "running").then_some(())
        })
        .await;
    let after = broker.pids(spec).await;
    (0..before.len()).filter(|n| before[*n] != after[*n]).collect()
}

#[tokio::test]
async fn h03_the_strategy_decides_which_instances_share_a_death() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    for (name, strategy, expected) in [
        ("one-for-one", StrategyKind::OneForOne, vec![1]),
        ("rest-for-one", StrategyKind::RestForOne, vec![1, 2]),
        ("one-for-all", StrategyKind::OneForAll, vec![0, 1, 2]),
    ] {
        let spec = three(name, strategy, &[]);
        broker.run(&spec).await;
        let pids = broker.pids(&spec).await;
        assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3, "{pids:?}");
        send_signal(pids[1], Signal::SIGKILL);
        // Of others than the first it is told only when they are asked to stop.
        let exchanged = exchanged(&mut broker, &spec, &pids, 1).await;
        assert_eq!(exchanged, expected, "{name}");
        assert_eq!(broker.services[&spec.deployment].restarts_total, 1, "{name}: one death is one restart");
    }
}

#[tokio::test]
async fn it_runs_as_long_as_one_instance_does_and_its_calls_with_it() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = three("sturdy", StrategyKind::OneForOne, &[]);
    broker.run(&spec).await;
    let tree = broker.until("the tree", |broker| broker.tree.clone()).await.to_string();
    for node in ["instances", "instance:shared", "instance:shared-2", "instance:shared-3"] {
        assert!(tree.contains(&format!("/{node}\"")), "{node} is missing in {tree}");
    }
    let pids = broker.pids(&spec).await;
    send_signal(pids[0], Signal::SIGKILL);
    send_signal(pids[2], Signal::SIGKILL);
    // Whoever is left takes them.
    for n in 0..50 {
        assert_eq!(broker.text(&spec, "echo", json!({ "text": n.to_string() })).await, n.to_string());
    }
    assert_eq!(exchanged(&mut broker, &spec, &pids, 0).await, [0, 2]);
    assert_eq!(broker.states["sturdy"].last(), Some(&S::Running));
    assert!(!broker.states["sturdy"].contains(&S::Restarting), "{:?}", broker.states);
    broker
        .until("all of them are shown", |broker| {
            broker.tree.as_ref()?.to_string().contains("3 of 3 ready").then_some(())
        })
        .await;
    // None is left when it is unloaded.
    let pids = broker.pids(&spec).await;
    assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    for pid in pids {
        assert!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), None).is_err(), "{pid} is left");
    }
}

#[tokio::test]
async fn calls_go_to_the_least_loaded_and_a_deployment_may_limit_them() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let mut spec = three("spread", StrategyKind::OneForOne, &[]);
    spec.policy.concurrency = 3;
    broker.run(&spec).await;
    // Each counts for itself.
    for expected in ["1", "1", "1", "2"] {
        assert_eq!(broker.text(&spec, "count", json!({})).await, expected, "they take turns");
    }
    // Three at once, one to each; the fourth waits for one of them.
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(broker.ask(&spec, "slow", json!({ "ms": 300 })).await);
    }
    let fourth = broker.ask(&spec, "echo", json!({ "text": "at last" })).await;
    assert_eq!(broker.reply(fourth).await.0, ReplyOutcome::Result);
    assert!(slow.iter().any(|id| broker.has_reply(*id)), "it did not wait");
}

#[tokio::test]
async fn h10_a_deployment_of_which_one_instance_cannot_come_up_is_failed_and_leaves_nothing() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let dir = tempfile::tempdir().unwrap();
    // Two may have the lock file's name, the third finds it taken.
    let script = r#"
for n in 1 2; do if mkdir "$1/$n" 2>/dev/null; then break; fi; [ "$n" = 2 ] && { echo "no place" >&2; exit 7; }; done
read -r _; echo '{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25","capabilities":{}}}'
read -r _; read -r _ || true
"#;
    let argv = ["/bin/sh", "-c", script, "places", dir.path().to_str().unwrap()].map(ToOwned::to_owned).to_vec();
    let spec = ServiceSpec {
        source: protocol::link::Source::Command { argv },
        ..three("crowded", StrategyKind::OneForOne, &[])
    };
    assert_eq!(broker.load(&spec).await, Outcome::Ok);
    let report = broker.in_state(&spec, S::Failed).await;
    assert_eq!(report.failure.unwrap().reason, "exit code 7");
    assert!(report.instances.is_empty());
    assert!(!broker.states["crowded"].contains(&S::Running), "{:?}", broker.states);
}

#[tokio::test]
async fn an_exclusive_service_has_no_second_deployment_beside_it() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let alone = ServiceSpec { policy: Policy { exclusive: true, ..Policy::default() }, ..spec("alone", &[]) };
    broker.run(&alone).await;
    let refused = |outcome: Outcome| matches!(outcome, Outcome::Error { code, .. } if code == "exclusive");
    // Whichever of the two it is that must be alone.
    let second = ServiceSpec { deployment: "0190aaaa-second".to_owned(), policy: Policy::default(), ..alone.clone() };
    assert!(refused(broker.load(&second).await));
    assert_eq!(broker.load(&alone).await, Outcome::Ok, "the same one again");
    assert_eq!(broker.unload(&alone).await, Outcome::Ok);
    broker.run(&second).await;
    assert!(refused(broker.load(&alone).await));
    // One that has ended for good is not in the way.
    let over = ServiceSpec { deployment: "0190aaaa-overfail".to_owned(), ..spec("over", &["--exit-at-start", "1"]) };
    assert_eq!(broker.load(&over).await, Outcome::Ok);
    broker.in_state(&over, S::Failed).await;
    let next = ServiceSpec { policy: alone.policy, ..spec("over", &[]) };
    broker.run(&next).await;
    // Nor may several be asked for.
    let several = ServiceSpec { policy: Policy { instances: 2, ..alone.policy }, ..spec("several", &[]) };
    let Outcome::Error { message, .. } = broker.load(&several).await else { panic!("it was taken") };
    assert!(message.contains("policy.instances"), "{message}");
}
