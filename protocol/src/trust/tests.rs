//! What counts and what does not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::identity::{SigningKey, TrustError};
use crate::wire::MemberEntry;

const MESH: &str = "mesh1";
const SOON_S: u64 = 1_893_456_000;
/// Of the key of the invites here.
const INVITE: u8 = 0xab;
const NOW_MS: u64 = 1_775_671_200_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn owner() -> SigningKey {
    key(1)
}
fn public(n: u8) -> PublicKey {
    key(n).public()
}

fn entry(n: u8, certificate: Option<MemberCert>, removal: Option<Removal>) -> MemberEntry {
    MemberEntry {
        member_id: format!("m{n}"),
        pubkey: public(n),
        display_name: format!("name{n}"),
        // The broker's word, which must not matter.
        role: "owner".to_owned(),
        certificate,
        removal,
        joined_at: String::new(),
        removed_at: None,
    }
}
fn signed(n: u8, role: Role, serial: u64, by: u8) -> MemberCert {
    MemberCert::signed(MESH, public(n), role, serial, &key(by)).unwrap()
}
fn removed(n: u8, serial: u64, by: u8) -> Removal {
    Removal::sign(MESH, public(n), serial, &key(by)).unwrap()
}
fn invite_as(role: Role) -> Invite {
    let terms = InviteTerms {
        mesh_id: MESH,
        mesh_slug: "demo",
        broker_url: "ws://localhost:7900/ws",
        expires_at: SOON_S,
        role,
    };
    Invite::sign(&terms, public(INVITE), &owner()).unwrap()
}
fn invited(n: u8, role: Role) -> MemberCert {
    MemberCert::by_invite(invite_as(role), MESH, public(n), &key(INVITE)).unwrap()
}
fn roll(members: &[MemberEntry]) -> Roll {
    Roll::new(MESH, owner().public(), members, &[])
}
fn standing(members: &[MemberEntry], n: u8) -> Standing {
    roll(members).member(&public(n)).unwrap().standing
}
const VERIFIED: Standing = Standing::Verified(Role::Member);
const BAD: Standing = Standing::Unverified(Doubt::Signature(TrustError::BadSignature));

#[test]
fn the_texts_are_those_that_are_written_down() {
    let (a, b) = (SigningKey::from_seed(&std::array::from_fn(|i| i as u8)), public(7));
    let MemberCert::Signed { signature, .. } = MemberCert::signed(MESH, b, Role::Admin, 3, &a).unwrap() else {
        panic!("not signed")
    };
    let text = format!("claudemesh/member/v1|mesh1|{b}|admin|3");
    assert_eq!(a.public().verify(text.as_bytes(), &signature), Ok(()));

    let MemberCert::Invite { signature, .. } = invited(7, Role::Member) else { panic!("not by an invite") };
    let text = format!("claudemesh/join/v1|mesh1|{b}|member|1893456000");
    assert_eq!(public(INVITE).verify(text.as_bytes(), &signature), Ok(()));

    let removal = Removal::sign(MESH, b, 4, &a).unwrap();
    let text = format!("claudemesh/removal/v1|mesh1|{b}|4");
    assert_eq!(a.public().verify(text.as_bytes(), &removal.signature), Ok(()));

    let (one, other) = (public(8).min(public(9)), public(8).max(public(9)));
    for (members, shown) in [
        (None, "open".to_owned()),
        (Some(&[][..]), String::new()),
        (Some(&[other, one, other][..]), format!("{one},{other}")),
    ] {
        let list = GroupList::sign(MESH, "eng", 2, members, &a).unwrap();
        let text = format!("claudemesh/group/v1|mesh1|eng|2|{shown}");
        assert_eq!(a.public().verify(text.as_bytes(), &list.signature), Ok(()), "{shown}");
    }
    assert_eq!(GroupList::sign(MESH, "a|b", 2, None, &a), Err(TrustError::Separator("name")));
    assert_eq!(MemberCert::signed("a|b", b, Role::Member, 1, &a).unwrap_err(), TrustError::Separator("meshId"));
}

