//! Boxes as libsodium makes them: `crypto_box_easy`, `crypto_secretbox_easy`, `crypto_box_seal`.
//!
//! Contract: a ciphertext is the 16-byte tag, then the encrypted bytes. A nonce is used once per key; drawing it is the
//! caller's part. Opening never says why it failed, only that it did.

use crypto_box::SalsaBox;
use crypto_box::aead::rand_core::{CryptoRng, Error as RngError, RngCore};
use crypto_box::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::XSalsa20Poly1305;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::montgomery::MontgomeryPoint;

use super::{PublicKey, SigningKey};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of a symmetric key.
pub const SYMMETRIC_KEY_BYTES: usize = 32;
/// By how much a ciphertext is longer than its text.
pub const BOX_OVERHEAD_BYTES: usize = 16;
/// The same for a sealed box, which carries its sender's one-time key.
pub const SEAL_OVERHEAD_BYTES: usize = 32 + BOX_OVERHEAD_BYTES;

/// Why there is no box, or none that opens.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum BoxError {
    /// The bytes are no point of the curve, or one that libsodium refuses.
    #[error("the public key cannot be used for encryption")]
    UnusableKey,
    /// Another key, another nonce, or damaged bytes.
    #[error("the box does not open")]
    NotOpened,
}

/// A key to encrypt for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X25519Public(crypto_box::PublicKey);

/// A key to decrypt with. Cannot be printed; overwritten when dropped.
#[derive(Clone)]
pub struct X25519Secret(crypto_box::SecretKey);

impl X25519Public {
    /// `crypto_sign_ed25519_pk_to_curve25519`: points of small or mixed order are refused as there.
    ///
    /// # Errors
    /// [`BoxError::UnusableKey`].
    pub fn of(key: &PublicKey) -> Result<Self, BoxError> {
        let point = CompressedEdwardsY(*key.as_bytes()).decompress().ok_or(BoxError::UnusableKey)?;
        if point.is_small_order() || !point.is_torsion_free() {
            return Err(BoxError::UnusableKey);
        }
        Ok(Self(crypto_box::PublicKey::from(point.to_montgomery().to_bytes())))
    }

    /// From its bytes. A point of small order is refused: what is sealed for one opens for everybody.
    ///
    /// # Errors
    /// [`BoxError::UnusableKey`].
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, BoxError> {
        // A clamped scalar is a multiple of the cofactor: it takes exactly those points to the neutral one.
        let reached = MontgomeryPoint(bytes).mul_clamped([1; 32]);
        if reached.to_bytes() == [0; 32] {
            return Err(BoxError::UnusableKey);
        }
        Ok(Self(crypto_box::PublicKey::from(bytes)))
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Encrypts for this key without a sender. `one_time_seed` is 32 random bytes that are used for this box only.
    ///
    /// # Errors
    /// [`BoxError::UnusableKey`].
    pub fn seal(&self, text: &[u8], one_time_seed: [u8; 32]) -> Result<Vec<u8>, BoxError> {
        let mut seed = OneSeed(Some(one_time_seed));
        self.0.seal(&mut seed, text).map_err(|_| BoxError::UnusableKey)
    }
}

impl X25519Secret {
    /// From its 32 bytes, which the caller drew at random.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(crypto_box::SecretKey::from(*bytes))
    }

    /// Opens what was sealed for its public half.
    ///
    /// # Errors
    /// [`BoxError::NotOpened`].
    pub fn open_sealed(&self, ciphertext: &[u8]) -> Result<Vec<u8>, BoxError> {
        self.0.unseal(ciphertext).map_err(|_| BoxError::NotOpened)
    }

    /// `crypto_sign_ed25519_sk_to_curve25519`.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(crypto_box::SecretKey::from(*key.scalar()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> X25519Public {
        X25519Public(self.0.public_key())
    }

    #[cfg(test)]
    pub(super) fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
}

impl std::fmt::Debug for X25519Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

/// Encrypts for `recipient` so that it can tell `sender`; both ends can open the box.
///
/// # Errors
/// [`BoxError::UnusableKey`].
pub fn seal_direct(
    text: &[u8],
    nonce: &[u8; NONCE_BYTES],
    recipient: &PublicKey,
    sender: &SigningKey,
) -> Result<Vec<u8>, BoxError> {
    let pair = SalsaBox::new(&X25519Public::of(recipient)?.0, &X25519Secret::of(sender).0);
    pair.encrypt(nonce.into(), text).map_err(|_| BoxError::UnusableKey)
}

/// Opens what [`seal_direct`] made.
///
/// # Errors
/// [`BoxError::UnusableKey`], [`BoxError::NotOpened`].
pub fn open_direct(
    ciphertext: &[u8],
    nonce: &[u8; NONCE_BYTES],
    sender: &PublicKey,
    recipient: &SigningKey,
) -> Result<Vec<u8>, BoxError> {
    let pair = SalsaBox::new(&X25519Public::of(sender)?.0, &X25519Secret::of(recipient).0);
    pair.decrypt(nonce.into(), ciphertext).map_err(|_| BoxError::NotOpened)
}

/// Encrypts with a key that both sides hold.
///
/// # Errors
/// [`BoxError::NotOpened`] if the text is longer than the cipher's limit of 256 GiB.
pub fn seal_secretbox(
    text: &[u8],
    nonce: &[u8; NONCE_BYTES],
    key: &[u8; SYMMETRIC_KEY_BYTES],
) -> Result<Vec<u8>, BoxError> {
    XSalsa20Poly1305::new(key.into()).encrypt(nonce.into(), text).map_err(|_| BoxError::NotOpened)
}

/// Opens what [`seal_secretbox`] made.
///
/// # Errors
/// [`BoxError::NotOpened`].
pub fn open_secretbox(
    ciphertext: &[u8],
    nonce: &[u8; NONCE_BYTES],
    key: &[u8; SYMMETRIC_KEY_BYTES],
) -> Result<Vec<u8>, BoxError> {
    XSalsa20Poly1305::new(key.into()).decrypt(nonce.into(), ciphertext).map_err(|_| BoxError::NotOpened)
}

/// Encrypts for `recipient` without a sender. `one_time_seed` is 32 random bytes that are used for this box only.
///
/// # Errors
/// [`BoxError::UnusableKey`].
pub fn seal(text: &[u8], recipient: &PublicKey, one_time_seed: [u8; 32]) -> Result<Vec<u8>, BoxError> {
    X25519Public::of(recipient)?.seal(text, one_time_seed)
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`BoxError::NotOpened`].
pub fn open_sealed(ciphertext: &[u8], recipient: &SigningKey) -> Result<Vec<u8>, BoxError> {
    X25519Secret::of(recipient).open_sealed(ciphertext)
}

/// Hands a seed to a function that asks for a generator. It has exactly one answer: a second question would repeat a key.
struct OneSeed(Option<[u8; 32]>);

impl RngCore for OneSeed {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[expect(clippy::expect_used, reason = "sealing draws one 32-byte key; the vectors run through here")]
    fn fill_bytes(&mut self, into: &mut [u8]) {
        let seed = self.0.take().expect("a seed is drawn once");
        into.copy_from_slice(&seed);
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), RngError> {
        self.fill_bytes(into);
        Ok(())
    }
}

impl CryptoRng for OneSeed {}
