//! The cells: what is called, with how many calls in flight.

use std::time::Duration;

use crate::options::Options;

const KIB: usize = 1024;
/// Sizes of the text.
pub(crate) const PAYLOADS: &[usize] = &[0];
/// Calls on their way at any moment.
pub(crate) const IN_FLIGHT: &[usize] = &[1, 16, 64];
/// Calls before those that count, so that buffers have grown and pages are there.
const WARM_UP_CALLS: u64 = 2_000;
/// The most bytes of text that a warm-up moves.
const WARM_UP_BYTES: u64 = 64 * 1024 * 1024;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Bytes of the text.
    pub(crate) payload: usize,
    /// Calls on their way at any moment.
    pub(crate) in_flight: usize,
    /// At most so many calls,
    pub(crate) calls: u64,
    /// begun within this time.
    pub(crate) time: Duration,
}

impl Cell {
    /// The same, to be thrown away.
    pub(crate) fn warm_up(self) -> Self {
        let affordable = WARM_UP_BYTES / self.payload.max(1) as u64;
        let calls = WARM_UP_CALLS.min(affordable).min(self.calls).max(1);
        Self { calls, time: self.time / 4, ..self }
    }

    /// The size in words.
    pub(crate) fn size(self) -> String {
        match self.payload {
            0 => "0".to_owned(),
            bytes if bytes % (KIB * KIB) == 0 => format!("{} MiB", bytes / (KIB * KIB)),
            bytes => format!("{} KiB", bytes / KIB),
        }
    }
}

/// All of them.
pub(crate) fn cells(options: &Options) -> Vec<Cell> {
    let of = |payload| {
        IN_FLIGHT.iter().map(move |&in_flight| Cell { payload, in_flight, calls: options.calls, time: options.time })
    };
    PAYLOADS.iter().copied().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_bounded_in_calls_bytes_and_time() {
        let cell = Cell { payload: 1024 * 1024, in_flight: 64, calls: 1_000, time: Duration::from_secs(2) };
        assert_eq!((cell.warm_up().calls, cell.warm_up().time), (64, Duration::from_millis(500)));
        assert_eq!(Cell { payload: 0, ..cell }.warm_up().calls, 1_000);
        assert_eq!(Cell { payload: 0, calls: 5, ..cell }.warm_up().calls, 5);
        assert_eq!((cell.size().as_str(), Cell { payload: 65_536, ..cell }.size().as_str()), ("1 MiB", "64 KiB"));
    }
}
