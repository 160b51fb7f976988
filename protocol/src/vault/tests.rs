//! What opens, and above all what does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::identity::SigningKey;
use crate::wire::EntryType;

const MESH: &str = "mesh1";
const SECRET: &[u8] = b"s3cret";

fn seed<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|at| first + u8::try_from(at).unwrap())
}
fn a() -> SigningKey {
    SigningKey::from_seed(&seed(0))
}
fn b() -> SigningKey {
    SigningKey::from_seed(&seed(0x20))
}
fn drawn() -> Drawn {
    Drawn { file_key: seed(0x80).into(), nonce: seed(0x40), one_time_seed: seed(0x60).into() }
}
fn value() -> Value<'static> {
    Value {
        mesh_id: MESH,
        key: "token",
        entry_type: EntryType::Env,
        mount_path: None,
        description: Some("of the robot"),
        version: 7,
        plain: SECRET,
    }
}
fn file() -> Value<'static> {
    let plain = &[0, 0xff, b'\n', 0x80];
    Value { entry_type: EntryType::File, mount_path: Some("/etc/robot/key.pem"), plain, ..value() }
}
fn sealed() -> VaultEntry {
    value().seal(&a(), &drawn()).unwrap()
}
fn expected() -> Expected<'static> {
    Expected { mesh_id: MESH, key: "token", known: 0 }
}
fn opened(entry: &VaultEntry) -> Result<Opened, VaultError> {
    open(entry, &expected(), &a())
}
fn unsigned(entry: VaultEntry) -> VaultEntry {
    VaultEntry { version: None, sig: None, ..entry }
}

#[test]
fn an_entry_is_the_published_vector() {
    let entry = sealed();
    assert_eq!(entry.nonce, "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZX");
    assert_eq!(entry.ciphertext, "EOmW7HbvtFLo0xHM+2aSepGWV78v3g==");
    let theirs =
        "t/nzJ3F/KF6jL+60C2+++MKeGFaQi8AIcRyXW1/kAly/rN5fOq91JjO5BeHsqpY+ntLhOTLCzUhaDSHk6/M9690DpO1wNnCah2ptKcyPRw4=";
    let old = unsigned(VaultEntry { sealed_key: theirs.to_owned(), ..entry });
    let opened = opened(&old).unwrap();
    assert_eq!(opened.plain.as_slice(), SECRET);
    assert_eq!(opened.authenticity, Authenticity::Unsigned);
}

/// The written form of what is signed, so that another client can make it.
#[test]
fn the_signed_text() {
    let entry = file().seal(&a(), &drawn()).unwrap();
    let digest = hex::encode(Sha256::digest(BASE64.decode(&entry.ciphertext).unwrap()));
    let text = format!(
        "claudemesh/vault/v1|mesh1|{}|token|file|/etc/robot/key.pem|7|{}|{digest}|{}",
        a().public(),
        entry.nonce,
        entry.sealed_key
    );
    assert_eq!(a().public().verify(text.as_bytes(), &entry.sig.unwrap()), Ok(()));
}

#[test]
fn env_and_file_open_for_their_member() {
    for value in [value(), file()] {
        let entry = value.seal(&a(), &drawn()).unwrap();
        let opened = opened(&entry).unwrap();
        assert_eq!(opened.plain.as_slice(), value.plain);
        assert_eq!(opened.authenticity, Authenticity::Signed(7));
        assert_eq!(check(&entry, MESH, a().public()), Ok(Authenticity::Signed(7)));
        assert!(!format!("{entry:?} {opened:?}").contains("s3cret"));
    }
}

#[test]
fn v08_another_members_key_is_refused() {
    let entry = sealed();
    assert_eq!(open(&entry, &expected(), &b()).unwrap_err(), VaultError::Trust(TrustError::BadSignature));
    assert_eq!(open(&unsigned(entry.clone()), &expected(), &b()).unwrap_err(), VaultError::NotOpened);
    // B signs A's box as its own: it still is sealed for A.
    let text = statement(&entry, &BASE64.decode(&entry.ciphertext).unwrap(), 7, MESH, b().public()).unwrap();
    let stolen = VaultEntry { sig: Some(b().sign(text.as_bytes())), ..entry };
    assert_eq!(open(&stolen, &expected(), &b()).unwrap_err(), VaultError::NotOpened);
}

