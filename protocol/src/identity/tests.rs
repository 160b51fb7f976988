//! Vectors made with libsodium, and what must not be believed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;

const A_PUBLIC: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
const B_PUBLIC: &str = "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7";
const NOW: u64 = 1_775_671_200_000;

fn bytes<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}
fn a() -> SigningKey {
    SigningKey::from_seed(&bytes(0))
}
fn b() -> SigningKey {
    SigningKey::from_seed(&bytes(0x20))
}

#[test]
fn keys() {
    assert_eq!(a().public().to_string(), A_PUBLIC);
    assert_eq!(b().public().to_string(), B_PUBLIC);
    let hex = a().to_hex();
    assert_eq!(hex.expose(), format!("{}{A_PUBLIC}", hex::encode(bytes::<32>(0))));
    assert_eq!(SigningKey::from_hex(hex.expose()).unwrap().public(), a().public());
}

#[test]
fn derived_encryption_keys() {
    let hex = |key: &X25519Public| hex::encode(key.as_bytes());
    let x_a = "4701d08488451f545a409fb58ae3e58581ca40ac3f7f114698cd71deac73ca01";
    assert_eq!(hex(&X25519Public::of(&a().public()).unwrap()), x_a);
    assert_eq!(hex(&X25519Secret::of(&a()).public()), x_a);
    assert_eq!(
        hex::encode(X25519Secret::of(&a()).to_bytes()),
        "3894eea49c580aef816935762be049559d6d1440dede12e6a125f1841fff8e6f"
    );
    assert_eq!(
        hex(&X25519Public::of(&b().public()).unwrap()),
        "5730800ab340fcb18ce5111eda9d705f91388b41e4544cbd103ba5942db2233e"
    );
}

fn hello() -> HelloClaim<'static> {
    HelloClaim { mesh_id: "mesh1", member_id: "member1", pubkey: a().public(), timestamp_ms: NOW }
}

#[test]
fn the_hello_vector_and_its_skew() {
    let signature = hello().sign(&a()).unwrap();
    assert_eq!(
        signature.to_string(),
        "e1c705a2ac9e4d39c6cef69472b0cda55fe955fd4a6e52ffe29f5f1ea48d12ad\
         5dcb51583b7d2669dd731db223ba3cbbffcc7446d8f08f5619fa865325366805"
    );
    for now in [NOW, NOW - 60_000, NOW + 60_000] {
        assert_eq!(hello().verify(&signature, now), Ok(()));
    }
    for now in [NOW - 60_001, NOW + 60_001] {
        assert_eq!(
            hello().verify(&signature, now),
            Err(TrustError::Skew { off_ms: 60_001, allowed_ms: HELLO_SKEW_MS })
        );
    }
    let bad = Err(TrustError::BadSignature);
    assert_eq!(HelloClaim { member_id: "member2", ..hello() }.verify(&signature, NOW), bad);
    assert_eq!(HelloClaim { pubkey: b().public(), ..hello() }.verify(&signature, NOW), bad);
}

/// SHA-256 of "hi".
const HI: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";

#[test]
fn the_upload_vector_and_its_skew() {
    let claim =
        UploadClaim { mesh_id: "mesh1", member_id: "member1", file_name: "a%20b.zip", timestamp_ms: NOW, sha256: HI };
    let signature = claim.sign(&a()).unwrap();
    assert_eq!(
        signature.to_string(),
        "c59121ccdc173db680f9b45bb266019566f281a8ee31d7918be7713305121bcb\
         132b539344bac8cf7f91aff644e99e04264899875eb3ebd9774f8ba890b4920b"
    );
    for now in [NOW, NOW - 60_000, NOW + 60_000] {
        assert_eq!(claim.verify(&a().public(), &signature, now), Ok(()));
    }
    for now in [NOW - 60_001, NOW + 60_001] {
        let late = Err(TrustError::Skew { off_ms: 60_001, allowed_ms: HELLO_SKEW_MS });
        assert_eq!(claim.verify(&a().public(), &signature, now), late);
    }
    let bad = Err(TrustError::BadSignature);
    let zeros = "0".repeat(64);
    for other in [
        UploadClaim { mesh_id: "mesh2", ..claim },
        UploadClaim { member_id: "member2", ..claim },
        UploadClaim { file_name: "b.zip", ..claim },
        UploadClaim { timestamp_ms: NOW + 1, ..claim },
        UploadClaim { sha256: &zeros, ..claim },
    ] {
        assert_eq!(other.verify(&a().public(), &signature, NOW), bad);
    }
    assert_eq!(claim.verify(&b().public(), &signature, NOW), bad);
    let two = UploadClaim { member_id: "member1|x", ..claim };
    assert_eq!(two.sign(&a()), Err(TrustError::Separator("memberId")));
}

