//! Entries of a member's vault: sealed before they come here, opened by that member alone.

use serde::{Deserialize, Serialize};

use crate::identity::Signature;

/// What an entry becomes in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryType {
    /// The text of a variable.
    Env,
    /// The bytes of a file.
    File,
}

impl EntryType {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::File => "file",
        }
    }

    /// The type of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Env, Self::File].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A sealed entry: `vault_set`, and one of `vault_get_result`. See [`crate::vault`] for what the fields hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultEntry {
    /// Its name among the member's.
    pub key: String,
    /// Base64.
    pub ciphertext: String,
    /// Base64 of 24 bytes.
    pub nonce: String,
    /// Base64 of 80 bytes: the key to it, sealed for the member.
    pub sealed_key: String,
    /// What it becomes.
    pub entry_type: EntryType,
    /// Of a file: where a process finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// In the member's words; not sealed and not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Rises with each value (ours); none together with `sig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The member key's (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<Signature>,
}

/// `vault_get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultKeys {
    /// The entries that are wanted.
    pub keys: Vec<String>,
}

/// `vault_delete`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultKey {
    /// The entry.
    pub key: String,
}

/// `vault_ack`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultAck {
    /// The entry.
    pub key: String,
    /// What became of it.
    pub action: VaultAction,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultAction {
    /// It is there now.
    Stored,
    /// It is gone.
    Deleted,
    /// There was none.
    NotFound,
}

/// `vault_list_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultListResult {
    /// The member's own, by key.
    pub entries: Vec<VaultListing>,
}

/// An entry without what is sealed in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultListing {
    /// Its name.
    pub key: String,
    /// What it becomes.
    pub entry_type: EntryType,
    /// Of a file: where a process finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// In the member's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// ISO 8601.
    pub updated_at: String,
    /// Of a signed one, as the broker says (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// `vault_get_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultGetResult {
    /// Those of the wanted ones that are there, in the order they were asked for.
    pub entries: Vec<VaultEntry>,
}