#[test]
fn an_entry_opens_only_where_it_belongs() {
    let bad = VaultError::Trust(TrustError::BadSignature);
    let other_mesh = Expected { mesh_id: "mesh2", ..expected() };
    assert_eq!(open(&sealed(), &other_mesh, &a()).unwrap_err(), bad);
    assert_eq!(check(&sealed(), "mesh2", a().public()), Err(bad.clone()));
    assert_eq!(check(&sealed(), MESH, b().public()), Err(bad.clone()));
    assert_eq!(opened(&VaultEntry { key: "other".to_owned(), ..sealed() }).unwrap_err(), VaultError::OtherKey);
    let renamed = Expected { key: "other", ..expected() };
    assert_eq!(open(&VaultEntry { key: "other".to_owned(), ..sealed() }, &renamed, &a()).unwrap_err(), bad);
    let moved = file().seal(&a(), &drawn()).unwrap();
    for altered in [
        VaultEntry { version: Some(8), ..sealed() },
        VaultEntry { entry_type: EntryType::File, ..sealed() },
        VaultEntry { mount_path: None, ..moved.clone() },
        VaultEntry { mount_path: Some("/etc/robot/other.pem".to_owned()), ..moved },
    ] {
        assert_eq!(opened(&altered).unwrap_err(), bad, "{altered:?}");
    }
    // Two entries of one key: the parts of one do not fit the other.
    let newer = Value { version: 8, plain: b"newer", ..value() };
    let newer = newer.seal(&a(), &Drawn { nonce: seed(1), ..drawn() }).unwrap();
    let swapped = VaultEntry { ciphertext: sealed().ciphertext, nonce: sealed().nonce, ..newer };
    assert_eq!(opened(&swapped).unwrap_err(), bad);
}

#[test]
fn an_older_version_than_was_seen_is_refused() {
    let known = |known| Expected { known, ..expected() };
    assert!(open(&sealed(), &known(7), &a()).is_ok());
    assert_eq!(open(&sealed(), &known(8), &a()).unwrap_err(), VaultError::Older { found: 7, known: 8 });
    let stripped = unsigned(sealed());
    assert_eq!(open(&stripped, &known(7), &a()).unwrap_err(), VaultError::Older { found: 0, known: 7 });
    assert_eq!(open(&stripped, &known(0), &a()).unwrap().authenticity, Authenticity::Unsigned);
    for half in [VaultEntry { sig: None, ..sealed() }, VaultEntry { version: None, ..sealed() }] {
        assert_eq!(opened(&half).unwrap_err(), VaultError::HalfSigned);
    }
}

#[test]
fn what_cannot_be_an_entry_is_not_sealed() {
    let refused = |value: Value<'_>| value.seal(&a(), &drawn()).unwrap_err();
    let long = vec![b'x'; MAX_VALUE_BYTES + 1];
    assert_eq!(refused(Value { plain: &long, ..value() }), VaultError::TooLarge);
    assert!(Value { plain: &long[1..], ..value() }.seal(&a(), &drawn()).is_ok());
    assert_eq!(refused(Value { plain: &[0xff], ..value() }), VaultError::NotText);
    assert_eq!(refused(Value { plain: b"a\0b", ..value() }), VaultError::NotText);
    assert_eq!(refused(Value { mount_path: Some("/x"), ..value() }), VaultError::PathOfVariable);
    assert_eq!(refused(Value { version: 0, ..value() }), VaultError::Version);
    assert_eq!(refused(Value { version: MAX_VERSION + 1, ..value() }), VaultError::Version);
    assert!(matches!(refused(Value { key: "a|b", ..value() }), VaultError::Name(_)));
    assert!(matches!(refused(Value { mount_path: Some("../x"), ..file() }), VaultError::Name(_)));
    let words = "x".repeat(MAX_DESCRIPTION_BYTES + 1);
    assert_eq!(refused(Value { description: Some(&words), ..value() }), VaultError::Description);
}

