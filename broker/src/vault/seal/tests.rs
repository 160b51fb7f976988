#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const PLACE: Context<'static> = Context { mesh: "m1", table: "deployment", key: "d1", version: 1 };

fn at_rest(byte: u8) -> AtRest {
    AtRest::new(AtRestKey::from_hex(&hex::encode([byte; 32])).unwrap())
}

/// The bytes behind a sealed text of the first key.
fn bytes_of(sealed: &str) -> Vec<u8> {
    STANDARD.decode(sealed.strip_prefix("v2.1.").unwrap()).unwrap()
}

#[test]
fn the_published_vector_is_sealed_and_opened() {
    let sealed = "AAECAwQFBgcICQoL0xMFEdpQaIPmB1huIcWTqGjB/TFBgUPWaQ==";
    let vault = at_rest(0x11);
    let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
    assert_eq!(STANDARD.encode(vault.encrypt(iv, &[], br#"{"K":"v"}"#)), sealed);
    assert_eq!(vault.open_plain(sealed).unwrap().as_slice(), br#"{"K":"v"}"#);
}

#[test]
fn v11_every_altered_bit_is_noticed() {
    let vault = at_rest(1);
    let sealed = vault.seal(&PLACE, b"secret");
    let bytes = bytes_of(&sealed);
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let altered = format!("v2.1.{}", STANDARD.encode(altered));
        assert_eq!(vault.open(&PLACE, &altered).unwrap_err(), UnsealError, "bit {bit}");
    }
}

#[test]
fn what_is_cut_short_does_not_open() {
    let vault = at_rest(1);
    let sealed = vault.seal(&PLACE, b"secret");
    for end in 0..sealed.len() {
        assert!(vault.open(&PLACE, &sealed[..end]).is_err(), "{end} bytes opened");
    }
}

#[test]
fn a_sealed_text_opens_only_at_its_place() {
    let vault = at_rest(1);
    let sealed = vault.seal(&PLACE, b"secret");
    assert_eq!(vault.open(&PLACE, &sealed).unwrap().as_slice(), b"secret");
    for elsewhere in [
        Context { mesh: "m2", ..PLACE },
        Context { table: "vault_entry", ..PLACE },
        Context { key: "d2", ..PLACE },
        Context { version: 2, ..PLACE },
        // The same letters, cut at another point.
        Context { mesh: "m1d", table: "eployment", ..PLACE },
        Context { mesh: "", table: "m1deployment", ..PLACE },
    ] {
        assert!(vault.open(&elsewhere, &sealed).is_err(), "opened at {elsewhere:?}");
    }
}

#[test]
fn the_two_forms_are_not_taken_for_each_other() {
    let vault = at_rest(1);
    let plain = vault.seal_plain(b"secret");
    assert!(vault.open(&PLACE, &plain).is_err());
    assert!(vault.open(&PLACE, &format!("{V1}{plain}")).is_err());
    assert!(vault.open(&PLACE, &format!("v2.1.{plain}")).is_err());
    assert!(vault.open_plain(&vault.seal(&PLACE, b"secret")).is_err());
}

#[test]
fn another_key_does_not_open() {
    assert!(at_rest(2).open(&PLACE, &at_rest(1).seal(&PLACE, b"secret")).is_err());
}

#[test]
fn v12_the_same_value_is_never_sealed_twice_alike() {
    let vault = at_rest(1);
    let ivs: HashSet<Vec<u8>> =
        (0..500).map(|_| STANDARD.decode(vault.seal_plain(b"secret")).unwrap()[..IV_BYTES].to_vec()).collect();
    let bound: HashSet<Vec<u8>> =
        (0..500).map(|_| bytes_of(&vault.seal(&PLACE, b"secret"))[..IV_BYTES].to_vec()).collect();
    assert_eq!(ivs.union(&bound).count(), 1_000);
}

/// A text of a broker whose keys had no versions: the first key opens it, and no later one.
#[test]
fn the_form_before_keys_had_versions_opens_under_the_first_key() {
    let vault = at_rest(1);
    let earlier = vault.encrypt(random_iv(), &PLACE.associated_data(None), b"secret");
    let earlier = format!("{V1}{}", STANDARD.encode(earlier));
    assert_eq!(vault.open(&PLACE, &earlier).unwrap().as_slice(), b"secret");
    assert!(vault.open(&Context { key: "d2", ..PLACE }, &earlier).is_err());
    assert!(at_rest(1).of_version(2).open(&PLACE, &earlier).is_err());
}

#[test]
fn a_sealed_text_belongs_to_one_version_of_the_key() {
    let (first, second) = (at_rest(1), at_rest(1).of_version(2));
    let sealed = second.seal(&PLACE, b"secret");
    assert!(sealed.starts_with("v2.2."));
    assert_eq!(second.open(&PLACE, &sealed).unwrap().as_slice(), b"secret");
    assert!(first.open(&PLACE, &sealed).is_err());
    // Not by another number on it either.
    assert!(first.open(&PLACE, &sealed.replacen("v2.2.", "v2.1.", 1)).is_err());
    assert!(second.open(&PLACE, &sealed.replacen("v2.2.", "v2.02.", 1)).is_err());
}

type Spot = (String, String, String, u64);

fn context((mesh, table, key, version): &Spot) -> Context<'_> {
    Context { mesh, table, key, version: *version }
}

fn spot() -> impl Strategy<Value = Spot> {
    // Few letters, so that places are close to each other.
    ("[ab/]{0,3}", "[ab/]{0,3}", "[ab/]{0,3}", 0..3_u64)
}

proptest! {
    /// Rows that were swapped between meshes, tables, members, keys or versions.
    #[test]
    fn a_row_at_another_place_does_not_open(here in spot(), there in spot()) {
        let (a, b) = (context(&here), context(&there));
        let vault = at_rest(7);
        prop_assert_eq!(vault.open(&b, &vault.seal(&a, b"secret")).is_ok(), a == b);
    }

    #[test]
    fn v10_what_is_sealed_opens(plain: Vec<u8>, mesh: String, key: String, version: u64) {
        let vault = at_rest(7);
        let place = Context { mesh: &mesh, table: "t", key: &key, version };
        let opened = vault.open(&place, &vault.seal(&place, &plain)).unwrap();
        prop_assert_eq!(opened.as_slice(), plain.as_slice());
    }

    #[test]
    fn no_text_makes_opening_panic(text: String) {
        prop_assert!(at_rest(7).open(&PLACE, &text).is_err());
        prop_assert!(at_rest(7).open_plain(&text).is_err());
    }
}
