//! One handle for each case of a closed list, made before the first of them happens: a page shows from the start what
//! may happen, and counting looks nothing up by a name.

use std::sync::Arc;

use metrics::{Counter, Gauge};

use super::exposition::Exposition;
use super::family::Family;

/// A closed list of words. Written with [`cases!`](crate::cases).
pub trait Case: Copy + PartialEq + 'static {
    /// All of them.
    const ALL: &'static [Self];
    /// The word on the page.
    fn word(self) -> &'static str;
}

/// Makes an enumeration whose cases have words.
#[macro_export]
macro_rules! cases {
    ($(#[$doc:meta])+ $vis:vis enum $name:ident { $($(#[$case_doc:meta])+ $case:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name { $($(#[$case_doc])+ $case),+ }

        impl $crate::Case for $name {
            const ALL: &'static [Self] = &[$(Self::$case),+];
            fn word(self) -> &'static str {
                match self { $(Self::$case => $word),+ }
            }
        }
    };
}

/// A counter for each case. Without an exposition it counts nothing.
#[derive(Debug, Clone)]
pub struct Counters<T>(Arc<[(T, Counter)]>);

impl<T> Default for Counters<T> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<T: Case> Counters<T> {
    /// The series of `family`, which has one label.
    #[must_use]
    pub fn new(exposition: &Exposition, family: &Family) -> Self {
        Self(T::ALL.iter().map(|case| (*case, exposition.counter(family, &[case.word()]))).collect())
    }

    /// It happened.
    pub fn count(&self, case: T) {
        self.add(case, 1);
    }

    /// It happened so often.
    pub fn add(&self, case: T, times: u64) {
        // A few one-byte comparisons.
        if let Some((_, counter)) = self.0.iter().find(|(known, _)| *known == case) {
            counter.increment(times);
        }
    }
}

/// A gauge for each case.
#[derive(Debug, Clone)]
pub struct Gauges<T>(Arc<[(T, Gauge)]>);

impl<T: Case> Gauges<T> {
    /// The series of `family`, which has one label.
    #[must_use]
    pub fn new(exposition: &Exposition, family: &Family) -> Self {
        Self(T::ALL.iter().map(|case| (*case, exposition.gauge(family, &[case.word()]))).collect())
    }

    /// How many there are of each, counted from all there are.
    pub fn show(&self, all: impl IntoIterator<Item = T>) {
        let all: Vec<T> = all.into_iter().collect();
        for (case, gauge) in self.0.iter() {
            gauge.set(super::number(all.iter().filter(|one| *one == case).count()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Kind;

    cases! {
        /// Colours.
        enum Colour {
            /// Red.
            Red = "red",
            /// Blue.
            Blue = "blue",
        }
    }

    const SEEN: Family = Family { name: "seen_total", kind: Kind::Counter, labels: &["colour"], help: "Seen." };
    const HERE: Family = Family { name: "here", kind: Kind::Gauge, labels: &["colour"], help: "Here." };

    #[test]
    fn every_case_is_shown_from_the_start_and_what_is_gone_is_0() {
        let exposition = Exposition::new([&SEEN, &HERE]).unwrap();
        let (seen, here) = (Counters::new(&exposition, &SEEN), Gauges::new(&exposition, &HERE));
        seen.count(Colour::Red);
        here.show([Colour::Blue, Colour::Blue]);
        here.show([Colour::Red]);
        let page = exposition.page();
        for line in [
            r#"seen_total{colour="red"} 1"#,
            r#"seen_total{colour="blue"} 0"#,
            r#"here{colour="red"} 1"#,
            r#"here{colour="blue"} 0"#,
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
        }
    }
}
