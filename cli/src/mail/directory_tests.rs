//! Whom a word means, and what is certain of it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use protocol::identity::SigningKey;
use protocol::trust::{GroupList, MemberCert, Role};
use protocol::wire::{MemberEntry, MembersList};
use serde_json::json;

use super::super::recipients::{self, Several};
use super::*;

const MESH: &str = "mesh1";
const NOW: u64 = 1_775_671_200_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn public(n: u8) -> PublicKey {
    key(n).public()
}

/// 1 owner. `vouched` members have the owner's word.
fn member(n: u8, name: &str, vouched: bool) -> MemberEntry {
    MemberEntry {
        member_id: format!("m{n}"),
        pubkey: public(n),
        display_name: name.to_owned(),
        role: "member".to_owned(),
        certificate: vouched.then(|| MemberCert::signed(MESH, public(n), Role::Member, 1, &key(1)).unwrap()),
        removal: None,
        joined_at: String::new(),
        removed_at: None,
    }
}

fn trusted(members: Vec<MemberEntry>, groups: Vec<GroupList>) -> Trusted {
    Trusted::of(MESH, MembersList { owner_pubkey: public(1), require_proofs: false, members, groups })
}

/// A session of a member; with its member's word, or an old client's without.
fn peer(session: u8, member: u8, name: &str, vouched: bool) -> Peer {
    let claim = SessionClaim { mesh_id: MESH, member: public(member), session: public(session), session_id: "s" };
    let mut peer: Peer = serde_json::from_value(json!({
        "pubkey": public(session), "displayName": name, "status": "idle", "sessionId": "s",
        "connectedAt": format!("2026-01-01T00:00:{session:02}Z"), "memberPubkey": public(member),
    }))
    .unwrap();
    peer.session_cert = vouched.then(|| claim.certify(&key(member), NOW, 60_000).unwrap());
    peer
}

