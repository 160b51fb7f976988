//! What a metric is, apart from how much.

/// A metric and all its series. Written down once, as a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// The full name, with the suffix that its type and unit want.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means, on one line.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows; begins at 0 with the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts what it measured by size, up to each of these steps.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word for it on the page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// Writes metrics down as constants, with the prefix that all of their names have.
#[macro_export]
macro_rules! families {
    ($prefix:literal, $($const:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $const: $crate::Family = $crate::Family {
                name: concat!($prefix, $name),
                kind: $kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+
    };
}
