//! On what it was measured, and when.

use std::fs;

use serde_json::{Value, json};

/// A machine with more than this of its cores at work already is busy. `load-recovery`, which `make bench` runs first,
/// is half a core.
const BUSY_SHARE: f64 = 0.5;

/// Facts of the machine before the run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// ISO 8601, the day.
    pub date: String,
    /// That may be used.
    pub cores: usize,
    /// Its model.
    pub processor: String,
    /// Its version.
    pub kernel: String,
    /// What else it did: the average of the last minute.
    pub load_before: String,
    /// `release`, or `dev`, whose figures mean nothing.
    pub profile: &'static str,
}

impl Machine {
    /// As it is now.
    #[must_use]
    pub fn look() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let first = |text: String| text.split_whitespace().next().unwrap_or("?").to_owned();
        Self {
            date: jiff::Timestamp::now().to_string().chars().take("2026-01-01".len()).collect(),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            processor: processor(&read("/proc/cpuinfo")),
            kernel: first(read("/proc/sys/kernel/osrelease")),
            load_before: first(read("/proc/loadavg")),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
        }
    }

    /// Whether it did so much besides that the figures say little.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.load_before.parse::<f64>().is_ok_and(|load| load > self.cores as f64 * BUSY_SHARE)
    }

    /// For the page: on what it was measured, what `how` says of the run, and whether to believe it.
    #[must_use]
    pub fn introduction(&self, how: &str) -> String {
        let Self { date, cores, processor, kernel, load_before, profile } = self;
        let mut text = format!(
            "{date}: {cores} cores, {processor}, Linux {kernel}, {profile} build. The load average before the run was \
             {load_before}.{how}\n"
        );
        if self.is_busy() {
            text.push_str(
                "\n**The machine was busy with other work: measure again before any of this is believed.**\n",
            );
        }
        text
    }

    /// For a program.
    #[must_use]
    pub fn document(&self) -> Value {
        let Self { date, cores, processor, kernel, load_before, profile } = self;
        json!({
            "date": date,
            "cores": cores,
            "processor": processor,
            "kernel": kernel,
            "load_average_before": load_before,
            "profile": profile,
        })
    }
}

fn processor(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or("?", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_read_and_may_be_unknown() {
        assert_eq!(processor("processor : 0\nmodel name\t: A B 9\nmodel name : C\n"), "A B 9");
        assert_eq!(processor("Processor: x"), "?");
        let machine = Machine::look();
        assert_eq!(machine.date.len(), 10);
        assert!(machine.cores > 0);
        let with = |load: &str| Machine { load_before: load.to_owned(), cores: 4, ..machine.clone() };
        assert_eq!(["1.99", "2.01", "?"].map(|load| with(load).is_busy()), [false, true, false]);
    }
}
