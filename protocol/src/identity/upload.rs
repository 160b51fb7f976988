//! What a client signs to send a file (ours):
//! `claudemesh/upload/v1|meshId|memberId|fileName|timestamp|sha256`.

use super::{HELLO_SKEW_MS, MemberKey, PublicKey, Signature, TrustError, signed_text};

/// The first field: what is signed here is good for nothing else.
const DOMAIN: &str = "claudemesh/upload/v1";

/// The signed fields of an upload.
#[derive(Clone, Copy, Debug)]
pub struct UploadClaim<'a> {
    /// The mesh that gets the file.
    pub mesh_id: &'a str,
    /// The member that sends it. Whose key that is, the broker looks up.
    pub member_id: &'a str,
    /// The file's name, as it stands in the request.
    pub file_name: &'a str,
    /// The client's clock.
    pub timestamp_ms: u64,
    /// SHA-256 of the file, 64 lower-case hex digits.
    pub sha256: &'a str,
}

impl UploadClaim<'_> {
    /// The client's signature.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(&self, key: &MemberKey) -> Result<Signature, TrustError> {
        Ok(key.sign(self.text()?.as_bytes()))
    }

    /// Whether the holder of `key` says so, now. Replays within the allowed skew are for the caller to refuse.
    ///
    /// # Errors
    /// [`TrustError::Separator`], [`TrustError::BadSignature`], [`TrustError::Skew`].
    pub fn verify(&self, key: &PublicKey, signature: &Signature, now_ms: u64) -> Result<(), TrustError> {
        // The signature first: only its owner learns what the broker's clock says.
        key.verify(self.text()?.as_bytes(), signature)?;
        let off_ms = now_ms.abs_diff(self.timestamp_ms);
        if off_ms > HELLO_SKEW_MS { Err(TrustError::Skew { off_ms, allowed_ms: HELLO_SKEW_MS }) } else { Ok(()) }
    }

    /// The signed text, which is also what a second use is known by.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn text(&self) -> Result<String, TrustError> {
        signed_text(&[
            ("domain", DOMAIN),
            ("meshId", self.mesh_id),
            ("memberId", self.member_id),
            ("fileName", self.file_name),
            ("timestamp", &self.timestamp_ms.to_string()),
            ("sha256", self.sha256),
        ])
    }
}
