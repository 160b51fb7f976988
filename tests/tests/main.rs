//! Stories: the whole product, through its commands and sockets, one promise or one use each.
//!
//! `flow` is what people do with it; `crash` is what happens to it; `load` is whether the load programs count right. `SOAK=1` runs the long ones in full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod crash;
mod flow;
mod load;
