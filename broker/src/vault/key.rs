//! The at-rest key: where it comes from, and that it is the right one.

use std::path::{Path, PathBuf};

use protocol::SecretString;
use rand::RngCore as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::rotate::settled;
use super::seal::{AtRest, Context};
use crate::config::{AT_REST_KEY_FILE, SecretFileError, read_secret_file, secret_file};
use crate::store::{Store, StoreError};

const KEY_BYTES: usize = 32;
/// How many digits a key has in text.
pub const KEY_HEX_DIGITS: usize = KEY_BYTES * 2;

/// What is sealed to recognise the key later, and where.
pub(super) const CHECK_TEXT: &[u8] = b"claudemesh at-rest key";
pub(super) const CHECK_PLACE: Context<'static> = Context { mesh: "", table: "meta", key: "key_check", version: 1 };

/// A text that is no key. It does not say which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an at-rest key has {KEY_HEX_DIGITS} hexadecimal digits and nothing else")]
pub struct KeyError;

/// An AES-256 key. It has no printed form, cannot be copied unseen, and is overwritten on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct AtRestKey([u8; KEY_BYTES]);

impl AtRestKey {
    /// Reads a key from its hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyError`] when there are more or fewer than 64, or others than hexadecimal ones.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut key = Self([0; KEY_BYTES]);
        hex::decode_to_slice(text, &mut key.0).map_err(|_| KeyError)?;
        Ok(key)
    }

    pub(super) const fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// The digits of a new random key.
pub(super) fn generate() -> SecretString {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    rand::rng().fill_bytes(bytes.as_mut());
    SecretString::new(hex::encode(bytes.as_ref()))
}

/// Why what is sealed cannot be opened in this life of the broker.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The configured key is no key.
    #[error("BROKER_ENCRYPTION_KEY is not a key")]
    Configured(#[source] KeyError),
    /// The key file's content is no key.
    #[error("{} does not hold a key", .path.display())]
    Stored {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
    /// The new key is no key.
    #[error("the new key is not a key")]
    Next(#[source] KeyError),
    /// A configured key is replaced by whoever configures it.
    #[error(
        "the at-rest key is BROKER_ENCRYPTION_KEY, which only you can replace: write the new key (openssl rand -hex 32) \
         to a file of mode 600, say --next-key-file FILE, and start the broker with the new key from then on"
    )]
    NextKey,
    /// A key was brought for a broker that makes its own.
    #[error("the at-rest key is in the data directory, where a new one is made: leave --next-key-file out")]
    NotConfigured,
    /// A rotation to the key that is there.
    #[error("the new key is the present one")]
    SameKey,
    /// The database has secrets under a key that is nowhere to be found.
    #[error(
        "the secrets in this database were sealed under a key that is missing: put {} back, \
         or set BROKER_ENCRYPTION_KEY", .path.display()
    )]
    Lost {
        /// Where the key was looked for.
        path: PathBuf,
    },
    /// The key is not the one that the database's secrets were sealed under.
    #[error("the at-rest key is not the one that this database's secrets were sealed under")]
    Wrong,
    /// The key file could not be read or made.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the vault of a store: with the configured key, else with the one in the data directory,
/// which is made at the first use. Touches the file system briefly; meant for start-up.
///
/// # Errors
/// [`VaultError::Lost`] rather than a new key when this database has used one before, and
/// [`VaultError::Wrong`] for another key than that.
pub async fn open(configured: Option<&str>, data_dir: &Path, store: &Store) -> Result<AtRest, VaultError> {
    let (check, key_version) = (store.key_check().await?, store.key_version().await?);
    if configured.is_none() {
        settled(data_dir, check.as_deref(), key_version)?;
    }
    let key = match configured {
        Some(text) => AtRestKey::from_hex(text).map_err(VaultError::Configured)?,
        None => stored_key(&data_dir.join(AT_REST_KEY_FILE), check.is_some())?,
    };
    let vault = AtRest::new(key).of_version(key_version);
    match check {
        Some(sealed) => match vault.open(&CHECK_PLACE, &sealed) {
            Ok(text) if text.as_slice() == CHECK_TEXT => {}
            _ => return Err(VaultError::Wrong),
        },
        None => store.set_key_check(vault.seal(&CHECK_PLACE, CHECK_TEXT)).await?,
    }
    Ok(vault)
}

fn stored_key(path: &Path, used_before: bool) -> Result<AtRestKey, VaultError> {
    let text = match read_secret_file(path)? {
        Some(text) => text,
        None if used_before => {
            return Err(VaultError::Lost { path: path.to_path_buf() });
        }
        None => secret_file(path, generate)?,
    };
    AtRestKey::from_hex(text.expose()).map_err(|source| VaultError::Stored { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn a_key_has_64_hexadecimal_digits() {
        let digits = "0123456789abcdefABCDEF".repeat(3);
        let key = AtRestKey::from_hex(&digits[..64]).unwrap();
        assert_eq!(key.bytes()[..2], [0x01, 0x23]);
        for wrong in ["", &digits[..63], &digits[..62], &digits[..66], &"g".repeat(64)] {
            assert!(matches!(AtRestKey::from_hex(wrong), Err(KeyError)), "{wrong:?} passed");
        }
    }

    #[test]
    fn generated_keys_differ_and_are_keys() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, other);
        AtRestKey::from_hex(one.expose()).unwrap();
    }
}
