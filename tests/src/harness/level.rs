//! The isolation levels that stories force.
//!
//! Both, always: what passes at one says nothing of the other. A machine that cannot make namespaces needs
//! `NO_NAMESPACES=1`: each story then says what it leaves out. Without it the stories of that level fail there.

use std::fmt;
use std::io::Write as _;

/// How firmly the runner holds what it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A subreaper for each program.
    Guard,
    /// Pid and mount namespaces for each program.
    Namespace,
}

/// What a failure says besides.
pub(super) const HINT: &str = "a machine that cannot make namespaces needs NO_NAMESPACES=1";

impl Level {
    /// The word of the command line and of the tree.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Namespace => "namespace",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The levels, for stories that hold at each. What this machine cannot is told where nobody overlooks it.
#[must_use]
pub fn levels() -> Vec<Level> {
    if std::env::var("NO_NAMESPACES").is_ok_and(|value| value == "1") {
        let thread = std::thread::current();
        let story = thread.name().unwrap_or("a story");
        // Past the macros, whose words the test harness keeps while a test passes.
        let _ = writeln!(std::io::stderr(), "NOT RUN at level namespace, by NO_NAMESPACES=1: {story}");
        return vec![Level::Guard];
    }
    vec![Level::Guard, Level::Namespace]
}
