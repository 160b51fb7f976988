//! How a session key is bound to its member, so that peers need not believe the broker:
//! `claudemesh/session/v1|meshId|memberPubkey|sessionPubkey|sessionId|issuedAt|expiresAt`, signed by the member key.

use serde::{Deserialize, Serialize};

use super::{HELLO_SKEW_MS, MemberKey, PublicKey, Signature, TrustError, signed_text};

/// Longest validity of a certificate.
pub const MAX_SESSION_MS: u64 = 24 * 60 * 60 * 1_000;

/// A member's statement about one of its sessions, as it travels in `sessionCert`. What it is about stands beside it in
/// the message that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCert {
    /// Milliseconds since the Unix epoch, on the member's clock.
    pub issued_at: u64,
    /// Milliseconds since the Unix epoch; at most [`MAX_SESSION_MS`] after `issued_at`.
    pub expires_at: u64,
    /// The member key's.
    pub signature: Signature,
}

/// Whose session a certificate is about.
#[derive(Clone, Copy, Debug)]
pub struct SessionClaim<'a> {
    /// The mesh.
    pub mesh_id: &'a str,
    /// The member that vouches.
    pub member: PublicKey,
    /// The session that is vouched for.
    pub session: PublicKey,
    /// The client's id of that session.
    pub session_id: &'a str,
}

impl SessionClaim<'_> {
    /// Makes a certificate that begins now.
    ///
    /// # Errors
    /// [`TrustError::Separator`]; [`TrustError::Period`] for a validity of nothing or over [`MAX_SESSION_MS`].
    pub fn certify(&self, key: &MemberKey, now_ms: u64, validity_ms: u64) -> Result<SessionCert, TrustError> {
        let expires_at = now_ms.checked_add(validity_ms).ok_or(TrustError::Period)?;
        period(now_ms, expires_at)?;
        let text = self.text(now_ms, expires_at)?;
        let signature = key.sign(text.as_bytes());
        Ok(SessionCert { issued_at: now_ms, expires_at, signature })
    }

    /// Whether the member says so, and it holds now. A certificate from the future is borne within the skew that hellos
    /// are allowed; an expired one is not borne at all.
    ///
    /// # Errors
    /// Any [`TrustError`].
    pub fn verify(&self, cert: &SessionCert, now_ms: u64) -> Result<(), TrustError> {
        let text = self.text(cert.issued_at, cert.expires_at)?;
        self.member.verify(text.as_bytes(), &cert.signature)?;
        period(cert.issued_at, cert.expires_at)?;
        let early_ms = cert.issued_at.saturating_sub(now_ms);
        if early_ms > HELLO_SKEW_MS {
            return Err(TrustError::Skew { off_ms: early_ms, allowed_ms: HELLO_SKEW_MS });
        }
        if now_ms >= cert.expires_at {
            return Err(TrustError::Expired { ago_ms: now_ms - cert.expires_at });
        }
        Ok(())
    }

    fn text(&self, issued_at: u64, expires_at: u64) -> Result<String, TrustError> {
        signed_text(&[
            ("version", "claudemesh/session/v1"),
            ("meshId", self.mesh_id),
            ("memberPubkey", &self.member.to_string()),
            ("sessionPubkey", &self.session.to_string()),
            ("sessionId", self.session_id),
            ("issuedAt", &issued_at.to_string()),
            ("expiresAt", &expires_at.to_string()),
        ])
    }
}

fn period(issued_at: u64, expires_at: u64) -> Result<(), TrustError> {
    let allowed = expires_at > issued_at && expires_at - issued_at <= MAX_SESSION_MS;
    if allowed { Ok(()) } else { Err(TrustError::Period) }
}
