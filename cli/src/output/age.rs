//! How long ago, in as many letters as a column has room for. Pure: the caller says what time it is.

/// The unit letters with their length in seconds, longest first.
const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];

/// `then` seen from `now`, both in milliseconds since 1970: `3s`, `4m`, `2h`, `12d`. A time in the future (clocks
/// differ) is `0s`; no time at all is `-`.
pub(crate) fn since(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 {
        return "-".to_owned();
    }
    duration(now_ms.saturating_sub(then_ms))
}

/// A length of time in its largest whole unit.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    UNITS
        .iter()
        .find(|(length, _)| seconds >= *length)
        .map_or_else(|| "0s".to_owned(), |(length, unit)| format!("{}{unit}", seconds / length))
}

/// Now, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// An ISO 8601 time as milliseconds since 1970.
pub(crate) fn parse_iso(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        const NOW: u64 = 1_000_000_000_000;
        for (ago_ms, shown) in [
            (0, "0s"),
            (999, "0s"),
            (1_000, "1s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (3_599_000, "59m"),
            (3_600_000, "1h"),
            (86_399_000, "23h"),
            (86_400_000, "1d"),
            (400 * 86_400_000, "400d"),
        ] {
            assert_eq!(since(NOW, NOW - ago_ms), shown, "{ago_ms} ms");
        }
        assert_eq!(since(NOW, NOW + 5_000), "0s", "the other clock is ahead");
        assert_eq!(since(NOW, 0), "-");
    }

    #[test]
    fn iso_times() {
        assert_eq!(parse_iso("1970-01-01T00:00:01.5Z"), Some(1_500));
        assert_eq!(parse_iso("2025-04-08T18:00:00+02:00"), Some(1_744_128_000_000));
        assert_eq!(parse_iso("yesterday"), None);
    }
}
