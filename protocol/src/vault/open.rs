//! From an entry to its value, or to the reason why it is not believed.

use zeroize::Zeroizing;

use super::seal::is_text;
use super::{Parts, VaultError, statement};
use crate::identity::{MemberKey, PublicKey, SYMMETRIC_KEY_BYTES, open_sealed, open_secretbox};
use crate::wire::{EntryType, VaultEntry};

/// Who says that an entry is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticity {
    /// The member, as of this version.
    Signed(u64),
    /// Nobody: it comes from an old client, or from whoever keeps it.
    Unsigned,
}

impl Authenticity {
    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signed(_) => "signed",
            Self::Unsigned => "unsigned",
        }
    }
}

/// The entry that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// In this mesh.
    pub mesh_id: &'a str,
    /// Under this key.
    pub key: &'a str,
    /// The highest version that was seen before; 0 for none. Nothing lower is opened, and nothing unsigned after it.
    pub known: u64,
}

/// A value that was opened. It is overwritten when dropped; it is never printed.
pub struct Opened {
    /// The text of a variable, or the bytes of a file.
    pub plain: Zeroizing<Vec<u8>>,
    /// Who says so.
    pub authenticity: Authenticity,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("authenticity", &self.authenticity).finish_non_exhaustive()
    }
}

/// Checks what can be checked without a secret: the form of all fields, and the member's signature for this mesh.
///
/// # Errors
/// [`VaultError`].
pub fn check(entry: &VaultEntry, mesh_id: &str, member: PublicKey) -> Result<Authenticity, VaultError> {
    judged(entry, &Parts::of(entry)?, mesh_id, member)
}

/// Opens an entry that was expected.
///
/// # Errors
/// [`VaultError`].
pub fn open(entry: &VaultEntry, expected: &Expected<'_>, member: &MemberKey) -> Result<Opened, VaultError> {
    if entry.key != expected.key {
        return Err(VaultError::OtherKey);
    }
    let parts = Parts::of(entry)?;
    let authenticity = judged(entry, &parts, expected.mesh_id, member.public())?;
    let found = if let Authenticity::Signed(version) = authenticity { version } else { 0 };
    if found < expected.known {
        return Err(VaultError::Older { found, known: expected.known });
    }
    let file_key = Zeroizing::new(open_sealed(&parts.sealed_key, member).map_err(|_| VaultError::NotOpened)?);
    let file_key: &[u8; SYMMETRIC_KEY_BYTES] =
        file_key.as_slice().try_into().map_err(|_| VaultError::Form("sealed_key"))?;
    let plain = open_secretbox(&parts.ciphertext, &parts.nonce, file_key).map_err(|_| VaultError::NotOpened)?;
    let plain = Zeroizing::new(plain);
    if entry.entry_type == EntryType::Env && !is_text(&plain) {
        return Err(VaultError::NotText);
    }
    Ok(Opened { plain, authenticity })
}

fn judged(entry: &VaultEntry, parts: &Parts, mesh_id: &str, member: PublicKey) -> Result<Authenticity, VaultError> {
    match (entry.version, &entry.sig) {
        (None, None) => Ok(Authenticity::Unsigned),
        (Some(version), Some(sig)) => {
            member.verify(statement(entry, &parts.ciphertext, version, mesh_id, member)?.as_bytes(), sig)?;
            Ok(Authenticity::Signed(version))
        }
        _ => Err(VaultError::HalfSigned),
    }
}
