//! Secrets that the broker carries and cannot read, and that open only for the process they were sealed for.
//!
//! Contract: a [`SealedConfig`] opens for the runners it names and for its deployer, and for nobody else. What is in it
//! says for *which* process it is ([`Binding`]: everything that shapes one); whoever opens it to start a process compares
//! that with what it was asked to start, field by field ([`Binding::differs`]), and hands out nothing if they differ. So a
//! broker that keeps the box and swaps the program, an argument or a variable beside it gets a refusal.
//!
//! ```text
//! K, nonce    random, new for every box
//! ciphertext  = crypto_secretbox(JSON of the contents, nonce, K)
//! to[i]       = {kid, key: crypto_box_seal(K, X25519 key)}: each runner's key, and the deployer's
//! ```
//!
//! Anybody can seal a box for a runner. That says nothing to the runner, whose own comparison protects what is inside;
//! but a deployer that seals its box anew must know that it is its own: so the contents are signed ([`Opened::is_by`]).

mod binding;
mod contents;
#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::identity::{
    BOX_OVERHEAD_BYTES, MemberKey, NONCE_BYTES, SEAL_OVERHEAD_BYTES, SYMMETRIC_KEY_BYTES, X25519Public, X25519Secret,
    open_secretbox, seal_secretbox,
};
pub use binding::{Asked, Binding, BoundFile};
pub use contents::{Contents, Opened, SecretFile};

/// The version of the form that is described here.
pub const VERSION: u32 = 1;
/// Most keys that a box is sealed for.
pub const MAX_RECIPIENTS: usize = 64;
/// Longest JSON of the contents. With the box around it, it fits into a message of a client and into a load.
pub const MAX_PLAIN_BYTES: usize = 512 * 1024;
/// Most files of one service.
pub const MAX_FILES: usize = 32;
/// Largest file, before it is encoded.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// Hex digits of a [`kid`].
pub const KID_CHARS: usize = 16;

/// Keeps a fingerprint of a key from being one of anything else.
const FINGERPRINT_DOMAIN: &[u8] = b"claudemesh/box-key/v1|";

/// Why there is no box, or none that opens. Nothing of what is inside is ever quoted.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum SealedError {
    /// Made by another version of this form.
    #[error("`config.sealed` has version {0}, and this one knows version {VERSION} only")]
    Version(u32),
    /// A part has the wrong form or size.
    #[error("`config.sealed.{field}` {problem}")]
    Form {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// What is to be sealed does not fit, or is said twice.
    #[error("{0}")]
    Contents(String),
    /// No key of the box is for the opener.
    #[error("the secrets were sealed for another key")]
    OtherKey,
    /// Altered, or made with another key than it says.
    #[error("the sealed secrets do not open")]
    NotOpened,
    /// Sealed for another process: the field that differs.
    #[error("sealed_for_other: {0}")]
    ForOther(&'static str),
}

/// `config.sealed`: the box.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedConfig {
    /// [`VERSION`].
    pub v: u32,
    /// The box's key, once for each that may open it.
    pub to: Vec<Recipient>,
    /// Base64 of 24 bytes.
    pub nonce: String,
    /// Base64 of the secretbox.
    pub ciphertext: String,
}

/// One key that opens a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// Which key: see [`kid`].
    pub kid: String,
    /// Base64 of 80 bytes.
    pub key: String,
}

impl fmt::Debug for SealedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<&str> = self.kids().collect();
        f.debug_struct("SealedConfig").field("v", &self.v).field("kids", &kids).finish_non_exhaustive()
    }
}

/// The SHA-256 of a key that boxes are sealed for, 64 hex digits: what people compare.
#[must_use]
pub fn fingerprint(key: &X25519Public) -> String {
    hex::encode(Sha256::new().chain_update(FINGERPRINT_DOMAIN).chain_update(key.as_bytes()).finalize())
}

/// The first digits of its [`fingerprint`]: what a box finds its key by.
#[must_use]
pub fn kid(key: &X25519Public) -> String {
    fingerprint(key).chars().take(KID_CHARS).collect()
}

