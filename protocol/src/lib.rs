//! The formats that cross a process boundary, and nothing else.
//!
//! Contract: every function here is pure. Nothing reads a clock, a file, a socket or a random source; times are
//! milliseconds since the Unix epoch passed by the caller, and nonces and seeds are parameters. This crate depends on no
//! other crate of the workspace, so that broker, runner and client agree on bytes without knowing each other.
//!
//! | module | what it fixes |
//! |---|---|
//! | [`wire`] | the JSON messages between a peer and the broker |
//! | [`link`] | the frames between the broker and its runners, and how large bodies share one connection |
//! | [`identity`] | keys, what they sign, and the boxes that only their holder opens |
//! | [`trust`] | statements about members, groups and removals, and who may make them |
//! | [`mail`] | messages between peers: what is sealed, what is signed, and what may be believed of one |
//! | [`sealed`] | secrets that open only in a runner, and only for the process they were sealed for |
//! | [`source`] | where a service's program comes from |
//! | [`vault`] | a member's entries: what is sealed, what is signed, and where one opens |
//! | [`validate`] | the rules for names that people choose |
//! | [`config`] | the client's `config.json` |
//! | [`secret`] | text that cannot be printed by accident |

pub mod config;
#[cfg(test)]
mod golden;
pub mod identity;
pub mod link;
pub mod mail;
pub mod sealed;
pub mod secret;
pub mod source;
pub mod trust;
pub mod validate;
pub mod vault;
pub mod wire;

pub use secret::SecretString;

/// A length as it is written on a wire. A `usize` is at most 64 bits wide on every supported target.
pub(crate) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A length read from a wire, for comparisons with lengths in memory; what does not fit is larger than anything here.
pub(crate) fn narrow(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
