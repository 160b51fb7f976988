//! What is sealed at rest: secrets that the broker stores and only a running broker may read.
//!
//! **Contract.** [`AtRest`] seals with AES-256-GCM under one key and a fresh random IV for each
//! sealing. Rows are written in a versioned form that is bound to its place ([`Context`]): a sealed
//! text moved to another mesh, table, row or version does not open. The plain form without a place is
//! there for what must be readable by others on the wire's terms. What does not open says only that;
//! why is nobody's business who holds a wrong key.
//!
//! The key comes from the configuration or from a file in the data directory ([`open`]). It has no
//! printed form and is overwritten when it is dropped. A wrong or lost key is told at start, before
//! the first secret is needed.

mod key;
pub mod place;
mod rotate;
mod seal;

pub use key::{AtRestKey, KEY_HEX_DIGITS, KeyError, VaultError, open};
pub use place::EntryPlace;
pub use rotate::{NEXT_KEY_FILE, Rotated, rotate};
pub use seal::{AtRest, Context, UnsealError};
