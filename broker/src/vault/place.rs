//! Where sealed texts belong: one function for each table that has some.

use super::seal::Context;

/// The environment and the tokens of a deployment. They never change, so there is one version.
#[must_use]
pub const fn deployment<'a>(mesh: &'a str, id: &'a str) -> Context<'a> {
    Context { mesh, table: "deployment", key: id, version: 1 }
}

/// An entry of a member's vault.
#[must_use]
pub const fn vault_entry<'a>(mesh: &'a str, row: &'a EntryPlace, version: u64) -> Context<'a> {
    Context { mesh, table: "vault_entry", key: row.0.as_str(), version }
}

/// The headers of a watch. They never change, so there is one version.
#[must_use]
pub const fn watch<'a>(mesh: &'a str, id: &'a str) -> Context<'a> {
    Context { mesh, table: "watch", key: id, version: 0 }
}

/// Member and key of an entry, as one text. A member's id has one length, so no two pairs have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPlace(String);

impl EntryPlace {
    /// The entry of a member under a key.
    #[must_use]
    pub fn new(member: &str, key: &str) -> Self {
        Self(format!("{member}/{key}"))
    }
}
