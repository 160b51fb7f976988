//! When many come and go, figures take the place of single events.

use crate::store::UtcMs;

/// With more sessions than this, figures.
const MANY_LIVE: usize = 50;
/// With more comings and goings in a second than this, figures.
const MANY_A_SECOND: u32 = 20;
/// Figures are told at most so often.
const FIGURES_EVERY_MS: i64 = 1_000;

/// Whether something is told by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Told,
    Counted,
}

/// Comings and goings of late.
#[derive(Debug, Default)]
pub(super) struct Storm {
    second: i64,
    in_second: u32,
    joined: u32,
    left: u32,
    told_at: Option<UtcMs>,
}

impl Storm {
    pub(super) fn joined(&mut self, live: usize, now: UtcMs) -> Turn {
        let turn = self.turn(live, now);
        self.joined += u32::from(turn == Turn::Counted);
        turn
    }

    pub(super) fn left(&mut self, live: usize, now: UtcMs) -> Turn {
        let turn = self.turn(live, now);
        self.left += u32::from(turn == Turn::Counted);
        turn
    }

    fn turn(&mut self, live: usize, now: UtcMs) -> Turn {
        let second = now.as_ms().div_euclid(FIGURES_EVERY_MS);
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second = self.in_second.saturating_add(1);
        if live > MANY_LIVE || self.in_second > MANY_A_SECOND { Turn::Counted } else { Turn::Told }
    }

    /// The figures that are to be told now: joined, left.
    pub(super) fn flush(&mut self, now: UtcMs) -> Option<(u32, u32)> {
        let early = self.told_at.is_some_and(|at| now.as_ms() - at.as_ms() < FIGURES_EVERY_MS);
        if early || (self.joined, self.left) == (0, 0) {
            return None;
        }
        self.told_at = Some(now);
        Some((std::mem::take(&mut self.joined), std::mem::take(&mut self.left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h35_many_are_told_as_figures_once_a_second() {
        let at = UtcMs::from_ms;
        let mut storm = Storm::default();
        let told = (0..1_000).filter(|_| storm.joined(3, at(10)) == Turn::Told).count();
        assert_eq!(told, 20);
        assert_eq!(storm.flush(at(20)), Some((980, 0)));
        assert_eq!(storm.left(51, at(1_030)), Turn::Counted, "in a large mesh always");
        assert_eq!(storm.flush(at(1_019)), None, "not twice in a second");
        assert_eq!(storm.flush(at(1_020)), Some((0, 1)));
        assert_eq!(storm.flush(at(9_000)), None, "nothing is not told");
        assert_eq!(storm.left(50, at(9_000)), Turn::Told);
    }
}
