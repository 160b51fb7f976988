//! What a process has cost: its processor clock, which counts nanoseconds of all its threads, those that ended
//! included, and its proportional share of memory.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// Processor time so far.
///
/// # Errors
/// There is no such process, in words.
pub fn cpu(pid: u32) -> Result<Duration, String> {
    let words = |error: nix::Error| format!("the processor clock of process {pid}: {error}");
    let number = Pid::from_raw(i32::try_from(pid).map_err(|error| error.to_string())?);
    let clock = ClockId::pid_cpu_clock_id(number).map_err(words)?;
    Ok(Duration::from(clock_gettime(clock).map_err(words)?))
}

/// Proportional set size in KiB; none where the system does not let us look.
#[must_use]
pub fn pss_kib(pid: u32) -> Option<u64> {
    kib("Pss:", &fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

/// Resident set size in KiB; none where there is no such process.
#[must_use]
pub fn rss_kib(pid: u32) -> Option<u64> {
    kib("VmRSS:", &fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn kib(name: &str, text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_clock_runs_with_the_own_work() {
        let before = cpu(std::process::id()).unwrap();
        let wanted = before + Duration::from_millis(5);
        let mut sum = 0_u64;
        while cpu(std::process::id()).unwrap() < wanted {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu(std::process::id()).unwrap() >= wanted);
        // Above the largest pid that Linux gives.
        assert!(cpu((1 << 22) + 1).is_err());
    }

    #[test]
    fn the_share_of_memory_is_read_in_kib() {
        let text =
            "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    4000 kB\nPss:            1234 kB\nPss_Dirty: 9 kB\n";
        assert_eq!(kib("Pss:", text), Some(1234));
        assert_eq!(kib("Pss:", ""), None);
        assert!(pss_kib(std::process::id()).unwrap() > 100);
        assert!(rss_kib(std::process::id()) >= pss_kib(std::process::id()));
    }
}