/// Who vouches, for which role, and what comes of it. 1 owner, 2 admin by the owner, 3 plain member, 4 whom it is about.
#[test]
fn certificates_count_by_who_signed_them() {
    let around =
        [entry(2, Some(signed(2, Role::Admin, 1, 1)), None), entry(3, Some(signed(3, Role::Member, 1, 1)), None)];
    let with = |certificate| {
        let mut members = vec![entry(4, Some(certificate), None)];
        members.extend(around.clone());
        standing(&members, 4)
    };
    for role in [Role::Member, Role::Admin, Role::Owner] {
        assert_eq!(with(signed(4, role, 1, 1)), Standing::Verified(role), "by the owner");
    }
    assert_eq!(with(signed(4, Role::Member, 1, 2)), VERIFIED, "by an admin");
    assert_eq!(with(signed(4, Role::Admin, 1, 2)), Standing::Unverified(Doubt::Role), "an admin makes no admin");
    assert_eq!(with(signed(4, Role::Owner, 1, 2)), Standing::Unverified(Doubt::Role));
    assert_eq!(with(signed(4, Role::Member, 1, 3)), Standing::Unverified(Doubt::Issuer), "by a plain member");
    assert_eq!(with(signed(4, Role::Member, 1, 4)), Standing::Unverified(Doubt::Issuer), "by itself");
    assert_eq!(with(signed(4, Role::Member, 1, 50)), Standing::Unverified(Doubt::Issuer), "by a stranger");
    assert_eq!(with(invited(4, Role::Member)), VERIFIED, "by an invite");
    assert_eq!(with(invited(4, Role::Admin)), Standing::Verified(Role::Admin), "by an admin invite");
    assert_eq!(with(invited(4, Role::Owner)), Standing::Unverified(Doubt::Role), "no invite makes an owner");
    assert_eq!(with(signed(5, Role::Member, 1, 1)), BAD, "another member's");
    assert_eq!(with(invited(5, Role::Member)), BAD, "another joiner's");
    let MemberCert::Signed { role, issuer, signature, .. } = signed(4, Role::Member, 1, 1) else { panic!() };
    assert_eq!(with(MemberCert::Signed { role, serial: 2, issuer, signature }), BAD, "another serial");
    let elsewhere = MemberCert::signed("mesh2", public(4), Role::Member, 1, &owner()).unwrap();
    assert_eq!(with(elsewhere), BAD, "of another mesh");
}

#[test]
fn h29_what_an_invite_does_not_say_it_does_not_give() {
    let with = |invite: Invite, key: &SigningKey| {
        let certificate = MemberCert::by_invite(invite, MESH, public(4), key).unwrap();
        standing(&[entry(4, Some(certificate), None)], 4)
    };
    assert_eq!(with(invite_as(Role::Member), &key(INVITE)), VERIFIED);
    let raised = Invite { role: "admin".to_owned(), ..invite_as(Role::Member) };
    assert_eq!(with(raised, &key(INVITE)), BAD, "a role that was raised");
    assert_eq!(with(invite_as(Role::Member), &key(0xba)), BAD, "not the invite's key");
    let swapped = Invite { mesh_root_key: public(0xba).to_string(), ..invite_as(Role::Member) };
    assert_eq!(with(swapped, &key(0xba)), BAD, "a key that was put in");
    let longer = Invite { expires_at: SOON_S + 1, ..invite_as(Role::Member) };
    assert_eq!(with(longer, &key(INVITE)), BAD, "an end that was moved");
    let terms =
        InviteTerms { mesh_id: MESH, mesh_slug: "demo", broker_url: "ws://x", expires_at: SOON_S, role: Role::Admin };
    let by_another = Invite::sign(&terms, public(INVITE), &key(50)).unwrap();
    assert_eq!(with(by_another, &key(INVITE)), Standing::Unverified(Doubt::ForeignInvite), "another owner's");
    let elsewhere = Invite::sign(&InviteTerms { mesh_id: "mesh2", ..terms }, public(INVITE), &owner()).unwrap();
    assert_eq!(with(elsewhere, &key(INVITE)), Standing::Unverified(Doubt::ForeignInvite), "another mesh's");
}

