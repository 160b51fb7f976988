//! What opens, what does not, and what is believed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use proptest::prelude::*;

use super::*;
use crate::identity::{NONCE_BYTES, SessionClaim, SigningKey, seal_direct};
use crate::trust::{Doubt, GroupList, MemberCert, Role, Roll};
use crate::wire::{MemberEntry, Priority, Push, Send};

const MESH: &str = "mesh1";
const NOW: u64 = 1_775_671_200_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn public(n: u8) -> PublicKey {
    key(n).public()
}

/// 1 owner; 10 Ana's member key, 11 her session; 20 Ben's, 21 his; 30 Eve's, who is no member that anybody vouches for.
#[derive(Default)]
struct Memory {
    sent: BTreeSet<String>,
    seen: BTreeSet<(PublicKey, String)>,
}

impl Nonces for Memory {
    fn sent(&self, nonce: &str) -> bool {
        self.sent.contains(nonce)
    }
    fn seen(&self, sender: &PublicKey, nonce: &str) -> bool {
        self.seen.contains(&(*sender, nonce.to_owned()))
    }
}

fn entry(n: u8, name: &str, vouched: bool) -> MemberEntry {
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

fn roll() -> Roll {
    let members = [entry(10, "Ana", true), entry(20, "Ben", true), entry(30, "Eve", false)];
    let list = |name: &str, who: &[u8]| {
        let keys: Vec<_> = who.iter().map(|&n| public(n)).collect();
        GroupList::sign(MESH, name, 1, Some(&keys), &key(1)).unwrap()
    };
    Roll::new(MESH, public(1), &members, &[list("ops", &[10, 20]), list("closed", &[20])])
}

fn read_as(member: u8, session: u8, push: &Push, nonces: &Memory) -> Result<Opened, Unreadable> {
    let (member, session, roll) = (key(member), key(session), roll());
    open(push, &Reader { mesh_id: MESH, session: &session, member: &member, roll: &roll, nonces })
}
fn read(push: &Push) -> Result<Opened, Unreadable> {
    read_as(20, 21, push, &Memory::default())
}

const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

fn letter(text: &str) -> Letter<'_> {
    Letter { mesh_id: MESH, id: "i-1", ts: NOW, priority: Priority::Next, nonce: &NONCE, text }
}

/// As the broker passes it on: with what it knows of the sender, and only the recipient's own key.
fn pushed(send: Send, member: u8, session: u8, to: u8) -> Push {
    let claim = SessionClaim { mesh_id: MESH, member: public(member), session: public(session), session_id: "s1" };
    let mut e2e = send.e2e.unwrap();
    e2e.keys.retain(|key, _| *key == public(to));
    Push {
        message_id: "b-1".to_owned(),
        mesh_id: MESH.to_owned(),
        sender_pubkey: public(session).to_string(),
        nonce: send.nonce,
        ciphertext: send.ciphertext,
        target_spec: Some(send.target_spec),
        e2e: Some(e2e),
        member_pubkey: Some(public(member)),
        session_id: Some("s1".to_owned()),
        session_cert: Some(claim.certify(&key(member), NOW - 1_000, 3_600_000).unwrap()),
        ..Push::default()
    }
}
fn direct(to: u8) -> Push {
    pushed(letter("hi").direct(&public(to), &key(11)).unwrap(), 10, 11, 20)
}
fn group(target: &str) -> Push {
    let members = [public(10), public(20)];
    pushed(letter("all of you").group(target, &members, &[9; 32], &key(11)).unwrap(), 10, 11, 20)
}
fn ana() -> Authenticity {
    Authenticity::Verified { member: public(10), name: "Ana".to_owned(), role: Role::Member }
}
fn doubt(why: Suspicion) -> Authenticity {
    Authenticity::Unverified(why)
}

#[test]
fn what_is_sealed_for_us_opens_and_is_its_senders() {
    for (push, text) in [
        (direct(21), "hi"),
        (direct(20), "hi"),
        (group("*"), "all of you"),
        (group("@all"), "all of you"),
        (group("@eng"), "all of you"),
        (group("@ops"), "all of you"),
    ] {
        let opened = read(&push).unwrap();
        assert_eq!((opened.text.as_str(), opened.sender), (text, public(11)), "{push:?}");
        assert_eq!(opened.authenticity, ana(), "{push:?}");
    }
}

