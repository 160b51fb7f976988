//! Stories: the whole product, through its commands and sockets, one promise or one use each.
//!
//! `flow` is what people do with it; `crash` is what happens to it; `load` is whether the load programs count right. `SOAK=1` runs the long ones in full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

/// The stories of a file that hold on every backend: each of these functions is one on each.
macro_rules! on_both {
    ($($story:ident,)*) => {
        mod sqlite {
            $(#[test]
            fn $story() {
                super::$story(tests::harness::Backend::Sqlite);
            })*
        }
        mod postgres {
            $(#[test]
            fn $story() {
                super::$story(tests::harness::Backend::Postgres);
            })*
        }
    };
}

mod crash;
mod flow;
mod load;
