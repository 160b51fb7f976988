//! What is kept of a run, and the figures that are read from it.

use std::collections::BTreeMap;
use std::time::Duration;

use ::tests::measure::{Spread, quantile, spread};

use crate::path::Sample;
use crate::plan::Cell;

/// What the others are compared with.
pub(crate) const FLOOR: &str = "chain";
/// The same on every path, so no cost of a path.
const ENDS: &[&str] = &["client", "server"];

/// Memory by path and role, in KiB; none where it may not be looked at.
pub(crate) type Memory = BTreeMap<&'static str, BTreeMap<&'static str, Option<u64>>>;

/// A cell, once.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) calls: u64,
    calls_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    /// Microseconds of processor time a call, by role.
    cpu_us: BTreeMap<&'static str, f64>,
}

/// How to get at a figure.
type Of = fn(&Kept) -> f64;

/// A figure of a cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    of: Of,
}

pub(crate) const RATE: Figure = Figure { name: "calls_per_second", of: |kept| kept.calls_per_second };
pub(crate) const P50: Figure = Figure { name: "p50_us", of: |kept| kept.p50_us };
pub(crate) const P99: Figure = Figure { name: "p99_us", of: |kept| kept.p99_us };
/// Of the path's own processes.
pub(crate) const CPU: Figure = Figure { name: "cpu_us", of: Kept::cpu_between };
pub(crate) const FIGURES: &[Figure] = &[RATE, P50, P99, CPU];

/// All repetitions of a cell.
#[derive(Debug, Default)]
pub(crate) struct Compared(Vec<(&'static str, Vec<Kept>)>);

/// Everything so far.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) cells: BTreeMap<Cell, Compared>,
    pub(crate) memory_idle: Memory,
    pub(crate) memory_after: Memory,
}

impl Measured {
    pub(crate) fn add(&mut self, path: &'static str, cell: &Cell, sample: Sample) {
        self.cells.entry(*cell).or_default().add(path, Kept::of(sample));
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

    fn cpu_between(&self) -> f64 {
        let own = self.cpu_us.iter().filter(|(role, _)| !ENDS.contains(role));
        own.fold(0.0, |sum, (_, time)| sum + time)
    }
}

impl Compared {
    fn add(&mut self, path: &'static str, kept: Kept) {
        match self.0.iter_mut().find(|(name, _)| *name == path) {
            Some((_, samples)) => samples.push(kept),
            None => self.0.push((path, vec![kept])),
        }
    }

    /// The paths in the order of the run.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// The repetitions of a path; none when it was not measured.
    pub(crate) fn samples(&self, path: &str) -> &[Kept] {
        self.0.iter().find(|(name, _)| *name == path).map_or(&[], |(_, samples)| samples)
    }

    /// A figure over the repetitions.
    pub(crate) fn figure(&self, path: &str, figure: Figure) -> Option<Spread> {
        spread(&self.samples(path).iter().map(figure.of).collect::<Vec<_>>())
    }

    /// Its median as a multiple of the floor's.
    pub(crate) fn to_floor(&self, path: &str, figure: Figure) -> Option<f64> {
        let floor = self.figure(FLOOR, figure)?.median;
        Some(self.figure(path, figure)?.median / floor)
    }

    /// Median microseconds of processor time a call, by role.
    pub(crate) fn cpu_by_role(&self, path: &str) -> BTreeMap<&'static str, f64> {
        let samples = self.samples(path);
        let roles = samples.first().into_iter().flat_map(|kept| kept.cpu_us.keys().copied());
        let median =
            |role| spread(&samples.iter().filter_map(|kept| kept.cpu_us.get(role).copied()).collect::<Vec<_>>());
        roles.filter_map(|role| Some((role, median(role)?.median))).collect()
    }
}

/// Memory of a path's own processes, in KiB.
pub(crate) fn between_kib(memory: &Memory, path: &str) -> Option<u64> {
    memory.get(path)?.iter().filter(|(role, _)| !ENDS.contains(role)).map(|(_, kib)| *kib).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Driven;

    fn sample(wall_ms: u64, times_us: &[u64], cpu_us: &[(&'static str, u64)]) -> Sample {
        let times = times_us.iter().map(|micros| micros * 1_000).collect();
        let cpu = cpu_us.iter().map(|(role, micros)| (*role, Duration::from_micros(*micros))).collect();
        Sample { driven: Driven { wall: Duration::from_millis(wall_ms), times }, cpu }
    }

    #[test]
    fn figures_are_medians_of_the_repetitions_and_multiples_of_the_floor() {
        let cell = crate::plan::cells(&crate::options::Options::default())[0];
        let mut measured = Measured::default();
        for wall_ms in [10, 40, 20] {
            let floor = [("chain-a", 20), ("chain-b", 20), ("client", 100), ("server", 7)];
            measured.add("chain", &cell, sample(wall_ms, &[3, 1, 2, 100], &floor));
            measured.add("mesh", &cell, sample(2 * wall_ms, &[30, 10, 20, 40], &[("broker", 120), ("server", 7)]));
        }
        let compared = &measured.cells[&cell];
        assert_eq!(compared.figure("chain", RATE), Some(Spread { median: 200.0, min: 100.0, max: 400.0 }));
        assert_eq!(compared.to_floor("mesh", RATE), Some(0.5));
        assert_eq!(compared.figure("mesh", P50).unwrap().median, 30.0);
        assert_eq!(compared.figure("chain", P99).unwrap().median, 100.0);
        // Neither the client nor the server counts: 40 against 120 µs for four calls.
        assert_eq!(compared.figure("chain", CPU).unwrap().median, 10.0);
        assert_eq!(compared.to_floor("mesh", CPU), Some(3.0));
        assert_eq!(compared.cpu_by_role("chain")["client"], 25.0);
        assert_eq!(compared.figure("stdio", P50), None);
        assert_eq!(compared.samples("mesh").iter().map(|kept| kept.calls).sum::<u64>(), 12);
    }

    #[test]
    fn memory_is_that_of_the_own_processes_if_all_may_be_looked_at() {
        let roles = |broker| BTreeMap::from([("broker", broker), ("runner", Some(5)), ("server", Some(100))]);
        let memory = Memory::from([("mesh", roles(Some(3))), ("runner", roles(None))]);
        assert_eq!(between_kib(&memory, "mesh"), Some(8));
        assert_eq!(between_kib(&memory, "runner"), None);
        assert_eq!(between_kib(&memory, "stdio"), None);
    }
}