#[test]
fn no_text_is_read_in_two_ways() {
    let claim = HelloClaim { mesh_id: "mesh1|member1", member_id: "x", ..hello() };
    assert_eq!(claim.sign(&a()), Err(TrustError::Separator("meshId")));
}

fn session() -> SessionClaim<'static> {
    SessionClaim { mesh_id: "mesh1", member: a().public(), session: b().public(), session_id: "s1" }
}

#[test]
fn session_certificates() {
    let cert = session().certify(&a(), NOW, MAX_SESSION_MS).unwrap();
    let text = format!("claudemesh/session/v1|mesh1|{A_PUBLIC}|{B_PUBLIC}|s1|{NOW}|{}", NOW + MAX_SESSION_MS);
    assert_eq!(a().public().verify(text.as_bytes(), &cert.signature), Ok(()));

    let ends = NOW + MAX_SESSION_MS;
    assert_eq!(session().verify(&cert, NOW), Ok(()));
    assert_eq!(session().verify(&cert, NOW - 60_000), Ok(()));
    assert_eq!(session().verify(&cert, ends - 1), Ok(()));
    assert_eq!(session().verify(&cert, ends), Err(TrustError::Expired { ago_ms: 0 }));
    assert!(matches!(session().verify(&cert, NOW - 60_001), Err(TrustError::Skew { off_ms: 60_001, .. })));

    let bad = Err(TrustError::BadSignature);
    assert_eq!(SessionClaim { mesh_id: "mesh2", ..session() }.verify(&cert, NOW), bad);
    assert_eq!(SessionClaim { session: a().public(), ..session() }.verify(&cert, NOW), bad);
    assert_eq!(SessionClaim { member: b().public(), ..session() }.verify(&cert, NOW), bad);
    let longer = SessionCert { expires_at: ends + 1, ..cert };
    assert_eq!(session().verify(&longer, NOW), bad);
    assert_eq!(SessionClaim { session_id: "s2", ..session() }.verify(&cert, NOW), bad);
}

#[test]
fn a_certificate_that_lasts_too_long_is_refused_even_when_it_is_signed() {
    assert_eq!(session().certify(&a(), NOW, MAX_SESSION_MS + 1), Err(TrustError::Period));
    assert_eq!(session().certify(&a(), NOW, 0), Err(TrustError::Period));
    let expires_at = NOW + MAX_SESSION_MS + 1;
    let text = format!("claudemesh/session/v1|mesh1|{A_PUBLIC}|{B_PUBLIC}|s1|{NOW}|{expires_at}");
    let signature = a().sign(text.as_bytes());
    let cert = SessionCert { issued_at: NOW, expires_at, signature };
    assert_eq!(session().verify(&cert, NOW), Err(TrustError::Period));
}

#[test]
fn the_direct_box_vector() {
    let nonce = bytes::<24>(0x40);
    assert_eq!(BASE64.encode(nonce), "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZX");
    let ciphertext = seal_direct(b"hi", &nonce, &b().public(), &a()).unwrap();
    assert_eq!(BASE64.encode(&ciphertext), "3yeffLXeYz+0XpdpOMrxLAus");
    assert_eq!(open_direct(&ciphertext, &nonce, &a().public(), &b()).unwrap(), b"hi");
    assert_eq!(open_direct(&ciphertext, &bytes(0x41), &a().public(), &b()), Err(BoxError::NotOpened));
    assert_eq!(open_direct(&ciphertext[..15], &nonce, &a().public(), &b()), Err(BoxError::NotOpened));
}

