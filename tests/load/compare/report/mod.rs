//! What came of a run: aims, a document for programs, and [`page`] for people.

pub(crate) mod page;

use std::fs;
use std::path::Path;

use ::tests::measure::{Aim, Bound, Machine, Spread, aims_document, spread};
use serde_json::{Map, Value, json};

use crate::measured::{CPU, Compared, FIGURES, FLOOR, Measured, P50, RATE};
use crate::options::Options;
use crate::plan::Cell;
use crate::starts::Starts;

/// Broker and runner together, idle and without a service.
const IDLE_BYTES: f64 = 30e6;
/// A second start, to ready.
const START_MS: f64 = 100.0;
/// A call without a text through the mesh, alone on its way, against the same through the empty chain.
const P50_TO_CHAIN: f64 = 1.5;
/// Calls without a text through the mesh, with [`MANY`] in flight.
const CALLS_PER_SECOND: f64 = 25_000.0;
/// Processor time of broker and runner for one of them.
const CPU_US: f64 = 40.0;
const MANY: usize = 64;
/// The path that the aims are about.
const MESH: &str = "mesh";

/// All of it.
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) machine: Machine,
    pub(crate) starts: Starts,
    pub(crate) measured: Measured,
    /// What `load-recovery` printed.
    pub(crate) recovery: Option<Value>,
}

impl Report<'_> {
    pub(crate) fn aims(&self) -> Vec<Aim> {
        let Starts { stopped_ms, killed_ms, broker_kib, runner_kib } = &self.starts;
        let together: Vec<f64> = broker_kib.iter().zip(runner_kib).map(|(a, b)| (a + b) * 1_024.0 / 1e6).collect();
        let mut aims = Vec::new();
        let mut aim = |name, what: &str, unit, bound, samples: &[f64]| {
            let measured = spread(samples);
            let bound = Bound::AtMost(bound);
            aims.extend(measured.map(|measured| Aim { name, what: what.to_owned(), unit, bound, measured }));
        };
        aim("idle", "broker and runner, idle and without a service, PSS", "MB", IDLE_BYTES / 1e6, &together);
        aim("start_after_stop", "second start to ready, after an orderly end", "ms", START_MS, stopped_ms);
        aim("start_after_kill", "second start to ready, after a kill of the broker", "ms", START_MS, killed_ms);
        if let Some(recovery) = &self.recovery {
            let all = |name: &str| numbers(&recovery[name]["all"]);
            let own = recovery["own_start_ms"]["median"].as_f64().unwrap_or(f64::NAN);
            let added: Vec<f64> = all("recovery_ms").iter().map(|recovery| recovery - own).collect();
            let bound = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
            let what = "from a kill of a server's process to the next answer, above its own start";
            aim("recovery", what, "ms", bound(&recovery["promise_ms"]), &added);
            let behind = bound(&recovery["tree_behind_ms"]["promise"]);
            aim("tree_behind", "a dead process still shown as running", "ms", behind, &all("tree_behind_ms"));
        }
        aims.extend(self.speed());
        aims
    }

    /// What calls without a text cost; nothing where those were not measured.
    fn speed(&self) -> impl Iterator<Item = Aim> {
        let cell = |in_flight| {
            let wanted = |cell: &Cell| cell.payload == 0 && cell.in_flight == in_flight;
            self.measured.cells.iter().find(|(cell, _)| wanted(cell)).map(|(_, compared)| compared)
        };
        let of = |in_flight, figure| cell(in_flight).and_then(|compared: &Compared| compared.figure(MESH, figure));
        let floor = cell(1).and_then(|compared| compared.figure(FLOOR, P50)).map(|floor| floor.median);
        let to_chain = of(1, P50).zip(floor).map(|(Spread { median, min, max }, floor)| Spread {
            median: median / floor,
            min: min / floor,
            max: max / floor,
        });
        let aim = |name, what: &str, unit, bound, measured: Option<Spread>| {
            measured.map(|measured| Aim { name, what: what.to_owned(), unit, bound, measured })
        };
        let most = Bound::AtMost;
        [
            aim("p50", "p50 of a call, 1 in flight, to the empty chain's", "×", most(P50_TO_CHAIN), to_chain),
            aim("rate", "calls, 64 in flight", "/s", Bound::AtLeast(CALLS_PER_SECOND), of(MANY, RATE)),
            aim("cpu", "broker and runner for a call, 64 in flight, CPU", "µs", most(CPU_US), of(MANY, CPU)),
        ]
        .into_iter()
        .flatten()
    }
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// The last document in a file.
pub(crate) fn read_recovery(file: &Path) -> Result<Value, String> {
    let words = |error: &dyn std::fmt::Display| format!("--recovery {}: {error}", file.display());
    let text = fs::read_to_string(file).map_err(|error| words(&error))?;
    let document: Value = serde_json::from_str(text.trim()).map_err(|error| words(&error))?;
    match numbers(&document["recovery_ms"]["all"]).is_empty() {
        true => Err(words(&"it holds no recovery_ms: it should be what load-recovery printed")),
        false => Ok(document),
    }
}

/// Everything, for a program.
pub(crate) fn document(report: &Report<'_>) -> Value {
    let Report { options, machine, starts, measured, recovery } = report;
    let cells: Vec<Value> = measured.cells.iter().map(|(cell, compared)| of_cell(cell, compared)).collect();
    json!({
        "machine": machine.document(),
        "options": {
            "calls": options.calls,
            "seconds": options.time.as_secs_f64(),
            "mib": options.mib,
            "repetitions": options.repetitions,
        },
        "aims": aims_document(&report.aims()),
        "starts": {
            "after_stop_ms": starts.stopped_ms,
            "after_kill_ms": starts.killed_ms,
            "broker_pss_kib": starts.broker_kib,
            "runner_pss_kib": starts.runner_kib,
        },
        "cells": cells,
        "pss_kib": { "idle": measured.memory_idle, "after": measured.memory_after },
        "recovery": recovery,
    })
}

fn of_cell(cell: &Cell, compared: &Compared) -> Value {
    let of_path = |path| {
        let mut told = json!({
            "calls": compared.samples(path).iter().map(|kept| kept.calls).collect::<Vec<_>>(),
            "cpu_us_by_process": compared.cpu_by_role(path),
        });
        for figure in FIGURES {
            let Some(Spread { median, min, max }) = compared.figure(path, *figure) else { continue };
            let to_chain = compared.to_floor(path, *figure);
            told[figure.name] = json!({ "median": median, "min": min, "max": max, "to_chain": to_chain });
        }
        told
    };
    let paths: Map<String, Value> = compared.paths().map(|path| (path.to_owned(), of_path(path))).collect();
    json!({ "text_bytes": cell.payload, "in_flight": cell.in_flight, "most_calls": cell.calls, "paths": paths })
}
