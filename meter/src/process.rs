//! This process as the kernel counts it, under the names that every Prometheus client uses.

use std::fmt::Write as _;

use procfs::process::{LimitValue, Process as Entry};
use procfs::{ProcResult, WithCurrentSystemInfo as _};

use super::family::{Family, Kind};

const CPU: Family = family("process_cpu_seconds_total", Kind::Counter, "Processor time taken, user and system.");
const START: Family = family("process_start_time_seconds", Kind::Gauge, "When the process started, Unix time.");
const RESIDENT: Family = family("process_resident_memory_bytes", Kind::Gauge, "Memory held, shared pages in full.");
const PROPORTIONAL: Family = family(
    "process_proportional_memory_bytes",
    Kind::Gauge,
    "Memory held, each shared page divided by those who share it.",
);
const FDS: Family = family("process_open_fds", Kind::Gauge, "Open file descriptors.");
const MAX_FDS: Family = family("process_max_fds", Kind::Gauge, "File descriptors it may have.");
const THREADS: Family = family("process_threads", Kind::Gauge, "Threads.");

/// All of them.
pub const PROCESS: &[Family] = &[CPU, START, RESIDENT, PROPORTIONAL, FDS, MAX_FDS, THREADS];

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family { name, kind, labels: &[], help }
}

/// This process.
pub struct Process;

/// What it takes. What the kernel does not tell is left out.
#[derive(Debug, Default)]
pub struct Usage(Vec<(Family, f64)>);

impl Process {
    /// Reads what it takes now. Blocks, for milliseconds where much memory is held.
    #[must_use]
    pub fn usage() -> Usage {
        let mut usage = Usage::default();
        let Ok(me) = Entry::myself() else { return usage };
        // Each of them may be refused apart from the others.
        drop(usage.of_stat(&me));
        drop(usage.of_memory(&me));
        drop(usage.of_descriptors(&me));
        usage
    }
}

impl Usage {
    fn of_stat(&mut self, me: &Entry) -> ProcResult<()> {
        let stat = me.stat()?;
        let ticks = float(procfs::ticks_per_second());
        self.0.push((CPU, float(stat.utime.saturating_add(stat.stime)) / ticks));
        self.0.push((RESIDENT, float(stat.rss_bytes().get())));
        self.0.push((THREADS, float(u64::try_from(stat.num_threads).unwrap_or_default())));
        self.0.push((START, float(procfs::boot_time_secs()?) + float(stat.starttime) / ticks));
        Ok(())
    }

    fn of_memory(&mut self, me: &Entry) -> ProcResult<()> {
        let rollup = me.smaps_rollup()?.memory_map_rollup;
        if let Some(bytes) = rollup.into_iter().find_map(|map| map.extension.map.get("Pss").copied()) {
            self.0.push((PROPORTIONAL, float(bytes)));
        }
        Ok(())
    }

    fn of_descriptors(&mut self, me: &Entry) -> ProcResult<()> {
        self.0.push((FDS, super::number(me.fd_count()?)));
        if let LimitValue::Value(most) = me.limits()?.max_open_files.soft_limit {
            self.0.push((MAX_FDS, float(most)));
        }
        Ok(())
    }

    /// Adds it to a page. Processor time is a counter with a fraction, which the exposition's counters do not have.
    pub fn add_to(&self, page: &mut String) {
        for (Family { name, kind, help, .. }, value) in &self.0 {
            // Writing to a string does not fail.
            let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {}\n{name} {value}\n\n", kind.as_str());
        }
    }
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "there is no other way to a float")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn value(usage: &Usage, family: Family) -> f64 {
        usage.0.iter().find(|(known, _)| *known == family).unwrap().1
    }

    #[test]
    fn it_is_what_the_kernel_counts() {
        let held = vec![1_u8; 64 * 1024 * 1024];
        let (before, open) = (Process::usage(), std::fs::File::open("/dev/null").unwrap());
        let after = Process::usage();
        let mib = |bytes: f64| bytes / 1024.0 / 1024.0;
        assert!(mib(value(&after, RESIDENT)) > 64.0 && mib(value(&after, PROPORTIONAL)) > 64.0, "{after:?}");
        assert!(value(&after, FDS) > value(&before, FDS), "{before:?} {after:?}");
        assert!(value(&after, MAX_FDS) >= value(&after, FDS) && value(&after, THREADS) >= 1.0);
        assert!(value(&after, CPU) > 0.0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(&after, START);
        assert!((-2.0..3_600.0).contains(&age), "{age}");
        drop((held, open));
    }

    #[test]
    fn the_page_names_each_of_them() {
        let mut page = String::new();
        Process::usage().add_to(&mut page);
        for family in PROCESS {
            let sample = page.lines().find(|line| line.starts_with(&format!("{} ", family.name)));
            assert!(sample.is_some(), "{} is not in\n{page}", family.name);
        }
    }
}
