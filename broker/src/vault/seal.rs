//! The sealed forms.
//!
//! ```text
//! plain       base64( IV 12 ‖ TAG 16 ‖ CIPHERTEXT )
//! versioned   "v2." KEY-VERSION "." base64( IV 12 ‖ TAG 16 ‖ CIPHERTEXT ), with key version and place as associated data
//! earlier     "v1." base64( … ), with the place alone; opened under the first key, never written
//! ```
//! Base64 is the standard alphabet with padding; it has no dot, so no two can be confused.

use std::fmt;

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use rand::RngCore as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key::AtRestKey;

const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Begins the versioned form.
const V2: &str = "v2.";
/// Begins the form before keys had versions.
const V1: &str = "v1.";
/// Opens the associated data, so that nothing sealed for another purpose opens here.
const V2_DOMAIN: &str = "claudemesh/at-rest/v2";
/// The same of the form before.
const V1_DOMAIN: &str = "claudemesh/at-rest/v1";
/// The version of the key that there was before keys had versions.
const FIRST_KEY: u64 = 1;

/// The place a sealed text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The mesh's identifier; empty for what belongs to the store itself.
    pub mesh: &'a str,
    /// The table.
    pub table: &'a str,
    /// The row's key.
    pub key: &'a str,
    /// The row's version, where rows are overwritten; so that an older text does not come back.
    pub version: u64,
}

impl Context<'_> {
    /// Each field with its length ahead, so that no two places have one encoding.
    fn associated_data(&self, key_version: Option<u64>) -> Vec<u8> {
        let (version, key_version) = (self.version.to_be_bytes(), key_version.map(u64::to_be_bytes));
        let domain = if key_version.is_some() { V2_DOMAIN } else { V1_DOMAIN };
        let place: [&[u8]; 4] = [self.mesh.as_bytes(), self.table.as_bytes(), self.key.as_bytes(), &version];
        let head = [Some(domain.as_bytes()), key_version.as_ref().map(|version| version.as_slice())];
        let mut data = Vec::new();
        for field in head.into_iter().flatten().chain(place) {
            // Lengths in memory fit 64 bits on every platform there is.
            data.extend_from_slice(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            data.extend_from_slice(field);
        }
        data
    }
}

/// The sealed text did not open: another key, another place, or altered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value does not open: wrong key, wrong place, or altered")]
pub struct UnsealError;

/// Seals and opens under one key.
pub struct AtRest {
    key: AtRestKey,
    key_version: u64,
}

impl fmt::Debug for AtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtRest").finish_non_exhaustive()
    }
}

impl AtRest {
    /// Seals under `key`, which is the first there was.
    #[must_use]
    pub const fn new(key: AtRestKey) -> Self {
        Self { key, key_version: FIRST_KEY }
    }

    /// The same for a later key.
    #[must_use]
    pub fn of_version(self, key_version: u64) -> Self {
        Self { key_version, ..self }
    }

    /// Which key it is.
    #[must_use]
    pub const fn key_version(&self) -> u64 {
        self.key_version
    }

    pub(super) const fn key_bytes(&self) -> &[u8; 32] {
        self.key.bytes()
    }

    /// Seals `plain` for one place, in the versioned form.
    #[must_use]
    pub fn seal(&self, context: &Context<'_>, plain: &[u8]) -> String {
        let mut text = format!("{V2}{}.", self.key_version);
        let sealed = self.encrypt(random_iv(), &context.associated_data(Some(self.key_version)), plain);
        STANDARD.encode_string(sealed, &mut text);
        text
    }

    /// Opens the versioned form at its place; the plain form is not taken for it.
    ///
    /// # Errors
    /// [`UnsealError`], whatever is wrong.
    pub fn open(&self, context: &Context<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        if let Some(sealed) = sealed.strip_prefix(V1).filter(|_| self.key_version == FIRST_KEY) {
            return self.decrypt(&context.associated_data(None), sealed);
        }
        let (version, sealed) = sealed.strip_prefix(V2).and_then(|rest| rest.split_once('.')).ok_or(UnsealError)?;
        if version != self.key_version.to_string() {
            return Err(UnsealError);
        }
        self.decrypt(&context.associated_data(Some(self.key_version)), sealed)
    }

    /// Seals `plain` in the plain form, bound to no place.
    #[must_use]
    pub fn seal_plain(&self, plain: &[u8]) -> String {
        STANDARD.encode(self.encrypt(random_iv(), &[], plain))
    }

    /// Opens the plain form.
    ///
    /// # Errors
    /// [`UnsealError`], whatever is wrong.
    pub fn open_plain(&self, sealed: &str) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        self.decrypt(&[], sealed)
    }

    fn encrypt(&self, iv: [u8; IV_BYTES], associated_data: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(IV_BYTES + TAG_BYTES + plain.len());
        out.extend_from_slice(&iv);
        out.extend_from_slice(&[0; TAG_BYTES]);
        out.extend_from_slice(plain);
        let (head, body) = out.split_at_mut(IV_BYTES + TAG_BYTES);
        #[expect(clippy::expect_used, reason = "fails above 64 GiB only; no value comes near")]
        let tag = self
            .cipher()
            .encrypt_in_place_detached(Nonce::from_slice(&iv), associated_data, body)
            .expect("a value below 64 GiB is sealed");
        let (_, tag_place) = head.split_at_mut(IV_BYTES);
        tag_place.copy_from_slice(&tag);
        out
    }

    fn decrypt(&self, associated_data: &[u8], sealed: &str) -> Result<Zeroizing<Vec<u8>>, UnsealError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| UnsealError)?;
        let (iv, rest) = bytes.split_first_chunk::<IV_BYTES>().ok_or(UnsealError)?;
        let (tag, body) = rest.split_first_chunk::<TAG_BYTES>().ok_or(UnsealError)?;
        let mut plain = Zeroizing::new(body.to_vec());
        self.cipher()
            .decrypt_in_place_detached(Nonce::from_slice(iv), associated_data, &mut plain, Tag::from_slice(tag))
            .map_err(|_| UnsealError)?;
        Ok(plain)
    }

    /// A key of its own for one purpose, which says nothing about this one.
    #[must_use]
    pub fn derived(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(self.key.bytes()).expect("a key of any length");
        mac.update(b"claudemesh/derived/v1|");
        mac.update(purpose.as_bytes());
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// Made for each use: a key schedule costs less than the database round trip around it, and the
    /// only lasting copy of the key stays the one that is overwritten on drop.
    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.key.bytes().into())
    }
}

fn random_iv() -> [u8; IV_BYTES] {
    let mut iv = [0; IV_BYTES];
    rand::rng().fill_bytes(&mut iv);
    iv
}

#[cfg(test)]
mod tests;
