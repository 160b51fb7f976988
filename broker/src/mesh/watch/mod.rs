//! Watches: addresses that the broker looks at for members, which are told when what is there changes.
//!
//! Owns one actor per watch, which looks at its address, decides, and has what follows written; and what is known of each
//! for lists. Parent: the mesh's set `watches`. A restart of a watch reads what is stored and loses what was not: a count
//! of failures, a value that had not settled, what the server said for the next time. None of these is something that
//! somebody was told.
//!
//! | file | holds |
//! |---|---|
//! | `state` | when it looks, and what it makes of what it saw |
//! | `extract` `guard` `request` | which part, which addresses, what may be asked for |
//! | `fetch/` `look` | one look |
//! | `record` | from the store's rows, and to them |
//! | `actor` `spec` | its life |
//! | `directory` | all watches of a mesh: made, listed, removed |

mod actor;
pub mod directory;
pub mod extract;
pub mod fetch;
pub mod guard;
mod look;
mod record;
pub mod request;
mod spec;
pub mod state;

pub use directory::{Refused, Watches};
pub use look::MAX_VALUE_CHARS;

use std::sync::Arc;

use fetch::Fetcher;

/// What all watches of a broker share.
#[derive(Clone)]
pub struct Lookout {
    /// Looks at addresses.
    pub fetcher: Arc<Fetcher>,
    /// The shortest interval, ms.
    pub min_interval_ms: u64,
}
