//! On what it was measured, and when.

use std::fs;

use serde_json::{Value, json};

/// Facts of the machine before the run.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// What else it did: the average of the last minute.
    pub(crate) load_before: String,
    /// `release`, or `dev`, whose figures mean nothing.
    pub(crate) profile: &'static str,
}

impl Machine {
    pub(crate) fn look() -> Self {
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

    pub(super) fn document(&self) -> Value {
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
    }
}
