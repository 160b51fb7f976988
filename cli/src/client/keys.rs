//! The member key at work, for one connection.
//!
//! Contract: a pair whose halves do not belong together, or that is not the mesh's, is refused before anything is signed
//! with it; no message quotes a key.

use protocol::config::MeshEntry;
use protocol::identity::{HelloClaim, MemberKey, PublicKey, SessionCert, SessionClaim, Signature, TrustError};

use crate::error::CliError;

/// How long a session's certificate is good: longer than any command runs, and far below the day that brokers allow.
const CERTIFICATE_LIFE_MS: u64 = 12 * 3_600_000;

/// The member's key of `mesh`.
pub(crate) fn member_key(mesh: &MeshEntry) -> Result<MemberKey, CliError> {
    mesh.member_key().map_err(|_| broken(mesh, "the secretKey is not the one that belongs to pubkey"))
}

/// The member's signatures for a hello: of the hello itself, and of the session's certificate.
pub(super) fn sign(
    mesh: &MeshEntry,
    key: &MemberKey,
    session: PublicKey,
    session_id: &str,
    now_ms: u64,
) -> Result<(Signature, SessionCert), CliError> {
    let hello =
        HelloClaim { mesh_id: &mesh.mesh_id, member_id: &mesh.member_id, pubkey: key.public(), timestamp_ms: now_ms };
    let claim = SessionClaim { mesh_id: &mesh.mesh_id, member: key.public(), session, session_id };
    let unsignable = |error: TrustError| broken(mesh, &error.to_string());
    let signature = hello.sign(key).map_err(unsignable)?;
    let certificate = claim.certify(key, now_ms, CERTIFICATE_LIFE_MS).map_err(unsignable)?;
    Ok((signature, certificate))
}

fn broken(mesh: &MeshEntry, what: &str) -> CliError {
    CliError::failed(format!("config.json cannot be used for mesh `{}`: {what}", mesh.slug))
        .hint("restore a copy of config.json, or join the mesh again")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;

    const PUBLIC: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
    const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NOW_MS: u64 = 1_775_671_200_000;

    fn mesh(id: &str, secret: &str, public: &str) -> MeshEntry {
        serde_json::from_value(json!({
            "meshId": id, "memberId": "member1", "slug": "s", "pubkey": public, "secretKey": secret,
            "brokerUrl": "ws://localhost:7900/ws", "name": "", "joinedAt": "",
        }))
        .unwrap()
    }

    #[test]
    fn a_hello_is_signed_as_libsodium_would_and_its_certificate_holds() {
        let mesh = mesh("mesh1", &format!("{SEED}{PUBLIC}"), PUBLIC);
        let key = member_key(&mesh).unwrap();
        let session = MemberKey::from_seed(&[7; 32]).public();
        let (signature, certificate) = sign(&mesh, &key, session, "sid", NOW_MS).unwrap();
        assert_eq!(
            signature.to_string(),
            "e1c705a2ac9e4d39c6cef69472b0cda55fe955fd4a6e52ffe29f5f1ea48d12ad\
             5dcb51583b7d2669dd731db223ba3cbbffcc7446d8f08f5619fa865325366805"
        );
        let claim = SessionClaim { mesh_id: "mesh1", member: key.public(), session, session_id: "sid" };
        claim.verify(&certificate, NOW_MS).unwrap();
        assert!(claim.verify(&certificate, NOW_MS + CERTIFICATE_LIFE_MS).is_err());
    }

    #[test]
    fn halves_that_do_not_belong_together_are_refused_without_showing_them() {
        let other = "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7";
        for (secret, public) in [
            (format!("{SEED}{PUBLIC}"), other),
            (format!("{SEED}{other}"), other),
            (SEED.to_owned(), PUBLIC),
            ("zz".repeat(64), PUBLIC),
        ] {
            let error = member_key(&mesh("mesh1", &secret, public)).err().unwrap();
            assert!(error.message.contains("belongs to pubkey"), "{error}");
            assert!(!error.message.contains(&secret), "{error}");
        }
    }

    #[test]
    fn an_id_that_would_change_what_is_signed_is_refused() {
        let mesh = mesh("mesh1|member2", &format!("{SEED}{PUBLIC}"), PUBLIC);
        let key = member_key(&mesh).unwrap();
        assert!(sign(&mesh, &key, key.public(), "sid", NOW_MS).is_err());
    }
}
