//! However it ends, nothing is left: not even what fled into a session of its own and ignores SIGTERM.

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Identity, Mesh, SETTLE, Table, levels, processes};

/// The fixture forks twice, calls `setsid` and leaves a process with the token in its arguments, that like the server
/// itself ignores SIGTERM. Returns when it is there.
fn deploy_stubborn(mesh: &Mesh, name: &str) -> (String, Vec<Identity>) {
    let token = format!("orphan-{name}-{}-{}", std::process::id(), mesh.port());
    let _ = mesh.deploy_fixture(name, &[], &["--orphan", &token, "--ignore-term"]).ok();
    mesh.check_level(name);
    let orphans = mesh.wait("the process that fled", SETTLE, || {
        let table = Table::read();
        let fled: Vec<_> = table
            .with_argument(&token)
            .into_iter()
            .filter(|entry| !entry.argv.iter().any(|argument| argument == "--orphan"))
            .map(|entry| entry.id)
            .collect();
        if fled.is_empty() { Err("not there yet".to_owned()) } else { Ok(fled) }
    });
    mesh.look();
    (token, orphans)
}

/// A call that takes a second. Returns when the server works on it: the one behind it on the same pipe is answered.
fn call_under_way(mesh: &Mesh, service: &str) -> JoinHandle<Result<Value, String>> {
    let membership = mesh.membership();
    let [slow, echo] = [("slow", json!({ "ms": 1_000 })), ("echo", json!({ "text": "x" }))]
        .map(|(tool, arguments)| call(service, tool, &arguments));
    let (under_way, told) = mpsc::channel();
    let caller = thread::spawn(move || {
        converse(async {
            let mut peer = Peer::connect(&membership).await?;
            let id = peer.send(slow).await?;
            peer.ask(echo).await?;
            under_way.send(()).map_err(|error| error.to_string())?;
            peer.reply_to(&id).await
        })
    });
    told.recv_timeout(SETTLE).expect("the call is not under way");
    caller
}

fn assert_nobody_with(token: &str) {
    let table = Table::read();
    let left = table.with_argument(token);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn h07_ctrl_c_leaves_no_process() {
    for level in levels() {
        let mut mesh = Mesh::at(level);
        let (token, _) = deploy_stubborn(&mesh, "stubborn");
        let status = mesh.stop_with(Signal::SIGINT);
        assert!(status.success(), "{status} (signal {:?})", status.signal());
        assert_nobody_with(&token);
    }
}

#[test]
fn h47_sigterm_drains_ends_with_0_and_leaves_no_process() {
    for level in levels() {
        let mut mesh = Mesh::at(level);
        let (token, _) = deploy_stubborn(&mesh, "stubborn");
        let caller = call_under_way(&mesh, "stubborn");
        let status = mesh.stop_with(Signal::SIGTERM);
        assert!(status.success(), "{status} (signal {:?})", status.signal());
        let reply = caller.join().unwrap().unwrap_or_else(|error| panic!("{level}: {error}\n{}", mesh.logs()));
        assert_eq!(verdict(&reply), "ok", "{level}: {reply}");
        assert_nobody_with(&token);
    }
}

#[test]
fn h07_undeploy_stops_the_process_and_all_that_it_started() {
    for level in levels() {
        let mesh = Mesh::at(level);
        let (token, orphans) = deploy_stubborn(&mesh, "stubborn");
        let below = mesh.below_runner();
        let _ = mesh.cli_within(SETTLE, &["undeploy", "stubborn"]).ok();
        mesh.wait_gone("the process that fled to go", &orphans, SETTLE);
        mesh.wait_gone("everything below the runner to go", &below, SETTLE);
        assert_nobody_with(&token);
    }
}

#[test]
fn h07_sigkill_of_the_runner_leaves_no_process_of_its_life() {
    for level in levels() {
        let mesh = Mesh::at(level);
        let (_, orphans) = deploy_stubborn(&mesh, "stubborn");
        // It does not notice that its input ends: somebody must kill it.
        processes::send(mesh.pid("stubborn"), Signal::SIGSTOP);
        let below = mesh.kill_runner();
        mesh.wait_gone("the process that fled to go", &orphans, SETTLE);
        mesh.wait_gone("everything of the runner's life to go", &below, SETTLE);
        // And the next life brings the service back, so the earlier ones are not merely stopped.
        mesh.wait_for_status("stubborn", "running", SETTLE);
    }
}