#[test]
fn an_admin_that_is_none_vouches_for_nobody() {
    let vouched = entry(4, Some(signed(4, Role::Member, 1, 2)), None);
    for (admin, expected) in [
        (entry(2, Some(signed(2, Role::Admin, 1, 1)), None), VERIFIED),
        (entry(2, Some(signed(2, Role::Owner, 1, 1)), None), VERIFIED),
        (entry(2, Some(invited(2, Role::Admin)), None), VERIFIED),
        (entry(2, Some(signed(2, Role::Member, 1, 1)), None), Standing::Unverified(Doubt::Issuer)),
        (entry(2, None, None), Standing::Unverified(Doubt::Issuer)),
        (entry(2, Some(signed(2, Role::Admin, 1, 3)), None), Standing::Unverified(Doubt::Issuer)),
        (entry(2, Some(signed(2, Role::Admin, 1, 1)), Some(removed(2, 2, 1))), Standing::Unverified(Doubt::Issuer)),
        (entry(2, Some(signed(2, Role::Admin, 1, 1)), Some(removed(2, 2, 2))), Standing::Unverified(Doubt::Issuer)),
        // Made an admin again.
        (entry(2, Some(signed(2, Role::Admin, 3, 1)), Some(removed(2, 2, 1))), VERIFIED),
    ] {
        let other = entry(3, Some(signed(3, Role::Admin, 1, 1)), None);
        assert_eq!(standing(&[vouched.clone(), admin.clone(), other], 4), expected, "{admin:?}");
    }
}

#[test]
fn removals_count_by_who_signed_them_and_by_their_serial() {
    let admin = |n| entry(n, Some(signed(n, Role::Admin, 1, 1)), None);
    let plain = |removal| entry(4, Some(signed(4, Role::Member, 5, 1)), Some(removal));
    let with =
        |about: MemberEntry| standing(&[about, admin(2), entry(3, Some(signed(3, Role::Member, 1, 1)), None)], 4);
    for by in [1, 2, 4] {
        assert_eq!(with(plain(removed(4, 6, by))), Standing::Removed, "by {by}");
        assert_eq!(with(plain(removed(4, 5, by))), Standing::Removed, "the same serial: gone");
        assert_eq!(with(plain(removed(4, 4, by))), VERIFIED, "certified again since");
    }
    for by in [3, 50] {
        assert_eq!(with(plain(removed(4, 6, by))), VERIFIED, "by {by}");
    }
    let chief = |by| entry(4, Some(signed(4, Role::Admin, 1, 1)), Some(removed(4, 6, by)));
    assert_eq!(with(chief(2)), Standing::Verified(Role::Admin), "an admin removes no admin");
    assert_eq!(with(chief(1)), Standing::Removed);
    assert_eq!(with(entry(4, None, Some(removed(4, 1, 2)))), Standing::Removed, "one without certificate");
    let told = MemberEntry { removed_at: Some("2026-01-01T00:00:00Z".to_owned()), ..entry(4, None, None) };
    assert_eq!(with(told), Standing::Removed, "the broker's word is enough to be out");

    // The one who removed is gone itself by now; letting the member in again would be worse.
    let gone = entry(2, Some(signed(2, Role::Admin, 1, 1)), Some(removed(2, 2, 1)));
    assert_eq!(standing(&[plain(removed(4, 6, 2)), gone], 4), Standing::Removed);
}

#[test]
fn the_owner_needs_nobody_and_a_plain_join_nobody_vouches_for() {
    assert_eq!(standing(&[entry(1, None, None)], 1), Standing::Verified(Role::Owner));
    assert_eq!(standing(&[entry(4, None, None)], 4), Standing::Unattested);
    // The broker says that it is the owner.
    assert_eq!(roll(&[entry(4, None, None)]).owner(), public(1));
}