#[test]
fn what_cannot_be_an_entry_is_not_taken() {
    let long = BASE64.encode(vec![0; MAX_VALUE_BYTES + BOX_OVERHEAD_BYTES + 1]);
    let taken = |entry: VaultEntry| check(&unsigned(entry), MESH, a().public()).unwrap_err();
    assert_eq!(taken(VaultEntry { ciphertext: long.repeat(2), ..sealed() }), VaultError::TooLarge);
    assert_eq!(taken(VaultEntry { ciphertext: long, ..sealed() }), VaultError::TooLarge);
    assert_eq!(taken(VaultEntry { ciphertext: BASE64.encode([0; 15]), ..sealed() }), VaultError::Form("ciphertext"));
    assert_eq!(taken(VaultEntry { ciphertext: "no base64!".to_owned(), ..sealed() }), VaultError::Form("ciphertext"));
    assert_eq!(taken(VaultEntry { nonce: BASE64.encode([0; 23]), ..sealed() }), VaultError::Form("nonce"));
    assert_eq!(taken(VaultEntry { sealed_key: BASE64.encode([0; 81]), ..sealed() }), VaultError::Form("sealed_key"));
    assert!(matches!(taken(VaultEntry { key: "a\nb".to_owned(), ..sealed() }), VaultError::Name(_)));
    let path = Some("/x".to_owned());
    assert_eq!(taken(VaultEntry { mount_path: path, ..sealed() }), VaultError::PathOfVariable);
    let far = VaultEntry { version: Some(MAX_VERSION + 1), ..sealed() };
    assert_eq!(check(&far, MESH, a().public()), Err(VaultError::Version));
}

/// The field's bytes with one bit turned.
fn flipped(text: &str, bit: usize) -> String {
    let mut bytes = BASE64.decode(text).unwrap();
    let bit = bit % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    BASE64.encode(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(plain in proptest::collection::vec(any::<u8>(), 0..600), version in 1..=MAX_VERSION) {
        let value = Value { plain: &plain, version, ..file() };
        let opened = opened(&value.seal(&a(), &drawn()).unwrap()).unwrap();
        prop_assert_eq!(opened.plain.as_slice(), plain.as_slice());
        prop_assert_eq!(opened.authenticity, Authenticity::Signed(version));
    }

    /// With or without a signature: in the second case the boxes alone must notice.
    #[test]
    fn v09_any_flipped_bit_is_refused(
        plain in proptest::collection::vec(any::<u8>(), 0..100), bit in any::<usize>(), signed: bool,
    ) {
        let entry = Value { plain: &plain, ..file() }.seal(&a(), &drawn()).unwrap();
        let entry = if signed { entry } else { unsigned(entry) };
        prop_assert!(opened(&entry).is_ok());
        let altered = [
            VaultEntry { nonce: flipped(&entry.nonce, bit), ..entry.clone() },
            VaultEntry { ciphertext: flipped(&entry.ciphertext, bit), ..entry.clone() },
            VaultEntry { sealed_key: flipped(&entry.sealed_key, bit), ..entry.clone() },
        ];
        for altered in altered {
            prop_assert!(opened(&altered).is_err(), "{:?}", altered);
        }
        if let Some(sig) = entry.sig {
            let mut bytes = *sig.as_bytes();
            bytes[(bit / 8) % 64] ^= 1 << (bit % 8);
            let sig = Some(crate::identity::Signature::from_bytes(bytes));
            let other_sig = VaultEntry { sig, ..entry.clone() };
            prop_assert!(opened(&other_sig).is_err());
            let version = entry.version.map(|version| version ^ (1 << (bit % 53)));
            let other_version = VaultEntry { version, ..entry };
            prop_assert!(opened(&other_version).is_err());
        }
    }

    #[test]
    fn no_entry_makes_opening_panic(key: String, ciphertext: String, nonce: String, path in any::<Option<String>>()) {
        let entry = VaultEntry { key, ciphertext, nonce, mount_path: path, ..sealed() };
        let expected = Expected { key: &entry.key, ..expected() };
        prop_assert!(open(&entry, &expected, &a()).is_err());
    }
}
