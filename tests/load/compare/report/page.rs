//! Tables for people, and the page that holds them.

use std::fmt::Write;

use ::tests::measure::{aims, grouped, spread};

use super::Report;
use crate::measured::{CPU, Compared, FLOOR, Measured, P50, P99, RATE, between_kib};

/// All tables.
pub(crate) fn tables(report: &Report<'_>) -> String {
    let mut text = facts(report);
    text.push_str("\n### Aims\n\n");
    text.push_str(&aims(&report.aims()));
    let mut sizes = Vec::new();
    for (cell, compared) in &report.measured.cells {
        if !sizes.contains(&cell.payload) {
            sizes.push(cell.payload);
            let _ = write!(text, "\n### Calls with a text of {}\n\n{}", cell.size(), calls_head());
        }
        text.push_str(&calls(cell.in_flight, compared));
    }
    text.push_str("\n### Memory\n\n");
    text.push_str(&memory(&report.measured));
    let (broker, runner) = (spread(&report.starts.broker_kib), spread(&report.starts.runner_kib));
    if let (Some(broker), Some(runner)) = (broker, runner) {
        let (broker, runner) = (mb(broker.median), mb(runner.median));
        let _ = writeln!(text, "\nWithout a service, right after a start: broker {broker} MB, runner {runner} MB.");
    }
    text
}

fn facts(report: &Report<'_>) -> String {
    let options = report.options;
    report.machine.introduction(&format!(
        "\nMedians of {} repetitions; a cell ends after {} s, {} calls or {} MiB of text one way, whichever is first.\n\
         × is the multiple of the empty chain's figure.",
        options.repetitions,
        options.time.as_secs_f64(),
        grouped(options.calls as f64),
        options.mib,
    ))
}

fn calls_head() -> String {
    "| in flight | path | calls/s | min–max | × | p50 µs | min–max | × | p99 µs | × | CPU µs a call between | × | CPU \
     µs a call by process |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned()
}

fn calls(in_flight: usize, compared: &Compared) -> String {
    let mut text = String::new();
    for path in compared.paths() {
        let figures = [RATE, P50, P99, CPU].map(|figure| compared.figure(path, figure));
        let [Some(rate), Some(p50), Some(p99), Some(cpu)] = figures else { continue };
        let times = |figure| match path {
            FLOOR => "1".to_owned(),
            _ => compared.to_floor(path, figure).map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        };
        // A path without processes of its own has nothing to compare.
        let between = match cpu.max {
            0.0 => "– | –".to_owned(),
            _ => format!("{:.1} | {}", cpu.median, times(CPU)),
        };
        let by_role = compared.cpu_by_role(path);
        let by_role: Vec<String> = by_role.iter().map(|(role, time)| format!("{role} {time:.1}")).collect();
        let _ = writeln!(
            text,
            "| {in_flight} | {path} | {} | {}–{} | {} | {} | {}–{} | {} | {} | {} | {between} | {} |",
            grouped(rate.median),
            grouped(rate.min),
            grouped(rate.max),
            times(RATE),
            grouped(p50.median),
            grouped(p50.min),
            grouped(p50.max),
            times(P50),
            grouped(p99.median),
            times(P99),
            by_role.join(", "),
        );
    }
    text
}

fn memory(measured: &Measured) -> String {
    let mut text =
        "| path | PSS idle, MB | × | after the load, MB | × | by process, idle → after |\n|---|---|---|---|---|---|\n"
            .to_owned();
    let order = measured.cells.values().next().into_iter().flat_map(Compared::paths);
    for (path, roles) in order.filter_map(|path| Some((path, measured.memory_idle.get(path)?))) {
        let sum = |memory| between_kib(memory, path).filter(|kib| *kib > 0).map(|kib| kib as f64);
        let floor = |memory| between_kib(memory, FLOOR).map(|kib| kib as f64);
        let cells = [&measured.memory_idle, &measured.memory_after].map(|memory| {
            let ratio = sum(memory).zip(floor(memory)).map(|(own, floor)| own / floor);
            (sum(memory).map_or("–".to_owned(), mb), ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.1}")))
        });
        let after = |role| measured.memory_after.get(path).and_then(|roles| *roles.get(role)?);
        let shown = |kib: Option<u64>| kib.map_or("?".to_owned(), |kib| mb(kib as f64));
        let by_role: Vec<String> =
            roles.iter().map(|(role, kib)| format!("{role} {} → {}", shown(*kib), shown(after(role)))).collect();
        let [(idle, idle_ratio), (loaded, loaded_ratio)] = cells;
        let _ =
            writeln!(text, "| {path} | {idle} | {idle_ratio} | {loaded} | {loaded_ratio} | {} |", by_role.join(", "));
    }
    text
}

fn mb(kib: f64) -> String {
    format!("{:.1}", kib * 1_024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::drive::Driven;
    use crate::options::Options;
    use crate::path::Sample;
    use crate::starts::Starts;
    use ::tests::measure::Machine;

    fn report(options: &Options) -> Report<'_> {
        let mut measured = Measured::default();
        for cell in &crate::plan::cells(options)[..1] {
            for (path, micros) in [("chain", 100), ("mesh", 250)] {
                let driven = Driven { wall: Duration::from_secs(1), times: vec![micros * 1_000; 2_000] };
                let cpu = BTreeMap::from([("broker", Duration::from_millis(micros))]);
                measured.add(path, cell, Sample { driven, cpu });
            }
        }
        measured.memory_idle = BTreeMap::from([("chain", BTreeMap::from([("broker", Some(1_000))]))]);
        measured.memory_after = measured.memory_idle.clone();
        let starts = Starts {
            stopped_ms: vec![99.0, 101.0, 98.0],
            killed_ms: vec![300.0],
            broker_kib: vec![10_000.0],
            runner_kib: vec![5_000.0],
        };
        let recovery = json!({
            "own_start_ms": { "median": 100.0 },
            "recovery_ms": { "all": [120.0, 130.0, 160.0] },
            "promise_ms": 50.0,
            "tree_behind_ms": { "all": [21.0], "promise": 20.0 },
        });
        Report { options, machine: Machine::look(), starts, measured, recovery: Some(recovery) }
    }

    #[test]
    fn aims_are_judged_by_their_medians() {
        let options = Options::default();
        let report = report(&options);
        let kept: Vec<_> = report.aims().iter().map(|aim| (aim.name, aim.measured.median, aim.is_kept())).collect();
        let expected = [
            ("idle", 15.36, true),
            ("start_after_stop", 99.0, true),
            ("start_after_kill", 300.0, false),
            ("recovery", 30.0, true),
            ("tree_behind", 21.0, false),
            ("p50", 2.5, false),
        ];
        assert_eq!(kept, expected);
        let text = aims(&report.aims());
        assert!(text.contains("| ≤ 100 ms | 99.0 ms | 98.0–101 | kept |"), "{text}");
        assert!(text.contains("| ≤ 100 ms | 300 ms | 300–300 | **BROKEN** |"), "{text}");
    }

    #[test]
    fn every_row_has_as_many_columns_as_its_head() {
        let options = Options::default();
        let text = tables(&report(&options));
        let mut columns = None;
        for line in text.lines() {
            match (line.starts_with('|'), columns) {
                (false, _) => columns = None,
                (true, None) => columns = Some(line.matches('|').count()),
                (true, Some(count)) => assert_eq!(line.matches('|').count(), count, "{line}"),
            }
        }
        assert!(text.contains("| 1 | mesh | 2,000 | 2,000–2,000 | 1.00 | 250 | 250–250 | 2.50 |"), "{text}");
    }
}
