//! Another at-rest key in place of the present one, while no broker runs.
//!
//! **Contract.** Whenever it is interrupted, one of the two keys opens everything: all sealed values, the text that tells a
//! wrong key and the key's version change in one transaction. A key of our own waits in [`NEXT_KEY_FILE`] until that is
//! committed, and takes the old one's place then; a start that finds both tries both ([`settled`]). A configured key is its
//! owner's to replace, which is said.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use protocol::SecretString;

use super::key::{AtRestKey, CHECK_PLACE, CHECK_TEXT, VaultError, generate};
use super::place::{self, EntryPlace};
use super::seal::{AtRest, UnsealError};
use crate::config::{AT_REST_KEY_FILE, SecretFileError, read_secret_file, secret_file};
use crate::store::{SealedAt, Store};

/// Where a new key waits in the data directory.
pub const NEXT_KEY_FILE: &str = "at-rest.key.next";

/// What a rotation has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotated {
    /// Values that were sealed anew.
    pub values: u64,
    /// Which key it is now.
    pub key_version: u64,
}

/// Seals everything under another key: `next` in place of the configured one, or a new one in place of that in the data
/// directory. The caller holds the directory's lock.
///
/// # Errors
/// Then nothing has changed, unless it is a [`VaultError::File`] behind the commit: the next start finishes it.
pub async fn rotate(
    configured: Option<&SecretString>,
    next: Option<&SecretString>,
    data_dir: &Path,
    store: &Store,
) -> Result<Rotated, VaultError> {
    let present = super::open(configured.map(SecretString::expose), data_dir, store).await?;
    let waiting = data_dir.join(NEXT_KEY_FILE);
    let text = match (configured, next) {
        (Some(_), None) => return Err(VaultError::NextKey),
        (_, Some(text)) => text.clone(),
        (None, None) => secret_file(&waiting, generate)?,
    };
    if configured.is_none() && next.is_some() {
        return Err(VaultError::NotConfigured);
    }
    let key = AtRestKey::from_hex(text.expose()).map_err(VaultError::Next)?;
    if key.bytes() == present.key_bytes() {
        return Err(VaultError::SameKey);
    }
    let key_version = present.key_version() + 1;
    let next = Arc::new(AtRest::new(key).of_version(key_version));
    let check = next.seal(&CHECK_PLACE, CHECK_TEXT);
    let present = Arc::new(present);
    let values = store.reseal(check, key_version, move |at, sealed| resealed(&present, &next, at, sealed)).await?;
    if configured.is_none() {
        take_place(data_dir)?;
    }
    Ok(Rotated { values, key_version })
}

/// A value under the next key, at the same place.
fn resealed(present: &AtRest, next: &AtRest, at: &SealedAt, sealed: &str) -> Result<String, UnsealError> {
    let entry;
    let context = match at {
        SealedAt::Deployment { mesh, id } => place::deployment(mesh.as_str(), id.as_str()),
        SealedAt::VaultEntry { mesh, member, key, version } => {
            entry = EntryPlace::new(member.as_str(), key);
            place::vault_entry(mesh.as_str(), &entry, u64::try_from(*version).map_err(|_| UnsealError)?)
        }
        SealedAt::Watch { mesh, id } => place::watch(mesh.as_str(), id),
    };
    Ok(next.seal(&context, &present.open(&context, sealed)?))
}

/// Finishes or forgets a rotation that was interrupted: a key that waits and opens `check` was committed and takes the
/// place of the one before; one that does not, was not.
pub(super) fn settled(data_dir: &Path, check: Option<&str>, key_version: u64) -> Result<(), VaultError> {
    let waiting = data_dir.join(NEXT_KEY_FILE);
    let (Some(text), Some(check)) = (read_secret_file(&waiting)?, check) else { return Ok(()) };
    let key =
        AtRestKey::from_hex(text.expose()).map_err(|source| VaultError::Stored { path: waiting.clone(), source })?;
    match AtRest::new(key).of_version(key_version).open(&CHECK_PLACE, check) {
        Ok(_) => Ok(take_place(data_dir)?),
        // It stays where it is, for the next try: it was never used.
        Err(UnsealError) => Ok(()),
    }
}

fn take_place(data_dir: &Path) -> Result<(), SecretFileError> {
    let (from, to) = (data_dir.join(NEXT_KEY_FILE), data_dir.join(AT_REST_KEY_FILE));
    let failed = |source| SecretFileError::Io { step: "put into place", path: from.clone(), source };
    fs::rename(&from, &to).map_err(failed)?;
    File::open(data_dir).and_then(|dir| dir.sync_all()).map_err(failed)
}
