//! What the owner of a mesh signs in an invite:
//! `<v>|<mesh_id>|<mesh_slug>|<broker_url>|<expires_at s>|<mesh_root_key>|<role>|<owner_pubkey>`.

use super::{PublicKey, Signature, SigningKey, TrustError, signed_text};

/// The signed fields of an invite.
#[derive(Clone, Copy, Debug)]
pub struct InviteClaim<'a> {
    /// Version of the form.
    pub v: u32,
    /// The mesh to join.
    pub mesh_id: &'a str,
    /// Its slug.
    pub mesh_slug: &'a str,
    /// Where to join.
    pub broker_url: &'a str,
    /// Seconds, not milliseconds, since the Unix epoch.
    pub expires_at_s: u64,
    /// Public half of the invite's own key pair; older clients put something else here.
    pub mesh_root_key: &'a str,
    /// What the joiner becomes.
    pub role: &'a str,
    /// Who invites.
    pub owner: PublicKey,
}

impl InviteClaim<'_> {
    /// The owner's signature.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(&self, key: &SigningKey) -> Result<Signature, TrustError> {
        Ok(key.sign(self.text()?.as_bytes()))
    }

    /// Whether the owner says so, and it holds now.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`], [`TrustError::Expired`].
    pub fn verify(&self, signature: &Signature, now_ms: u64) -> Result<(), TrustError> {
        self.verify_signature(signature)?;
        let expires_ms = self.expires_at_s.saturating_mul(1_000);
        if now_ms >= expires_ms { Err(TrustError::Expired { ago_ms: now_ms - expires_ms }) } else { Ok(()) }
    }

    /// Whether the owner says so, or said so: what was made of an invite outlives it.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`].
    pub fn verify_signature(&self, signature: &Signature) -> Result<(), TrustError> {
        self.owner.verify(self.text()?.as_bytes(), signature)
    }

    fn text(&self) -> Result<String, TrustError> {
        signed_text(&[
            ("v", &self.v.to_string()),
            ("mesh_id", self.mesh_id),
            ("mesh_slug", self.mesh_slug),
            ("broker_url", self.broker_url),
            ("expires_at", &self.expires_at_s.to_string()),
            ("mesh_root_key", self.mesh_root_key),
            ("role", self.role),
            ("owner_pubkey", &self.owner.to_string()),
        ])
    }
}