impl SealedConfig {
    /// Seals `contents` for `runners` and for the deployer, for the process that `binding` describes. `draw` gives 32
    /// random bytes at each call.
    ///
    /// # Errors
    /// [`SealedError::Contents`], also for a key that cannot be sealed for.
    pub fn seal(
        binding: &Binding,
        contents: &Contents,
        runners: &[X25519Public],
        deployer: &MemberKey,
        draw: &mut dyn FnMut() -> [u8; 32],
    ) -> Result<Self, SealedError> {
        let unusable = |_| SealedError::Contents("a key cannot be sealed for".to_owned());
        if runners.len() >= MAX_RECIPIENTS {
            return Err(SealedError::Contents(format!("there are more than {MAX_RECIPIENTS} keys to seal for")));
        }
        let plain = contents.to_json(binding, deployer)?;
        let key = Zeroizing::new(draw());
        let seed = draw();
        let (nonce, _) = seed.split_first_chunk::<NONCE_BYTES>().ok_or(SealedError::NotOpened)?;
        let own = X25519Secret::of(deployer).public();
        let mut to: Vec<Recipient> = Vec::new();
        for recipient in runners.iter().chain([&own]) {
            let sealed = recipient.seal(key.as_slice(), draw()).map_err(unusable)?;
            to.push(Recipient { kid: kid(recipient), key: STANDARD.encode(sealed) });
        }
        let ciphertext = seal_secretbox(&plain, nonce, &key).map_err(unusable)?;
        Ok(Self { v: VERSION, to, nonce: STANDARD.encode(nonce), ciphertext: STANDARD.encode(ciphertext) })
    }

    /// Opens the box with one of the keys it is for.
    ///
    /// # Errors
    /// [`SealedError`]; the same for every box that was altered.
    pub fn open(&self, secret: &X25519Secret) -> Result<Opened, SealedError> {
        self.validate()?;
        let own = kid(&secret.public());
        let recipient = self.to.iter().find(|recipient| recipient.kid == own).ok_or(SealedError::OtherKey)?;
        let sealed = decoded("to", &recipient.key)?;
        let key = Zeroizing::new(secret.open_sealed(&sealed).map_err(|_| SealedError::NotOpened)?);
        let key = key.first_chunk::<SYMMETRIC_KEY_BYTES>().ok_or(SealedError::NotOpened)?;
        let nonce = decoded("nonce", &self.nonce)?;
        let nonce = nonce.first_chunk::<NONCE_BYTES>().ok_or(SealedError::NotOpened)?;
        let ciphertext = decoded("ciphertext", &self.ciphertext)?;
        let plain = open_secretbox(&ciphertext, nonce, key).map_err(|_| SealedError::NotOpened)?;
        Opened::from_json(&Zeroizing::new(plain))
    }

    /// Checks what can be seen from outside: version, sizes, encodings.
    ///
    /// # Errors
    /// [`SealedError::Version`], [`SealedError::Form`].
    pub fn validate(&self) -> Result<(), SealedError> {
        let wrong = |field, problem| Err(SealedError::Form { field, problem });
        if self.v != VERSION {
            return Err(SealedError::Version(self.v));
        }
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return wrong("to", "has no key, or more than 64");
        }
        let is_kid = |kid: &str| kid.len() == KID_CHARS && kid.bytes().all(|b| b.is_ascii_hexdigit());
        if !self.to.iter().all(|recipient| is_kid(&recipient.kid)) {
            return wrong("to", "has a `kid` that is not 16 hex digits");
        }
        // Measured before they are decoded: base64 takes four characters for three bytes.
        let longest = (MAX_PLAIN_BYTES + BOX_OVERHEAD_BYTES).div_ceil(3) * 4;
        if self.ciphertext.len() > longest {
            return wrong("ciphertext", "is longer than 512 KiB");
        }
        for recipient in &self.to {
            if decoded("to", &recipient.key)?.len() != SYMMETRIC_KEY_BYTES + SEAL_OVERHEAD_BYTES {
                return wrong("to", "has a key that is not 80 bytes");
            }
        }
        if decoded("nonce", &self.nonce)?.len() != NONCE_BYTES {
            return wrong("nonce", "is not 24 bytes");
        }
        decoded("ciphertext", &self.ciphertext).map(drop)
    }

    /// Which keys open it.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.to.iter().map(|recipient| recipient.kid.as_str())
    }
}

fn decoded(field: &'static str, text: &str) -> Result<Vec<u8>, SealedError> {
    STANDARD.decode(text).map_err(|_| SealedError::Form { field, problem: "is not base64" })
}