#[test]
fn the_text_that_is_signed_is_the_one_that_is_written_down() {
    let push = direct(21);
    let e2e = push.e2e.unwrap();
    let digest = hex::encode(Sha256::digest(BASE64.decode(&push.ciphertext).unwrap()));
    let text = format!("claudemesh/msg/v2|mesh1|{}|i-1|{NOW}|{}|{digest}", public(21), BASE64.encode(NONCE));
    assert_eq!(public(11).verify(text.as_bytes(), &e2e.sig), Ok(()));
}

#[test]
fn each_key_of_a_group_has_48_bytes_and_the_body_is_one() {
    let sealed = seal_group(b"text", &NONCE, &[9; 32], &[public(10), public(20)], &key(11)).unwrap();
    assert_eq!(sealed.keys.len(), 2);
    for key in sealed.keys.values() {
        assert_eq!(BASE64.decode(key).unwrap().len(), 48);
    }
    let off_the_curve = PublicKey::from_bytes(std::array::from_fn(|at| if at == 0 { 2 } else { 0 }));
    assert_eq!(
        seal_group(b"text", &NONCE, &[9; 32], &[off_the_curve], &key(11)),
        Err(SealError::Unusable(off_the_curve))
    );
}

/// Every single thing that a broker could change, and what comes of it.
#[test]
fn h23_what_was_altered_is_not_shown() {
    type Change = fn(&mut Push);
    let changes: [(&str, Change, Unreadable); 14] = [
        ("ciphertext", |p| p.ciphertext = BASE64.encode([0; 30]), Unreadable::BadSignature),
        ("nonce", |p| p.nonce = BASE64.encode([8; 24]), Unreadable::BadSignature),
        ("nonce's form", |p| p.nonce = "x".to_owned(), Unreadable::Form("nonce")),
        ("id", |p| p.e2e.as_mut().unwrap().id = "i-2".to_owned(), Unreadable::BadSignature),
        ("time", |p| p.e2e.as_mut().unwrap().ts += 1, Unreadable::BadSignature),
        ("target", |p| p.target_spec = Some(public(20).to_string()), Unreadable::BadSignature),
        ("to a group", |p| p.target_spec = Some("@eng".to_owned()), Unreadable::BadSignature),
        ("no target", |p| p.target_spec = None, Unreadable::Form("target")),
        ("sender", |p| p.sender_pubkey = public(30).to_string(), Unreadable::BadSignature),
        ("no sender", |p| p.sender_pubkey = "system".to_owned(), Unreadable::Form("sender")),
        ("mesh", |p| p.mesh_id = "mesh2".to_owned(), Unreadable::NotForUs),
        ("version", |p| p.e2e.as_mut().unwrap().v = 3, Unreadable::Form("version")),
        ("an event", |p| p.subtype = Some("system".to_owned()), Unreadable::NoMail),
        (
            "unsigned and sealed for another",
            |p| (p.e2e, p.sender_pubkey) = (None, public(30).to_string()),
            Unreadable::NotOpened,
        ),
    ];
    for (what, change, expected) in changes {
        let mut push = direct(21);
        change(&mut push);
        assert_eq!(read(&push), Err(expected), "{what}");
    }
}

#[test]
fn h23_a_failed_decryption_is_never_text() {
    assert_eq!(read_as(30, 31, &direct(21), &Memory::default()), Err(Unreadable::NotForUs));
    assert_eq!(read_as(30, 31, &group("*"), &Memory::default()), Err(Unreadable::NoKey));
    let mut unsigned = direct(21);
    unsigned.e2e = None;
    assert_eq!(read_as(30, 31, &unsigned, &Memory::default()), Err(Unreadable::NotOpened));
    // Its bytes are text, and it was for a session: an old client's clear text is for groups only.
    unsigned.ciphertext = BASE64.encode("plain as day");
    assert_eq!(read(&unsigned), Err(Unreadable::NotOpened));
    unsigned.target_spec = None;
    assert_eq!(read(&unsigned), Err(Unreadable::NotOpened));

    // A key that opens to something else than the message's.
    let mut push = group("*");
    let wrong = seal_direct(&[8; 32], &NONCE, &public(20), &key(11)).unwrap();
    push.e2e.as_mut().unwrap().keys.insert(public(20), BASE64.encode(wrong));
    assert_eq!(read(&push), Err(Unreadable::NotOpened));
    let short = seal_direct(&[8; 31], &NONCE, &public(20), &key(11)).unwrap();
    push.e2e.as_mut().unwrap().keys.insert(public(20), BASE64.encode(short));
    assert_eq!(read(&push), Err(Unreadable::Form("key")));
}

