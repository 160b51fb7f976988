//! What came of a run: a table for people, a document for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::options::Options;
use crate::path::Sample;
use crate::plan::Cell;
use crate::stats::{Spread, quantile, spread};

/// What the others are compared with.
const FLOOR: &str = "chain";

/// What is kept of a sample.
#[derive(Debug, Clone)]
struct Kept {
    calls: u64,
    calls_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Microseconds of processor time a call, by role.
    cpu_us: BTreeMap<&'static str, f64>,
}

/// Memory by role, in KiB.
type Memory = BTreeMap<&'static str, BTreeMap<&'static str, Option<u64>>>;

/// Everything so far.
#[derive(Default)]
pub(crate) struct Measured {
    /// By cell, then by path in the order of the run.
    cells: BTreeMap<Cell, Vec<(&'static str, Vec<Kept>)>>,
    pub(crate) memory_idle: Memory,
    pub(crate) memory_after: Memory,
}

impl Measured {
    pub(crate) fn add(&mut self, path: &'static str, cell: &Cell, sample: Sample) {
        let kept = Kept::of(sample);
        let paths = self.cells.entry(*cell).or_default();
        match paths.iter_mut().find(|(name, _)| *name == path) {
            Some((_, samples)) => samples.push(kept),
            None => paths.push((path, vec![kept])),
        }
    }
}

impl Kept {
    fn of(sample: Sample) -> Self {
        let Sample { mut driven, cpu } = sample;
        driven.times.sort_unstable();
        let calls = driven.times.len() as u64;
        let at = |share| quantile(&driven.times, share).map_or(f64::NAN, |nanos| nanos as f64 / 1_000.0);
        let each = |time: Duration| time.as_secs_f64() * 1e6 / calls as f64;
        Self {
            calls,
            calls_per_second: calls as f64 / driven.wall.as_secs_f64(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            cpu_us: cpu.into_iter().map(|(role, time)| (role, each(time))).collect(),
        }
    }

    /// Of the path's own processes: neither the client nor the server, which are the same everywhere.
    fn cpu_between(&self) -> f64 {
        self.cpu_us
            .iter()
            .filter(|(role, _)| !matches!(**role, "client" | "server"))
            .fold(0.0, |sum, (_, time)| sum + time)
    }
}

/// How to get at a figure.
type Of = fn(&Kept) -> f64;

/// The figures of a cell: what they are called, and how to get at them.
const FIGURES: &[(&str, Of)] = &[
    ("calls_per_second", |kept| kept.calls_per_second),
    ("p50_us", |kept| kept.p50_us),
    ("p99_us", |kept| kept.p99_us),
    ("cpu_between_us", Kept::cpu_between),
];

fn figure(samples: &[Kept], of: Of) -> Spread {
    let all: Vec<f64> = samples.iter().map(of).collect();
    spread(&all).expect("a cell was measured at least once")
}

fn floor_of(paths: &[(&'static str, Vec<Kept>)], of: Of) -> Option<f64> {
    paths.iter().find(|(name, _)| *name == FLOOR).map(|(_, samples)| figure(samples, of).median)
}

/// Median processor time of each role a call, the path's own first.
fn roles(samples: &[Kept]) -> Vec<(&'static str, f64)> {
    let names: Vec<&'static str> = samples[0].cpu_us.keys().copied().collect();
    let median = |role| {
        let all: Vec<f64> = samples.iter().filter_map(|kept| kept.cpu_us.get(role).copied()).collect();
        spread(&all).map_or(f64::NAN, |spread| spread.median)
    };
    names.into_iter().map(|role| (role, median(role))).collect()
}

/// The cells as lines, medians first.
pub(crate) fn table(measured: &Measured) -> String {
    let mut text = format!(
        "{:>7} {:>4}  {:<7} {:>9} {:>15} {:>9} {:>9} {:>9} {:>6}  cpu µs/call by process\n",
        "text", "fl.", "path", "calls/s", "(min–max)", "p50 µs", "p99 µs", "cpu µs", "p50 ×"
    );
    for (cell, paths) in &measured.cells {
        for (name, samples) in paths {
            let [rate, p50, p99, cpu] = [0, 1, 2, 3].map(|index| figure(samples, FIGURES[index].1));
            let ratio = floor_of(paths, |kept| kept.p50_us).map_or(f64::NAN, |floor| p50.median / floor);
            let by_role = roles(samples).iter().map(|(role, time)| format!("{role} {time:.2}")).collect::<Vec<_>>();
            let range = format!("({:.0}–{:.0})", rate.min, rate.max);
            let _ = writeln!(
                text,
                "{:>7} {:>4}  {name:<7} {:>9.0} {range:>15} {:>9.1} {:>9.1} {:>9.2} {ratio:>6.2}  {}",
                cell.size(),
                cell.in_flight,
                rate.median,
                p50.median,
                p99.median,
                cpu.median,
                by_role.join(", ")
            );
        }
    }
    for (when, memory) in [("idle", &measured.memory_idle), ("after", &measured.memory_after)] {
        for (path, roles) in memory {
            let all: Vec<String> = roles.iter().map(|(role, kib)| format!("{role} {}", mib(*kib))).collect();
            let _ = writeln!(text, "PSS {when:<5} {path:<7} {}", all.join(", "));
        }
    }
    text
}

fn mib(kib: Option<u64>) -> String {
    kib.map_or("?".to_owned(), |kib| format!("{:.1} MiB", kib as f64 / 1_024.0))
}

/// Everything, for a program.
pub(crate) fn document(options: &Options, measured: &Measured) -> Value {
    let cells: Vec<Value> = measured.cells.iter().map(|(cell, paths)| of_cell(cell, paths)).collect();
    json!({
        "repetitions": options.repetitions,
        "cells": cells,
        "pss_kib": { "idle": measured.memory_idle, "after": measured.memory_after },
    })
}

fn of_cell(cell: &Cell, paths: &[(&'static str, Vec<Kept>)]) -> Value {
    let of_path = |samples: &[Kept]| {
        let mut path = json!({
            "calls": samples.iter().map(|kept| kept.calls).collect::<Vec<_>>(),
            "cpu_us_by_process": roles(samples).into_iter().collect::<BTreeMap<_, _>>(),
        });
        for (name, of) in FIGURES {
            let Spread { median, min, max } = figure(samples, *of);
            let ratio = floor_of(paths, *of).map(|floor| median / floor);
            path[*name] = json!({ "median": median, "min": min, "max": max, "to_chain": ratio });
        }
        path
    };
    let paths: serde_json::Map<String, Value> =
        paths.iter().map(|(name, samples)| ((*name).to_owned(), of_path(samples))).collect();
    json!({ "text_bytes": cell.payload, "in_flight": cell.in_flight, "paths": paths })
}
