//! What a client signs to enter a mesh: `<meshId>|<memberId>|<pubkey>|<timestamp ms>`.

use super::{MemberKey, PublicKey, Signature, TrustError, signed_text};

/// Largest distance between the client's clock and the broker's.
pub const HELLO_SKEW_MS: u64 = 60_000;

/// The signed fields of a hello.
#[derive(Clone, Copy, Debug)]
pub struct HelloClaim<'a> {
    /// The mesh to enter.
    pub mesh_id: &'a str,
    /// The member that enters. The signature says nothing about whose id it is: the broker looks that up.
    pub member_id: &'a str,
    /// The member's key.
    pub pubkey: PublicKey,
    /// The client's clock.
    pub timestamp_ms: u64,
}

impl HelloClaim<'_> {
    /// The client's signature.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(&self, key: &MemberKey) -> Result<Signature, TrustError> {
        Ok(key.sign(self.text()?.as_bytes()))
    }

    /// Whether the holder of `pubkey` says so, now. Replays within the allowed skew are for the caller to refuse.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`], [`TrustError::Skew`].
    pub fn verify(&self, signature: &Signature, now_ms: u64) -> Result<(), TrustError> {
        // The signature first: only its owner learns what the broker's clock says.
        self.pubkey.verify(self.text()?.as_bytes(), signature)?;
        let off_ms = now_ms.abs_diff(self.timestamp_ms);
        if off_ms > HELLO_SKEW_MS { Err(TrustError::Skew { off_ms, allowed_ms: HELLO_SKEW_MS }) } else { Ok(()) }
    }

    fn text(&self) -> Result<String, TrustError> {
        signed_text(&[
            ("meshId", self.mesh_id),
            ("memberId", self.member_id),
            ("pubkey", &self.pubkey.to_string()),
            ("timestamp", &self.timestamp_ms.to_string()),
        ])
    }
}
