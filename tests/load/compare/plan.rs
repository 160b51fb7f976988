//! The cells: what is called, and with how many calls in flight.

use std::time::Duration;

use crate::options::Options;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Near the largest that a call may have, and 64 of them are within what one member may have on its way.
const LARGE: usize = 960 * KIB;
/// Sizes of the text.
pub(crate) const PAYLOADS: &[usize] = &[0, 64 * KIB, LARGE];
/// Calls on their way at any moment.
pub(crate) const IN_FLIGHT: &[usize] = &[1, 16, 64];
/// Calls before those that count, so that buffers have grown and pages are there.
const WARM_UP_CALLS: u64 = 2_000;
/// What a warm-up may use of the cell's time and bytes.
const WARM_UP_SHARE: u32 = 4;

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
    fn new(payload: usize, in_flight: usize, options: &Options) -> Self {
        let affordable = options.mib.saturating_mul(MIB as u64) / payload.max(1) as u64;
        Self { payload, in_flight, calls: options.calls.min(affordable).max(1), time: options.time }
    }

    /// A shorter one, to be thrown away.
    pub(crate) fn warm_up(self) -> Self {
        let calls = (self.calls / u64::from(WARM_UP_SHARE)).clamp(1, WARM_UP_CALLS);
        Self { calls, time: self.time / WARM_UP_SHARE, ..self }
    }

    /// The size in words.
    pub(crate) fn size(self) -> String {
        match self.payload {
            0 => "0 bytes".to_owned(),
            bytes if bytes % MIB == 0 => format!("{} MiB", bytes / MIB),
            bytes => format!("{} KiB", bytes / KIB),
        }
    }
}

/// All of them.
pub(crate) fn cells(options: &Options) -> Vec<Cell> {
    let of = |&payload| IN_FLIGHT.iter().map(move |&in_flight| Cell::new(payload, in_flight, options));
    PAYLOADS.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_and_its_warm_up_are_bounded_in_calls_bytes_and_time() {
        let options = Options { calls: 1_000, mib: 100, time: Duration::from_secs(2), ..Options::default() };
        let large = Cell::new(MIB, 64, &options);
        assert_eq!((large.calls, large.warm_up().calls), (100, 25));
        assert_eq!(large.warm_up().time, Duration::from_millis(500));
        assert_eq!(Cell::new(0, 1, &options).calls, 1_000);
        assert_eq!(Cell::new(MIB, 1, &Options { mib: 1, ..options.clone() }).warm_up().calls, 1);
        assert_eq!(Cell::new(0, 1, &Options::default()).warm_up().calls, WARM_UP_CALLS);
        assert_eq!(
            [0, 65_536, LARGE, MIB].map(|bytes| Cell::new(bytes, 1, &options).size()),
            ["0 bytes", "64 KiB", "960 KiB", "1 MiB"]
        );
        assert_eq!(cells(&options).len(), PAYLOADS.len() * IN_FLIGHT.len());
    }
}