#[test]
fn h23_a_box_that_comes_back_or_comes_twice_is_refused() {
    // A box from Ana to Ben opens at Ana as one from Ben.
    let mut back = direct(21);
    (back.sender_pubkey, back.e2e) = (public(21).to_string(), None);
    back.target_spec = Some(public(11).to_string());
    let mut memory = Memory::default();
    assert_eq!(read_as(10, 11, &back, &memory).unwrap().text, "hi", "the cipher cannot tell");
    memory.sent.insert(back.nonce.clone());
    assert_eq!(read_as(10, 11, &back, &memory), Err(Unreadable::Reflected));
    assert_eq!(read_as(20, 11, &direct(21), &Memory::default()), Err(Unreadable::Reflected), "from our own session");

    let mut memory = Memory::default();
    memory.seen.insert((public(11), direct(21).nonce));
    assert_eq!(read_as(20, 21, &direct(21), &memory), Err(Unreadable::Replayed));
    assert_eq!(read_as(20, 21, &group("*"), &memory), Err(Unreadable::Replayed));
}

#[test]
fn h23_who_is_not_vouched_for_is_not_shown_as_a_member() {
    type Change = fn(&mut Push);
    let with = |change: Change| {
        let mut push = direct(21);
        change(&mut push);
        read(&push).unwrap().authenticity
    };
    assert_eq!(with(|p| p.e2e = None), doubt(Suspicion::NotSigned));
    assert_eq!(with(|p| p.session_cert = None), doubt(Suspicion::NoCertificate));
    assert_eq!(with(|p| p.session_id = None), doubt(Suspicion::NoCertificate));
    assert_eq!(with(|p| p.member_pubkey = None), doubt(Suspicion::NoCertificate));
    let bad = doubt(Suspicion::Certificate(TrustError::BadSignature));
    assert_eq!(with(|p| p.member_pubkey = Some(public(20))), bad, "Ana's session as Ben's");
    assert_eq!(with(|p| p.session_id = Some("s2".to_owned())), bad);
    assert!(matches!(
        with(|p| {
            let claim = SessionClaim { mesh_id: MESH, member: public(10), session: public(11), session_id: "s1" };
            p.session_cert = Some(claim.certify(&key(10), NOW - 10_000, 5_000).unwrap());
        }),
        Authenticity::Unverified(Suspicion::Certificate(TrustError::Expired { .. }))
    ));

    let from =
        |member: u8, session: u8| pushed(letter("hi").direct(&public(21), &key(session)).unwrap(), member, session, 20);
    assert_eq!(read(&from(30, 31)).unwrap().authenticity, doubt(Suspicion::Unattested));
    assert_eq!(read(&from(50, 51)).unwrap().authenticity, doubt(Suspicion::NoMember));
    let closed = read(&group("@closed")).unwrap().authenticity;
    assert_eq!(closed, doubt(Suspicion::NotInGroup));
    // A session that has no key of its own is its member.
    assert_eq!(read(&from(10, 10)).unwrap().authenticity, ana());
}

#[test]
fn a_message_may_wait_longer_than_its_certificate_lasts() {
    // Nothing in `open` knows what time it is: the certificate is held against the time that the sender signed.
    assert_eq!(read(&direct(21)).unwrap().authenticity, ana());
}

