//! Messages between peers: what is sealed, what is signed, and what may be believed of one.
//!
//! Contract: pure. Nonces, keys and times are the caller's, and so is the memory of what was sent and seen. A text comes
//! out of [`open`] only when its box opened, or when it never was in one, and then it says so. There is no forward
//! secrecy: whoever gets a member's or a session's secret key opens what was sealed for it before.
//!
//! | target | sealed | opened with |
//! |---|---|---|
//! | a session's or a member's key | `crypto_box(text, nonce, target, sender's session)` | that session's or member's key |
//! | `@group`, `*`, `@all` | `crypto_secretbox(text, nonce, Km)`; for each member `crypto_box(Km, nonce, member, sender's session)` | the member's key |
//!
//! Either is signed by the sender's session key, see [`MessageClaim`]: a `crypto_box` alone could have been made by either
//! end. An old client signs nothing, and sends groups its text in clear.

mod open;
mod seal;
#[cfg(test)]
mod tests;

use sha2::{Digest as _, Sha256};

pub use open::{Authenticity, Nonces, Opened, Reader, Suspicion, Unreadable, is_direct, open};
pub use seal::{Letter, SealError, SealedGroup, seal_group, sign_again};

use crate::identity::{PublicKey, SessionKey, Signature, TrustError, signed_text};

/// Version of [`crate::wire::E2e`].
pub const VERSION: u32 = 2;

/// What a sender signs:
/// `claudemesh/msg/v2|meshId|targetSpec|id|ts|nonce|<SHA-256 of the ciphertext's bytes, hex>`.
#[derive(Clone, Copy, Debug)]
pub struct MessageClaim<'a> {
    /// The mesh.
    pub mesh_id: &'a str,
    /// `targetSpec`, as it was sent.
    pub target: &'a str,
    /// The sender's id of the message.
    pub id: &'a str,
    /// The sender's clock, milliseconds since the Unix epoch.
    pub ts: u64,
    /// As it stands in the message, in base64.
    pub nonce: &'a str,
    /// The bytes, not their base64.
    pub ciphertext: &'a [u8],
}

impl MessageClaim<'_> {
    /// The sender's signature.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(&self, key: &SessionKey) -> Result<Signature, TrustError> {
        Ok(key.sign(self.text()?.as_bytes()))
    }

    /// Whether the session says so.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`].
    pub fn verify(&self, sender: &PublicKey, signature: &Signature) -> Result<(), TrustError> {
        sender.verify(self.text()?.as_bytes(), signature)
    }

    fn text(&self) -> Result<String, TrustError> {
        signed_text(&[
            ("version", "claudemesh/msg/v2"),
            ("meshId", self.mesh_id),
            ("targetSpec", self.target),
            ("id", self.id),
            ("ts", &self.ts.to_string()),
            ("nonce", self.nonce),
            ("digest", &hex::encode(Sha256::digest(self.ciphertext))),
        ])
    }
}
