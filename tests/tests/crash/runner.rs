//! kill -9 of the runner: its processes go, its services come back by themselves.

use std::time::Duration;

use serde_json::json;
use tests::harness::load::Plan;
use tests::harness::{Load, Mesh, SETTLE, levels, scaled};

#[test]
fn h17_services_come_back_unattended_after_the_runner_is_killed() {
    for level in levels() {
        let mesh = Mesh::alone_at(level);
        for name in ["first", "second"] {
            let _ = mesh.deploy_fixture(name, &[], &[]).ok();
            mesh.check_level(name);
        }
        let load = Load::start(
            &mesh,
            Plan {
                service: "first".to_owned(),
                tool: "echo".to_owned(),
                arguments: json!({ "text": "steady" }),
                in_flight: 4,
                pause: Duration::from_millis(1),
            },
        );
        load.wait_for_more(&mesh, 50, SETTLE);
        for _ in 0..scaled(10, 1) {
            let broker = mesh.broker_pid();
            let earlier_runner = mesh.runner_pid();
            let earlier = mesh.kill_runner();
            assert!(earlier.len() >= 2, "two services ran below the runner: {earlier:?}");
            mesh.wait_gone("every process of the earlier life to go", &earlier, SETTLE);
            for name in ["first", "second"] {
                mesh.wait(&format!("{name} to answer again"), SETTLE, || {
                    let call = mesh.cli(&["call", name, "echo", "text=back"]);
                    if call.code == Some(0) && call.stdout.contains("back") { Ok(()) } else { Err(call.to_string()) }
                });
                mesh.wait_for_status(name, "running", SETTLE);
                mesh.check_level(name);
            }
            assert_ne!(mesh.runner_pid(), earlier_runner, "a new runner");
            assert_eq!(mesh.broker_pid(), broker, "the same broker");
            load.wait_for_more(&mesh, 20, SETTLE);
        }
        let report = load.stop();
        assert_eq!(
            (report.unanswered, report.lost),
            (0, 0),
            "every call has an answer, and the socket stayed: {report:?}"
        );
        assert_eq!(report.sent, report.ok + report.errors.values().sum::<u64>(), "{report:?}");
    }
}
