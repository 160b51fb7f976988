//! Entries of a vault: values that only their member opens, in the form that is kept for it elsewhere.
//!
//! Contract: pure; what must be random is drawn by the caller, for one entry alone ([`Drawn`]). An entry's value is in a
//! `crypto_secretbox` under a key of its own, and that key in a `crypto_box_seal` for the member's X25519 key. Anybody can
//! make such a pair, so the member also signs what belongs together, and for which place and version:
//!
//! `claudemesh/vault/v1|meshId|memberPubkey|key|entry_type|mount_path|version|nonce|<SHA-256 of the ciphertext's bytes, hex>|sealed_key`
//!
//! `nonce` and `sealed_key` are the texts of the message; an entry without `mount_path` has nothing between those bars. A
//! signed entry that was moved to another mesh, member, key, type, path or version does not open, nor does one with a
//! single bit altered. One without `version` and `sig`, from an old client, opens and is called [`Authenticity::Unsigned`]:
//! whoever keeps it could have made it. The description is neither sealed nor signed.

mod open;
mod seal;
#[cfg(test)]
mod tests;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha256};

pub use open::{Authenticity, Expected, Opened, check, open};
pub use seal::{Drawn, Value};

use crate::identity::{
    BOX_OVERHEAD_BYTES, NONCE_BYTES, PublicKey, SEAL_OVERHEAD_BYTES, SYMMETRIC_KEY_BYTES, TrustError, signed_text,
};
use crate::validate::{self, NameError};
use crate::wire::VaultEntry;

/// Longest value of an entry.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Longest description of an entry.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Highest version: the largest whole number that every reader of JSON keeps exactly.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// Why an entry cannot be made, or is not taken for what it says it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key or the path breaks its rule.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The value is over [`MAX_VALUE_BYTES`].
    #[error("the value is longer than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// The description is over [`MAX_DESCRIPTION_BYTES`].
    #[error("the description is longer than {MAX_DESCRIPTION_BYTES} bytes")]
    Description,
    /// A variable cannot hold it.
    #[error("the value of an `env` entry is text without NUL; store it as a file")]
    NotText,
    /// A variable has no path.
    #[error("only a `file` entry has a `mount_path`")]
    PathOfVariable,
    /// The named field is not what it should be.
    #[error("`{0}` is not of its form")]
    Form(&'static str),
    /// A version without signature, or the other way round.
    #[error("`version` and `sig` come together or not at all")]
    HalfSigned,
    /// The version is 0 or over [`MAX_VERSION`].
    #[error("a version is a whole number from 1 to {MAX_VERSION}")]
    Version,
    /// An answer about another key than the one asked for.
    #[error("it is the entry of another key")]
    OtherKey,
    /// A later one was seen before.
    #[error("it is version {found}, and version {known} was seen before")]
    Older {
        /// Its version; 0 if it is not signed.
        found: u64,
        /// The one that was seen.
        known: u64,
    },
    /// Not signed by the member for this place, or altered.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nobody can seal for the member's key.
    #[error("nothing can be sealed for the member's key")]
    UnusableKey,
    /// Another key, or altered.
    #[error("the entry does not open: it was sealed for another member, or altered")]
    NotOpened,
}

/// The bytes behind an entry's texts.
struct Parts {
    nonce: [u8; NONCE_BYTES],
    ciphertext: Vec<u8>,
    sealed_key: [u8; SYMMETRIC_KEY_BYTES + SEAL_OVERHEAD_BYTES],
}

impl Parts {
    /// Reads the texts, and checks everything about an entry that needs no key.
    fn of(entry: &VaultEntry) -> Result<Self, VaultError> {
        validate::vault_key(&entry.key)?;
        if let Some(path) = &entry.mount_path {
            label(entry.entry_type, path)?;
        }
        if entry.description.as_ref().is_some_and(|text| text.len() > MAX_DESCRIPTION_BYTES) {
            return Err(VaultError::Description);
        }
        if entry.version.is_some_and(|version| version == 0 || version > MAX_VERSION) {
            return Err(VaultError::Version);
        }
        if entry.ciphertext.len() > (MAX_VALUE_BYTES + BOX_OVERHEAD_BYTES).div_ceil(3) * 4 {
            return Err(VaultError::TooLarge);
        }
        let ciphertext = bytes(&entry.ciphertext, "ciphertext")?;
        match ciphertext.len().checked_sub(BOX_OVERHEAD_BYTES) {
            None => Err(VaultError::Form("ciphertext")),
            Some(length) if length > MAX_VALUE_BYTES => Err(VaultError::TooLarge),
            Some(_) => Ok(Self {
                nonce: exact(&entry.nonce, "nonce")?,
                ciphertext,
                sealed_key: exact(&entry.sealed_key, "sealed_key")?,
            }),
        }
    }
}

fn bytes(text: &str, field: &'static str) -> Result<Vec<u8>, VaultError> {
    BASE64.decode(text).map_err(|_| VaultError::Form(field))
}

fn exact<const N: usize>(text: &str, field: &'static str) -> Result<[u8; N], VaultError> {
    bytes(text, field)?.try_into().map_err(|_| VaultError::Form(field))
}

/// Whether an entry of this type may have this path.
fn label(kind: crate::wire::EntryType, path: &str) -> Result<(), VaultError> {
    match kind {
        crate::wire::EntryType::Env => Err(VaultError::PathOfVariable),
        crate::wire::EntryType::File => Ok(validate::mount_path(path)?),
    }
}

/// What the member signs about an entry of this version.
fn statement(
    entry: &VaultEntry,
    ciphertext: &[u8],
    version: u64,
    mesh: &str,
    member: PublicKey,
) -> Result<String, TrustError> {
    signed_text(&[
        ("form", "claudemesh/vault/v1"),
        ("meshId", mesh),
        ("memberPubkey", &member.to_string()),
        ("key", &entry.key),
        ("entry_type", entry.entry_type.as_str()),
        ("mount_path", entry.mount_path.as_deref().unwrap_or_default()),
        ("version", &version.to_string()),
        ("nonce", &entry.nonce),
        ("digest", &hex::encode(Sha256::digest(ciphertext))),
        ("sealed_key", &entry.sealed_key),
    ])
}