#[test]
fn an_old_clients_words_to_a_group_are_marked() {
    let mut push = group("@eng");
    (push.e2e, push.nonce, push.ciphertext) = (None, "n".to_owned(), BASE64.encode("hello all"));
    let opened = read(&push).unwrap();
    assert_eq!((opened.text.as_str(), opened.authenticity), ("hello all", Authenticity::NotAuthenticated));
    push.ciphertext = BASE64.encode([0xff, 0xfe]);
    assert_eq!(read(&push), Err(Unreadable::NoText));
    push.ciphertext = "?".to_owned();
    assert_eq!(read(&push), Err(Unreadable::Form("ciphertext")));
}

#[test]
fn a_statement_that_does_not_hold_takes_its_member_along() {
    let mut member = entry(10, "Ana", true);
    member.certificate = Some(MemberCert::signed(MESH, public(10), Role::Member, 1, &key(30)).unwrap());
    let roll = Roll::new(MESH, public(1), &[member], &[]);
    let (member, session, nonces) = (key(20), key(21), Memory::default());
    let reader = Reader { mesh_id: MESH, session: &session, member: &member, roll: &roll, nonces: &nonces };
    assert_eq!(open(&direct(21), &reader).unwrap().authenticity, doubt(Suspicion::Member(Doubt::Issuer)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the text and whoever belongs to the group: each member reads it, and nobody else.
    #[test]
    fn a_group_reads_what_it_was_sent(text in ".{0,200}", who in proptest::collection::btree_set(10_u8..40, 1..6), to in 10_u8..40) {
        let members: Vec<_> = who.iter().map(|&n| public(n)).collect();
        let send = letter(&text).group("@eng", &members, &[9; 32], &key(11)).unwrap();
        let opened = read_as(to, 99, &pushed(send, 10, 11, to), &Memory::default());
        match who.contains(&to) {
            true => prop_assert_eq!(opened.unwrap().text, text),
            false => prop_assert_eq!(opened, Err(Unreadable::NoKey)),
        }
    }

    /// A direct message is read by its target alone; one bit of it changed, and it is not.
    #[test]
    fn a_direct_message_is_its_targets(text in ".{0,200}", at: usize, bit in 0_u8..8) {
        let push = pushed(letter(&text).direct(&public(21), &key(11)).unwrap(), 10, 11, 20);
        prop_assert_eq!(&read(&push).unwrap().text, &text);
        let mut bytes = BASE64.decode(&push.ciphertext).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let damaged = Push { ciphertext: BASE64.encode(bytes), ..push };
        prop_assert_eq!(read(&damaged), Err(Unreadable::BadSignature));
        prop_assert_eq!(read(&Push { e2e: None, ..damaged }), Err(Unreadable::NotOpened));
    }

    /// A target is a key of 64 digits, or it is none.
    #[test]
    fn targets(word in "[@*]?[a-fA-F0-9]{63,65}") {
        let is_key = word.len() == 64 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        prop_assert_eq!(is_direct(&word), is_key);
        prop_assert!(is_direct(&word.to_lowercase()) || word.len() != 64 || word.starts_with(['@', '*']));
    }
}

#[test]
fn what_goes_out_again_is_signed_for_its_new_time_and_sealed_as_it_was() {
    let (session, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let target = other.public();
    let nonce = [5; 24];
    let letter = Letter { mesh_id: "mesh1", id: "m-1", ts: 10, priority: Priority::Next, nonce: &nonce, text: "hi" };
    let first = letter.direct(&target, &session).unwrap();
    let mut again = first.clone();
    sign_again(&mut again, "mesh1", 99, &session).unwrap();
    assert_eq!((&again.nonce, &again.ciphertext, &again.id), (&first.nonce, &first.ciphertext, &first.id));
    let e2e = again.e2e.unwrap();
    let ciphertext = BASE64.decode(&again.ciphertext).unwrap();
    let claim = MessageClaim {
        mesh_id: "mesh1",
        target: &again.target_spec,
        id: "m-1",
        ts: 99,
        nonce: &again.nonce,
        ciphertext: &ciphertext,
    };
    assert_eq!((e2e.ts, claim.verify(&session.public(), &e2e.sig)), (99, Ok(())));
    assert_ne!(Some(e2e.sig), first.e2e.map(|e2e| e2e.sig));
}
