//! What the load programs measure with, and how they tell it.

mod aim;
mod interrupt;
mod machine;
pub mod markers;
pub mod procfs;
pub mod program;
mod stats;

pub use aim::{Aim, Bound, aims, aims_document, grouped};
pub use interrupt::Interrupt;
pub use machine::Machine;
pub use stats::{Spread, quantile, spread};