#[test]
fn one_that_is_listed_twice_is_what_costs_it_most() {
    let fine = entry(2, Some(signed(2, Role::Admin, 1, 1)), None);
    let gone = entry(2, Some(signed(2, Role::Admin, 1, 1)), Some(removed(2, 2, 1)));
    let vouched = entry(4, Some(signed(4, Role::Member, 1, 2)), None);
    for members in [[fine.clone(), gone.clone(), vouched.clone()], [gone, fine, vouched]] {
        assert_eq!(standing(&members, 2), Standing::Removed);
        assert_eq!(standing(&members, 4), Standing::Unverified(Doubt::Issuer));
    }
}

#[test]
fn groups_count_by_who_signed_their_list_and_by_its_serial() {
    let members =
        [entry(2, Some(signed(2, Role::Admin, 1, 1)), None), entry(3, Some(signed(3, Role::Member, 1, 1)), None)];
    let list = |serial, who: Option<&[u8]>, by: u8| {
        let keys: Option<Vec<_>> = who.map(|who| who.iter().map(|&n| public(n)).collect());
        GroupList::sign(MESH, "eng", serial, keys.as_deref(), &key(by)).unwrap()
    };
    let group = |lists: &[GroupList]| Roll::new(MESH, owner().public(), &members, lists).group("eng");
    let restricted = |serial, n| GroupStanding::Restricted { serial, members: vec![public(n)] };
    assert_eq!(group(&[]), GroupStanding::Open { serial: None });
    assert_eq!(group(&[list(1, Some(&[4]), 1)]), restricted(1, 4));
    assert_eq!(group(&[list(2, Some(&[5]), 2), list(1, Some(&[4]), 1)]), restricted(2, 5));
    assert_eq!(group(&[list(1, Some(&[4]), 1), list(9, Some(&[5]), 3)]), restricted(1, 4), "a plain member's");
    assert_eq!(group(&[list(2, None, 1), list(1, Some(&[4]), 1)]), GroupStanding::Open { serial: Some(2) });
    // A list that does not count is not the same as none: the group would be open to everybody.
    assert_eq!(group(&[list(9, Some(&[5]), 3)]), GroupStanding::Unverified(Doubt::Issuer));
    let padded = GroupList { members: Some(vec![public(4), public(6)]), ..list(1, Some(&[4]), 1) };
    assert_eq!(group(&[padded]), GroupStanding::Unverified(Doubt::Signature(TrustError::BadSignature)));
}

