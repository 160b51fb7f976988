//! Metrics of one process, in the text format that Prometheus scrapes.
//!
//! Contract: a metric is a [`Family`], written down once with its labels and its help; what counts it is a handle that
//! was made once and is kept by whoever counts, so that counting is an atomic addition and looks nothing up. Every label
//! value comes from a closed list or from the configuration: the number of series has a bound that does not depend on
//! what runs, who calls or for how long. Nothing here is global: two parts in one process, as in tests, count apart.
//!
//! | file | what |
//! |---|---|
//! | `family` | a metric's name, type, labels and help |
//! | `exposition` | handles, and the page |
//! | `cases` | one handle for each case of a closed list |
//! | `nodes` | the supervision tree in numbers |
//! | `process` | processor time, memory and descriptors of this process |
//! | `reader` | reads a page back, for tests only |

mod cases;
mod exposition;
mod family;
mod nodes;
mod process;
#[cfg(any(test, feature = "reader"))]
pub mod reader;

pub use cases::{Case, Counters, Gauges};
pub use exposition::{CONTENT_TYPE, Exposition, UPKEEP_EVERY};
pub use family::{Family, Kind};
pub use metrics::{Counter, Gauge, Histogram};
pub use nodes::{Endings, NODE_KINDS, NODE_STATES, Nodes, OTHER};
pub use process::{PROCESS, Process, Usage};

/// The refusals by limits, counted under one name by every part of the system.
pub const LIMIT_REFUSED: Family = Family {
    name: "claudemesh_limit_refused_total",
    kind: Kind::Counter,
    labels: &["limit"],
    help: "What a named limit refused, cut or left out.",
};

/// Steps for what takes from a tenth of a millisecond to a minute.
pub const SECONDS: Kind = Kind::Histogram(&[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
]);
/// Steps for what takes from a tenth of a second to ten minutes.
pub const LONG_SECONDS: Kind =
    Kind::Histogram(&[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0]);

/// A number as metrics take it. Exact up to 2⁵³.
#[must_use]
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "there is no other way to a float")]
pub fn number(count: usize) -> f64 {
    count as f64
}
