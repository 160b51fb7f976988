//! Conditions with deadlines.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// Asks `condition` until it holds, and returns what it gave.
///
/// # Errors
/// What was waited for, for how long, and the last reason that `condition` gave for not holding.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let started = Instant::now();
    loop {
        let reason = match condition() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if started.elapsed() >= deadline {
            return Err(format!("waited {deadline:?} for {what}; last: {reason}"));
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_at_last_gives_its_value() {
        let mut tries = 0;
        let value = wait_until("the third try", Duration::from_secs(5), || {
            tries += 1;
            if tries == 3 { Ok(tries) } else { Err(format!("try {tries}")) }
        });
        assert_eq!(value, Ok(3));
    }

    #[test]
    fn a_condition_that_never_holds_names_itself_and_its_last_reason() {
        let error =
            wait_until::<()>("the moon", Duration::from_millis(30), || Err("still rock".to_owned())).unwrap_err();
        assert!(error.contains("the moon") && error.ends_with("still rock"), "{error}");
    }
}
