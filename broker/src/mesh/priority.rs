//! What rows have for a priority.

use protocol::wire::Priority;

/// The number that rows have for a priority.
pub(super) const fn number_of(priority: Priority) -> i16 {
    match priority {
        Priority::Now => 0,
        Priority::Next => 1,
        Priority::Low => 2,
    }
}

/// The priority of a row's number.
pub(super) const fn priority_of(number: i16) -> Priority {
    match number {
        0 => Priority::Now,
        1 => Priority::Next,
        _ => Priority::Low,
    }
}
