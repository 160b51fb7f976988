//! The results as ratios: ours to the bare one of the same run, and larger sizes to the smallest.

use std::path::Path;

use serde_json::Value;

use crate::scale::SIZES;

/// Each with a bare floor.
const PAIRS: [&str; 5] = [
    "spawn one and call it",
    "spawn 1,000 and call the last",
    "call on one thread",
    "call across threads",
    "end and be back",
];
/// Each at every size.
const SCALES: [&str; 9] = [
    "snapshot",
    "view of one node",
    "view of a node without its grafts",
    "view of a grafted node",
    "snapshot with grafts",
    "round of the watchdog",
    "restart of one among many",
    "start and stop a set",
    "start and stop a static supervisor",
];

pub fn print(results: &Path, (bare, ours): (u64, u64)) {
    println!("\n{:36} {:>12} {:>12} {:>7}", "", "bare", "ours", "ratio");
    for what in PAIRS {
        if let (Some(bare), Some(ours)) = (mean(results, what, "bare"), mean(results, what, "ours")) {
            println!("{what:36} {:>12} {:>12} {:>7.1}", time(bare), time(ours), ours / bare);
        }
    }
    let ratio = f64::from(u32::try_from(ours).unwrap()) / f64::from(u32::try_from(bare).unwrap());
    println!("{:36} {:>12} {:>12} {ratio:>7.1}", "memory of one", format!("{bare} B"), format!("{ours} B"));
    let [small, middle, large] = SIZES.map(|size| size.to_string());
    println!("\n{:36} {small:>12} {middle:>12} {large:>12} {:>16}", "nodes", "a node, of large");
    for what in SCALES {
        let times = SIZES.map(|size| mean(results, what, &size.to_string()));
        if let [Some(small), Some(middle), Some(large)] = times {
            let each = large / f64::from(u32::try_from(SIZES[2]).unwrap());
            println!("{what:36} {:>12} {:>12} {:>12} {:>16}", time(small), time(middle), time(large), time(each));
        }
    }
}

/// Nanoseconds, from what criterion wrote.
fn mean(results: &Path, group: &str, name: &str) -> Option<f64> {
    let text = std::fs::read_to_string(results.join(group).join(name).join("new/estimates.json")).ok()?;
    serde_json::from_str::<Value>(&text).ok()?["median"]["point_estimate"].as_f64()
}

fn time(nanos: f64) -> String {
    match nanos {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.2} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}
