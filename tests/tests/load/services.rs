//! Services beside each other and under updates, with a few hundred calls: each is counted, and none fails.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::harness::{Outcome, programs, turn};

/// Of a stretch.
const CALLS: u64 = 200;
const REPETITIONS: usize = 2;
const UPDATES: u64 = 3;
/// Results of either peer between two updates, before the first and after the last.
const BETWEEN_UPDATES: u64 = 20;
/// All of it in the development profile.
const DEADLINE: Duration = Duration::from_secs(240);
/// The exit code when an aim is not kept: a busy machine breaks aims, not counts.
const BROKEN: i32 = 3;
const PAGE: &str = "before\n<!-- services: from here on this is written by `make bench` -->\nold\n\
                    <!-- services: until here -->\nafter\n";

#[test]
fn beside_slow_and_large_calls_and_under_updates_no_call_fails() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("page.md"), PAGE).unwrap();
    let mut command = Command::new(programs::services());
    command
        .args(["--calls", &CALLS.to_string(), "--seconds", "60"])
        .args(["--repetitions", &REPETITIONS.to_string(), "--updates", &UPDATES.to_string()])
        .arg("--json")
        .arg(file("services.json"))
        .arg("--page")
        .arg(file("page.md"));
    // It starts a mesh of its own, and loads the machine.
    let _turn = turn::alone();
    let outcome = Outcome::of(command, DEADLINE);
    // A call that failed or has no answer ends the program otherwise.
    assert!(matches!(outcome.code, Some(0 | BROKEN)), "{outcome}");

    let document: Value = serde_json::from_str(&std::fs::read_to_string(file("services.json")).unwrap()).unwrap();
    for name in ["alone", "beside_slow", "beside_big"] {
        let calls: Vec<_> = document[name].as_array().unwrap().iter().map(|told| told["calls"].as_u64()).collect();
        assert_eq!(calls, [Some(CALLS); REPETITIONS], "{name}: {document}");
    }
    for name in ["slow_calls", "big_calls"] {
        assert!(document[name].as_u64().is_some_and(|calls| calls >= REPETITIONS as u64), "{name}: {document}");
    }
    assert_eq!(document["updates"]["times"], UPDATES, "{document}");
    let least = 2 * (UPDATES + 1) * BETWEEN_UPDATES;
    assert!(document["updates"]["calls"].as_u64().is_some_and(|calls| calls >= least), "{document}");
    let page = std::fs::read_to_string(file("page.md")).unwrap();
    assert!(page.starts_with("before\n") && page.ends_with("after\n") && !page.contains("old"), "{page}");
}
