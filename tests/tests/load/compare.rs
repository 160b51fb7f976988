//! The comparison, with a handful of calls: every cell counted, every process accounted for.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::harness::{Outcome, programs, turn};

/// Above the most calls in flight, so that the last slots are used too.
const CALLS: u64 = 70;
/// Of text one way, in a cell.
const MIB: u64 = 3;
const REPETITIONS: usize = 2;
/// All of it in the development profile.
const DEADLINE: Duration = Duration::from_secs(240);
/// The exit code when an aim is not kept: a busy machine breaks aims, not counts.
const BROKEN: i32 = 3;
const PAGE: &str = "before\n<!-- measured: from here on this is written by `make bench` -->\nold\n\
                    <!-- measured: until here -->\nafter\n";

fn compared(folder: &Path) -> Value {
    let file = |name: &str| folder.join(name);
    std::fs::write(file("page.md"), PAGE).unwrap();
    let mut command = Command::new(programs::compare());
    command
        .args(["--seconds", "60", "--starts", "2"])
        .args(["--calls", &CALLS.to_string(), "--mib", &MIB.to_string(), "--repetitions", &REPETITIONS.to_string()])
        .arg("--json")
        .arg(file("compared.json"))
        .arg("--page")
        .arg(file("page.md"));
    // It starts meshes of its own, and loads the machine.
    let _turn = turn::alone();
    let outcome = Outcome::of(command, DEADLINE);
    assert!(matches!(outcome.code, Some(0 | BROKEN)), "{outcome}");
    serde_json::from_str(&std::fs::read_to_string(file("compared.json")).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn every_path_is_compared_and_every_call_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let document = compared(folder.path());
    let cells = document["cells"].as_array().unwrap();
    let sizes: BTreeSet<(u64, u64)> =
        cells.iter().map(|cell| (cell["text_bytes"].as_u64().unwrap(), cell["in_flight"].as_u64().unwrap())).collect();
    let expected: BTreeSet<(u64, u64)> = [0, 64 << 10, 960 << 10]
        .into_iter()
        .flat_map(|bytes| [1, 16, 64].map(|in_flight| (bytes, in_flight)))
        .collect();
    assert_eq!(sizes, expected);

    for cell in cells {
        let affordable = (MIB << 20).checked_div(cell["text_bytes"].as_u64().unwrap()).unwrap_or(u64::MAX);
        let calls = CALLS.min(affordable);
        for (path, roles) in [
            ("stdio", &["client", "server"][..]),
            ("chain", &["chain-a", "chain-b", "client", "server"]),
            ("runner", &["client", "runner", "server", "warden"]),
            ("mesh", &["broker", "client", "runner", "server", "warden"]),
        ] {
            let told = &cell["paths"][path];
            assert_eq!(told["calls"], serde_json::json!(vec![calls; REPETITIONS]), "{path}: {cell}");
            let cpu = told["cpu_us_by_process"].as_object().unwrap();
            assert_eq!(cpu.keys().map(String::as_str).collect::<Vec<_>>(), roles, "{path}");
            for role in roles.iter().filter(|role| **role != "warden") {
                assert!(number(&cpu[*role]) > 0.0, "{path}: the {role} did nothing: {told}");
            }
            for name in ["calls_per_second", "p50_us", "p99_us"] {
                let figure = &told[name];
                let [min, median, max] = ["min", "median", "max"].map(|of| number(&figure[of]));
                assert!(0.0 < min && min <= median && median <= max, "{path}: {told}");
                let floor = number(&cell["paths"]["chain"][name]["median"]);
                assert!((number(&figure["to_chain"]) - median / floor).abs() < 1e-6, "{path}: {told}");
            }
            assert!(number(&told["p50_us"]["median"]) <= number(&told["p99_us"]["median"]), "{path}: {told}");
            for when in ["idle", "after"] {
                assert!(number(&document["pss_kib"][when][path]["server"]) > 0.0, "{path}: {document}");
            }
        }
    }
    for kind in ["after_stop_ms", "after_kill_ms"] {
        assert_eq!(document["starts"][kind].as_array().unwrap().len(), 2, "{kind}");
    }
    let page = std::fs::read_to_string(folder.path().join("page.md")).unwrap();
    assert!(page.starts_with("before\n") && page.ends_with("after\n") && !page.contains("old"), "{page}");
    assert_eq!(page.matches("| mesh |").count(), expected.len() + 1, "each cell and the memory: {page}");
}