fn resolve(word: &str, trusted: &Trusted, peers: &[Peer]) -> Result<(PublicKey, bool), CliError> {
    let directory = Directory { mesh_id: MESH, peers, trusted, now_ms: NOW };
    match directory.resolve(word)? {
        Target::One { key, doubt, .. } => Ok((key, doubt.is_none())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_means_a_session_that_is_vouched_for_or_else_the_member() {
    let trusted = trusted(vec![member(10, "ana", true), member(30, "eve", false)], vec![]);
    let sure = |peers: &[Peer]| resolve("ana", &trusted, peers).unwrap();
    assert_eq!(sure(&[]), (public(10), true));
    assert_eq!(sure(&[peer(11, 10, "ana", true)]), (public(11), true));
    assert_eq!(sure(&[peer(11, 10, "ana", true), peer(12, 10, "other", true)]), (public(12), true), "the latest");
    assert_eq!(sure(&[peer(11, 10, "ana", false)]), (public(10), true), "not one that anybody could have added");
    let away = Peer { online: Some(false), ..peer(11, 10, "ana", true) };
    assert_eq!(sure(&[away]), (public(10), true));
    let mut lent = peer(11, 10, "ana", true);
    lent.pubkey = public(31);
    assert_eq!(sure(&[lent]), (public(10), true), "another session's certificate");
    assert_eq!(resolve("eve", &trusted, &[peer(31, 30, "eve", true)]).unwrap(), (public(31), false));
    let name_of_session = [peer(11, 10, "laptop", true)];
    assert_eq!(resolve("laptop", &trusted, &name_of_session).unwrap(), (public(11), true));
}

#[test]
fn a_name_of_several_is_nobodys() {
    let trusted = trusted(vec![member(10, "ana", true), member(20, "ana", true), member(30, "ben", true)], vec![]);
    let error = resolve("ana", &trusted, &[]).unwrap_err();
    assert_eq!(error.kind.exit_code(), 2);
    for n in [10, 20] {
        let shown = label("ana", &public(n));
        assert!(error.hint.as_ref().unwrap().contains(&shown), "{error:?}");
        assert_eq!(resolve(&shown, &trusted, &[]).unwrap(), (public(n), true));
        assert_eq!(resolve(&format!("ana/{}", &public(n).to_string()[..4]), &trusted, &[]).unwrap().0, public(n));
        assert_eq!(find_member(&shown, &trusted).unwrap().pubkey, public(n));
    }
    // A session that takes somebody's name does not become them.
    let error = resolve("ben", &trusted, &[peer(21, 20, "ben", true)]).unwrap_err();
    assert_eq!(error.kind.exit_code(), 2);
    assert!(find_member("ana", &trusted).is_err());
}

#[test]
fn a_name_that_nobody_has_brings_those_that_are_alike() {
    let trusted = trusted(vec![member(10, "marianne", true), member(20, "x", true)], vec![]);
    let error = resolve("mariane", &trusted, &[]).unwrap_err();
    assert_eq!(error.kind.exit_code(), 1);
    assert!(error.hint.unwrap().contains("alike: marianne ("));
    assert!(resolve("qqqq", &trusted, &[]).unwrap_err().hint.unwrap().contains("claudemesh peers"));
}

#[test]
fn keys_groups_and_everybody() {
    let trusted = trusted(vec![member(10, "ana", true)], vec![]);
    let directory = Directory { mesh_id: MESH, peers: &[], trusted: &trusted, now_ms: NOW };
    assert_eq!(directory.resolve("*").unwrap(), Target::Everybody);
    assert_eq!(directory.resolve("@all").unwrap(), Target::Everybody);
    assert_eq!(directory.resolve("@eng").unwrap(), Target::Group("eng".to_owned()));
    assert!(directory.resolve("@").is_err() && directory.resolve("").is_err());
    assert_eq!(resolve(&public(10).to_string(), &trusted, &[]).unwrap(), (public(10), true));
    assert_eq!(resolve(&public(99).to_string(), &trusted, &[]).unwrap(), (public(99), false));
}

#[test]
fn one_who_is_gone_has_no_name() {
    let gone = MemberEntry { removed_at: Some("x".to_owned()), ..member(10, "ana", true) };
    let trusted = trusted(vec![gone], vec![]);
    assert!(resolve("ana", &trusted, &[]).is_err());
    assert!(find_member("ana", &trusted).is_err());
}

#[test]
fn the_broker_puts_nobody_into_a_message_unseen() {
    let keys = [public(10), public(20)];
    let list = GroupList::sign(MESH, "ops", 1, Some(&keys), &key(1)).unwrap();
    let forged = GroupList::sign(MESH, "bad", 1, Some(&keys), &key(30)).unwrap();
    let gone = MemberEntry { removed_at: Some("x".to_owned()), ..member(40, "dan", true) };
    let members = vec![member(10, "ana", true), member(20, "ben", true), member(30, "eve", false), gone];
    let trusted = trusted(members, vec![list, forged]);
    let check = |to: Several<'_>, who: &[u8]| {
        let keys: Vec<_> = who.iter().map(|&n| public(n)).collect();
        recipients::check(to, &trusted, &keys)
    };
    let (ops, eng, bad) = (Several::Group("ops"), Several::Group("eng"), Several::Group("bad"));
    assert_eq!(check(Several::Everybody, &[10, 20]).unwrap(), Vec::<String>::new());
    assert_eq!(check(eng, &[10, 30]).unwrap(), [label("eve", &public(30))], "named");
    for (to, who, why) in [
        (Several::Everybody, &[10, 40][..], "no member any more"),
        (Several::Everybody, &[10, 99], "not on its list"),
        (ops, &[10, 30], "signed list"),
        (bad, &[10], "does not hold"),
    ] {
        let error = check(to, who).unwrap_err();
        assert!(error.message.contains(why) && error.kind.exit_code() == 4, "{error:?}");
    }

    let first = |to: Several<'_>, peers: &[Peer]| recipients::first(to, &trusted, peers).unwrap();
    let sorted = |who: &[u8]| {
        let mut keys: Vec<_> = who.iter().map(|&n| public(n)).collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(first(Several::Everybody, &[]), sorted(&[10, 20, 30]));
    assert_eq!(first(ops, &[]), sorted(&[10, 20]));
    let mut in_eng = peer(11, 10, "ana", true);
    in_eng.groups = serde_json::from_value(json!([{"name": "eng"}])).unwrap();
    assert_eq!(first(eng, &[in_eng, peer(21, 20, "ben", true)]), sorted(&[10]));
}
