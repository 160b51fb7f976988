//! kill -9 of the broker, and of broker and runner at once.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Backend, Level, Mesh, Options, SETTLE, levels, processes, scaled, wait_until};

on_both! {
    h17_services_keep_running_while_the_broker_is_killed_and_calls_work_within_2_s_of_its_start,
    h17_services_come_back_after_broker_and_runner_are_killed_together,
}

/// From the start of `up` to the first answered call.
const BACK: Duration = Duration::from_secs(2);

/// A mesh on a backend, its runner forced to a level.
fn forced(backend: Backend, level: Level) -> Mesh {
    Mesh::with(Options { alone: true, backend, level: Some(level), ..Options::default() })
}

/// One call from a fresh peer.
fn echo(mesh: &Mesh, service: &str) -> Result<(), String> {
    let membership = mesh.membership();
    let reply = converse(async {
        let mut peer = Peer::connect(&membership).await?;
        peer.ask(call(service, "echo", &json!({ "text": "hello" }))).await
    })?;
    match verdict(&reply).as_str() {
        "ok" => Ok(()),
        code => Err(format!("{code}: {reply}")),
    }
}

fn h17_services_keep_running_while_the_broker_is_killed_and_calls_work_within_2_s_of_its_start(backend: Backend) {
    for level in levels() {
        let mut mesh = forced(backend, level);
        for name in ["first", "second"] {
            let _ = mesh.deploy_fixture(name, &[], &[]).ok();
            mesh.check_level(name);
        }
        let (first, second, runner) = (mesh.pid("first"), mesh.pid("second"), mesh.runner_pid());
        // Often: what is adopted is decided in the first milliseconds of each start.
        for _ in 0..scaled(25, 3) {
            mesh.kill_broker();
            let started = Instant::now();
            mesh.launch_up();
            let answered = wait_until("an answered call", SETTLE, || echo(&mesh, "first"));
            let took = started.elapsed();
            answered.unwrap_or_else(|error| panic!("{error}\n{}", mesh.logs()));
            assert!(took <= BACK, "the first answered call came {took:?} after the start\n{}", mesh.logs());

            assert_eq!(mesh.runner_pid(), runner, "the runner was adopted\n{}", mesh.logs());
            mesh.wait_for_status("first", "running", SETTLE);
            mesh.wait_for_status("second", "running", SETTLE);
            assert_eq!(
                (mesh.pid("first"), mesh.pid("second")),
                (first, second),
                "the services kept their processes\n{}",
                mesh.logs()
            );
        }
        // An adopted runner is stopped with the rest; dropping the mesh sees to it that nothing is left.
        assert!(mesh.stop().success());
    }
}

fn h17_services_come_back_after_broker_and_runner_are_killed_together(backend: Backend) {
    for level in levels() {
        let mut mesh = forced(backend, level);
        for name in ["first", "second"] {
            let _ = mesh.deploy_fixture(name, &[], &[]).ok();
            mesh.check_level(name);
        }
        for _ in 0..scaled(10, 1) {
            let earlier = mesh.below_runner();
            let runner = mesh.runner_pid();
            assert!(earlier.len() >= 2, "two services ran below the runner: {earlier:?}");
            mesh.kill_broker();
            processes::send(runner, Signal::SIGKILL);
            let left = wait_until("every process of the earlier life to go", SETTLE, || {
                match processes::survivors(&earlier) {
                    left if left.is_empty() => Ok(()),
                    left => Err(processes::listing(&left)),
                }
            });
            left.unwrap_or_else(|error| panic!("{error}"));

            mesh.start_up();
            for name in ["first", "second"] {
                mesh.wait(&format!("{name} to answer again"), SETTLE, || echo(&mesh, name));
                mesh.wait_for_status(name, "running", SETTLE);
                mesh.check_level(name);
            }
        }
    }
}
