//! The isolation levels that tests force.
//!
//! Both, always: what passes at one says nothing of the other. A machine that cannot make namespaces needs
//! `NO_NAMESPACES=1`: each test then says what it leaves out. Without it the tests of that level fail there.

use std::io::Write as _;

use runner::process::Level;

/// The variable that says that this machine cannot, and what a failure tells about it.
pub(crate) const HINT: &str = "a machine that cannot make namespaces needs NO_NAMESPACES=1";

/// The levels, for tests that hold at each.
pub(crate) fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Guard];
    levels.extend(has_namespaces().then_some(Level::Namespace));
    levels
}

/// Whether tests of that level run here. If not, it is told where nobody overlooks it.
pub(crate) fn has_namespaces() -> bool {
    let without = std::env::var("NO_NAMESPACES").is_ok_and(|value| value == "1");
    if without {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        // Past the macros, whose words the test harness keeps while a test passes.
        let _ = writeln!(std::io::stderr(), "NOT RUN at level namespace, by NO_NAMESPACES=1: {test}");
    }
    !without
}
