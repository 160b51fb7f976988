//! ed25519 keys in their hex forms.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use super::TrustError;
use crate::SecretString;

/// Text that is no key or signature. It is not repeated: it may be a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum KeyError {
    /// Not lower-case hex of the right length.
    #[error("a {what} is {digits} lower-case hex digits")]
    Form {
        /// What was expected.
        what: &'static str,
        /// How long it is.
        digits: usize,
    },
    /// Hex of the right length that no key has.
    #[error("not an ed25519 {0}")]
    NotAKey(&'static str),
}

/// The public half: 32 bytes, 64 lower-case hex digits on the wire. Any 32 bytes can be one; whether they are a point of
/// the curve shows when they are used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// An ed25519 signature: 64 bytes, 128 lower-case hex digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

/// The secret half, which includes the public one. Cannot be printed; overwritten when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// The lasting identity of a member.
pub type MemberKey = SigningKey;
/// The identity of one client session.
pub type SessionKey = SigningKey;

impl PublicKey {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks a signature strictly: keys and signatures of small order, which fit many texts, are refused.
    ///
    /// # Errors
    /// [`TrustError::BadSignature`], also for a key that is not on the curve.
    pub fn verify(&self, text: &[u8], signature: &Signature) -> Result<(), TrustError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| TrustError::BadSignature)?;
        key.verify_strict(text, &ed25519_dalek::Signature::from_bytes(&signature.0))
            .map_err(|_| TrustError::BadSignature)
    }
}

impl Signature {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl SigningKey {
    /// The pair of a seed, which the caller draws at random.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// From 128 lower-case hex digits, seed then public key. The public half must belong to the seed: a pair that does
    /// not would give the seed away with its signatures.
    ///
    /// # Errors
    /// [`KeyError`], which does not repeat the text.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(decode::<64>(text, "secret key")?);
        ed25519_dalek::SigningKey::from_keypair_bytes(&bytes).map(Self).map_err(|_| KeyError::NotAKey("secret key"))
    }

    /// 128 hex digits, for the file that keeps it.
    #[must_use]
    pub fn to_hex(&self) -> SecretString {
        SecretString::new(hex::encode(Zeroizing::new(self.0.to_keypair_bytes()).as_slice()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a text.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Signature {
        Signature(self.0.sign(text).to_bytes())
    }

    /// The scalar that X25519 uses.
    pub(super) fn scalar(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(curve25519_dalek::scalar::clamp_integer(self.0.to_scalar_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// Lower case only: a key has one form, so that texts can be compared and signed.
fn decode<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    let decoded = lower && hex::decode_to_slice(text, &mut bytes).is_ok();
    if decoded { Ok(bytes) } else { Err(KeyError::Form { what, digits: 2 * N }) }
}

macro_rules! as_hex {
    ($name:ident, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = KeyError;

            fn from_str(text: &str) -> Result<Self, KeyError> {
                decode(text, $what).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

as_hex!(PublicKey, "public key");
as_hex!(Signature, "signature");