#[test]
fn a_token_has_one_form() {
    let invite = invite_as(Role::Member);
    let token = invite.token();
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).unwrap()).unwrap();
    assert!(json.starts_with(r#"{"v":1,"mesh_id":"mesh1","mesh_slug":"demo","broker_url":"ws://localhost:7900/ws","expires_at":1893456000,"mesh_root_key":""#), "{json}");
    assert_eq!(Invite::from_token(&token), Ok(invite.clone()));
    assert_eq!(invite.verify(NOW_MS), Ok(()));
    assert!(matches!(invite.verify(SOON_S * 1_000), Err(TrustError::Expired { .. })));

    let again = |json: &str| Invite::from_token(&URL_SAFE_NO_PAD.encode(json));
    for other in [
        format!("{json} "),
        format!("{json}{json}"),
        json.replacen(r#""v":1"#, r#""v": 1"#, 1),
        json.replacen('}', r#","more":1}"#, 1),
        json.replacen(r#""v":1,"#, r#""v":1,"v":1,"#, 1),
        json.replacen("mesh1", "\\u006desh1", 1),
        String::new(),
    ] {
        assert_eq!(again(&other), Err(InviteError::Form), "{other}");
    }
    assert_eq!(again(&json.replacen(r#""v":1"#, r#""v":2"#, 1)), Err(InviteError::Version(2)));
    for other in [format!("{token}="), format!("{token}\n"), format!("{token}{token}"), "x".repeat(MAX_TOKEN_BYTES + 1)]
    {
        assert_eq!(Invite::from_token(&other), Err(InviteError::Form), "{other}");
    }
}

#[test]
fn links_have_three_forms_and_a_seed_that_fits() {
    let invite = invite_as(Role::Member);
    let (token, seed) = (invite.token(), hex::encode([INVITE; 32]));
    for address in [
        token.clone(),
        format!("ic://join/{token}"),
        format!("https://mesh.example/join/{token}"),
        format!("https://mesh.example:7900/some/join/{token}"),
    ] {
        let plain = Invite::from_link(&format!(" {address}\n")).unwrap();
        assert_eq!(
            (plain.invite, plain.token, plain.key.is_none()),
            (invite.clone(), token.clone(), true),
            "{address}"
        );
        let with = Invite::from_link(&format!("{address}#{seed}")).unwrap();
        assert_eq!(with.key.unwrap().public(), public(INVITE), "{address}");
    }
    assert_eq!(Invite::from_link(invite.link_with(&[INVITE; 32]).expose()).unwrap().token, token);
    assert_eq!(invite.link(), format!("ic://join/{token}"));
    for wrong in [String::new(), seed.to_uppercase(), seed[2..].to_owned(), hex::encode([0xba; 32]), "zz".repeat(32)] {
        let error = Invite::from_link(&format!("{token}#{wrong}")).unwrap_err();
        assert_eq!(error, InviteError::Key, "{wrong}");
        assert!(wrong.is_empty() || !error.to_string().contains(&wrong));
    }
    for wrong in ["", "ic://join/", "ic://leave/x", "https://mesh.example/", "ftp://mesh.example/join/x"] {
        assert_eq!(Invite::from_link(wrong).unwrap_err(), InviteError::Form, "{wrong}");
    }
    let bare = Invite { mesh_root_key: "AAAA".to_owned(), ..invite };
    assert_eq!(Invite::from_link(&format!("{}#{seed}", bare.token())).unwrap_err(), InviteError::Key);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Neither order nor repetition changes who belongs to a group, and nobody else's list is this one's.
    #[test]
    fn a_list_of_keys_has_one_text(mut keys in proptest::collection::vec(0_u8..20, 0..8), extra in 20_u8..40) {
        let publics: Vec<_> = keys.iter().map(|&n| public(n)).collect();
        let list = GroupList::sign(MESH, "eng", 1, Some(&publics), &owner()).unwrap();
        keys.reverse();
        keys.extend(keys.clone());
        let shuffled: Vec<_> = keys.iter().map(|&n| public(n)).collect();
        let roll = roll(&[]);
        prop_assert_eq!(roll.check_group(&GroupList { members: Some(shuffled.clone()), ..list.clone() }), Ok(()));
        let mut more = shuffled;
        more.push(public(extra));
        let longer = GroupList { members: Some(more), ..list.clone() };
        let opened = GroupList { members: None, ..list };
        prop_assert!(roll.check_group(&longer).is_err());
        prop_assert!(roll.check_group(&opened).is_err());
    }

    /// Whatever stands in the fields, the token comes back the same, or is not made.
    #[test]
    fn tokens_come_back(slug in "\\PC{0,20}", url in ".{0,40}", expires_at: u64) {
        let terms = InviteTerms { mesh_id: MESH, mesh_slug: &slug, broker_url: &url, expires_at, role: Role::Member };
        match Invite::sign(&terms, public(INVITE), &owner()) {
            Ok(invite) => {
                prop_assert_eq!(Invite::from_token(&invite.token()), Ok(invite.clone()));
                prop_assert_eq!(invite.verify_signature(), Ok(()));
            }
            Err(error) => prop_assert!(matches!(error, TrustError::Separator(_))),
        }
    }
}