#[test]
fn the_vault_vectors() {
    let (key, nonce) = (bytes::<32>(0x80), bytes::<24>(0x40));
    let ciphertext = seal_secretbox(b"s3cret", &nonce, &key).unwrap();
    assert_eq!(BASE64.encode(&ciphertext), "EOmW7HbvtFLo0xHM+2aSepGWV78v3g==");
    assert_eq!(open_secretbox(&ciphertext, &nonce, &key).unwrap(), b"s3cret");
    assert_eq!(open_secretbox(&ciphertext, &nonce, &bytes(0x81)), Err(BoxError::NotOpened));

    let sealed = BASE64
        .decode(
            "t/nzJ3F/KF6jL+60C2+++MKeGFaQi8AIcRyXW1/kAly/rN5fOq91JjO5BeHsqpY+ntLhOTLCzUhaDSHk6/M9690DpO1wNnCah2ptKcyPRw4=",
        )
        .unwrap();
    assert_eq!(open_sealed(&sealed, &a()).unwrap(), key);
    assert_eq!(open_sealed(&sealed, &b()), Err(BoxError::NotOpened));

    let ours = seal(&key, &a().public(), bytes(0x60)).unwrap();
    assert_eq!(ours.len(), key.len() + SEAL_OVERHEAD_BYTES);
    assert_eq!(open_sealed(&ours, &a()).unwrap(), key);
}

#[test]
fn the_invite_vector() {
    let claim = InviteClaim {
        v: 1,
        mesh_id: "mesh1",
        mesh_slug: "demo",
        broker_url: "ws://localhost:7900/ws",
        expires_at_s: 1_893_456_000,
        mesh_root_key: "AAAA",
        role: "member",
        owner: a().public(),
    };
    let signature = claim.sign(&a()).unwrap();
    assert_eq!(
        signature.to_string(),
        "55e1f6eebe48b2a7584dde65296f3416d5316f6f4ea70f01998e1cd0bdca4259\
         71eb3ddaf8465e534dff370e9c90f1b63d57eae2a7b1f508768d3f69f0d00802"
    );
    assert_eq!(claim.verify(&signature, NOW), Ok(()));
    assert_eq!(claim.verify(&signature, 1_893_456_000_000), Err(TrustError::Expired { ago_ms: 0 }));
    assert_eq!(InviteClaim { role: "admin", ..claim }.verify(&signature, NOW), Err(TrustError::BadSignature));
}

#[test]
fn points_that_libsodium_refuses_are_refused() {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    let mixed = ED25519_BASEPOINT_POINT + EIGHT_TORSION[1];
    let unusable = |bytes| X25519Public::of(&PublicKey::from_bytes(bytes)) == Err(BoxError::UnusableKey);
    assert!(unusable(mixed.compress().to_bytes()), "mixed order");
    for point in EIGHT_TORSION {
        assert!(unusable(point.compress().to_bytes()), "small order");
    }
    let mut off_the_curve = [0; 32];
    off_the_curve[0] = 2;
    assert!(unusable(off_the_curve));
}

#[test]
fn keys_have_one_written_form_and_secret_ones_none() {
    for text in ["", "00", &A_PUBLIC.to_uppercase(), &format!("{A_PUBLIC}00"), &"g".repeat(64)] {
        assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Form { what: "public key", digits: 64 }), "{text}");
    }
    let seed = hex::encode(bytes::<32>(0));
    let of_another = format!("{seed}{B_PUBLIC}");
    assert_eq!(SigningKey::from_hex(&of_another).unwrap_err(), KeyError::NotAKey("secret key"));
    assert!(!format!("{:?} {:?}", a(), X25519Secret::of(&a())).contains(&seed));
    let json = serde_json::to_string(&a().public()).unwrap();
    assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), a().public());
}
