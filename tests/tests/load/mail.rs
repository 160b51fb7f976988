//! Messages under load, a twentieth of what is measured: each delivered once and in order, or the program fails.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::harness::{Backend, Outcome, programs, scaled, turn};

on_both! {
    h31_under_load_every_message_comes_once_and_in_order,
}

/// All of it in the development profile.
const DEADLINE: Duration = Duration::from_secs(240);
/// The exit code when an aim is not kept: a busy machine breaks aims, not counts.
const BROKEN: i32 = 3;
/// A hundred under `SOAK=1`: in the development profile every join takes its time.
const PEERS: u32 = 100;
const REPETITIONS: u64 = 2;

fn h31_under_load_every_message_comes_once_and_in_order(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mail.json");
    let (share, peers) = (20 / scaled(20, 1), scaled(PEERS, 20));
    let backlog = scaled(100_000, 1).to_string();
    let mut command = Command::new(programs::mail());
    command
        .args(["--backend", if backend == Backend::Sqlite { "sqlite" } else { "postgres" }])
        .args([
            "--members",
            &peers.to_string(),
            "--share",
            &share.to_string(),
            "--repetitions",
            &REPETITIONS.to_string(),
        ])
        .args(["--backlog", &backlog, "--peers", &scaled(1_000, 1).to_string()])
        .arg("--json")
        .arg(&file);
    // It starts a mesh of its own, and loads the machine.
    let _turn = turn::alone();
    let outcome = Outcome::of(command, DEADLINE);
    assert!(matches!(outcome.code, Some(0 | BROKEN)), "{outcome}");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let told = &document["backends"][0];
    assert_eq!(told["peers"], peers);
    for (name, each) in [("burst", 100), ("long", 1_000)] {
        assert_eq!(told[name]["each"], each / share, "{told}");
    }
    assert_eq!(told["paced"]["messages"], 2_500 / share, "{told}");
    for (name, times) in [("burst", REPETITIONS), ("long", 1), ("backlog", REPETITIONS)] {
        assert_eq!(told[name]["ms"].as_array().map(Vec::len), Some(times as usize), "{name}: {told}");
    }
    assert!(told["broadcast"]["ms"].as_array().is_some_and(|times| times.len() as u64 >= REPETITIONS), "{told}");
    assert_eq!(told["idle"]["peers"], scaled(1_000, 1), "{told}");
}
