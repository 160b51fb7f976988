//! Messages through a broker that follows a script: what leaves the machine, what is shown, what is kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use protocol::identity::{PublicKey, SessionClaim, SigningKey};
use protocol::mail::{Authenticity, Letter, Nonces, Reader, open};
use protocol::trust::{MemberCert, Role, Roll};
use protocol::wire::{MembersList, Priority, Push, Send};
use serde_json::{Value, json};

use crate::harness::{FakeBroker, Home};

/// The member of every home, who owns the mesh.
fn owner() -> SigningKey {
    SigningKey::from_seed(&std::array::from_fn(|i| i as u8))
}
fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}
fn public(n: u8) -> PublicKey {
    key(n).public()
}
fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// 20 is Ben, 30 is Eve, for whom nobody vouches.
fn members() -> Value {
    let entry = |key: PublicKey, name: &str, certificate: Option<MemberCert>| {
        let mut entry = json!({"memberId": name, "pubkey": key, "displayName": name, "role": "member", "joinedAt": "2026-01-01T00:00:00Z"});
        if let Some(certificate) = certificate {
            entry["certificate"] = json!(certificate);
        }
        entry
    };
    let ben = MemberCert::signed("mesh1", public(20), Role::Member, 1, &owner()).unwrap();
    json!({"type": "members_list", "ownerPubkey": owner().public(), "requireProofs": false, "groups": [], "members": [
        entry(owner().public(), "Ada", None), entry(public(20), "ben", Some(ben)), entry(public(30), "eve", None),
    ]})
}

fn claim(member: u8, session: u8) -> SessionClaim<'static> {
    SessionClaim { mesh_id: "mesh1", member: public(member), session: public(session), session_id: "s1" }
}

fn peer(session: u8, member: u8, name: &str) -> Value {
    let cert = claim(member, session).certify(&key(member), now_ms() - 1_000, 3_600_000).unwrap();
    json!({"pubkey": public(session), "displayName": name, "status": "idle", "sessionId": "s1",
        "connectedAt": "2026-01-01T00:00:00Z", "memberPubkey": public(member), "sessionCert": cert})
}

/// A broker with Ben's session 21 and these answers to `send` and `read_inbox`.
fn broker(answers: impl Fn(&Value) -> Vec<Value> + std::marker::Send + 'static) -> FakeBroker {
    FakeBroker::start(move |request| match request["type"].as_str().unwrap() {
        "list_members" => vec![members()],
        "list_peers" => vec![json!({"type": "peers_list", "peers": [peer(21, 20, "ben")]})],
        "send" | "read_inbox" => answers(request),
        _ => vec![],
    })
}

fn taken(request: &Value) -> Value {
    json!({"type": "ack", "id": request["id"], "messageId": "b-1", "queued": true, "recipients": 1})
}

struct Fresh;
impl Nonces for Fresh {
    fn sent(&self, _: &str) -> bool {
        false
    }
    fn seen(&self, _: &PublicKey, _: &str) -> bool {
        false
    }
}

/// What Ben's session 21 reads in a message, with what the hello said of its sender.
fn as_ben(sent: &Value, hello: &Value) -> (String, Authenticity) {
    let send: Send = serde_json::from_value(sent.clone()).unwrap();
    let text = |name: &str| hello[name].as_str().unwrap().to_owned();
    let push = Push {
        message_id: "b-1".into(),
        mesh_id: "mesh1".into(),
        sender_pubkey: text("sessionPubkey"),
        nonce: send.nonce,
        ciphertext: send.ciphertext,
        target_spec: Some(send.target_spec),
        e2e: send.e2e,
        member_pubkey: Some(text("pubkey").parse().unwrap()),
        session_id: Some(text("sessionId")),
        session_cert: Some(serde_json::from_value(hello["sessionCert"].clone()).unwrap()),
        ..Push::default()
    };
    let mut list = members();
    list.as_object_mut().unwrap().remove("type");
    let list: MembersList = serde_json::from_value(list).unwrap();
    let roll = Roll::new("mesh1", owner().public(), &list.members, &list.groups);
    let (session, member) = (key(21), key(20));
    let reader = Reader { mesh_id: "mesh1", session: &session, member: &member, roll: &roll, nonces: &Fresh };
    let opened = open(&push, &reader).unwrap();
    (opened.text, opened.authenticity)
}

#[test]
fn a_message_to_a_name_is_sealed_for_its_session_and_signed() {
    let broker = broker(|request| vec![taken(request)]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["send", "ben", "hello ben", "--priority", "now"]).exits(0);
    assert!(ended.stdout.starts_with("Sent to ben ("), "{ended:?}");
    assert_eq!(ended.stderr, "");
    let hello = broker.next("hello");
    let sent = broker.next("send");
    assert_eq!((&sent["targetSpec"], &sent["priority"]), (&json!(public(21)), &json!("now")));
    assert!(!sent.to_string().contains("hello ben"));
    let (text, authenticity) = as_ben(&sent, &hello);
    assert_eq!(text, "hello ben");
    let ada = Authenticity::Verified { member: owner().public(), name: "Ada".into(), role: Role::Owner };
    assert_eq!(authenticity, ada);
    assert_eq!(home.session()["outbox"], json!([]), "answered");

    // The same address at the next command.
    home.run_with(&["send", "ben", "--file", "-", "--json"], &[], "from stdin\n").exits(0);
    let again = broker.next("hello");
    assert_eq!((&again["sessionPubkey"], &again["sessionId"]), (&hello["sessionPubkey"], &hello["sessionId"]));
    assert_eq!(as_ben(&broker.next("send"), &again).0, "from stdin\n");
}

#[test]
fn who_is_not_vouched_for_is_named_or_refused() {
    let broker = broker(|request| vec![taken(request)]);
    let home = Home::of(&broker.url);
    home.run(&["send", "eve", "hi"]).exits(0).says("warning: eve (").says("is unverified");
    assert_eq!(broker.next("send")["targetSpec"], json!(public(30)));
    home.run(&["send", "eve", "hi", "--strict"]).exits(4).says("nothing was sent").says("member attest");
    let sent = home.run(&["send", "eve", "hi", "--json"]).exits(0).json();
    assert_eq!(sent["verified"], false);
    home.run(&["send", "evelyn", "hi"]).exits(1).says("nobody here is called `evelyn`").says("alike: eve (");
}

#[test]
fn a_group_message_is_sealed_again_when_the_members_are_others() {
    let rounds = Arc::new(Mutex::new(0));
    let count = Arc::clone(&rounds);
    let broker = broker(move |request| {
        let mut round = count.lock().unwrap();
        *round += 1;
        match *round {
            1 => vec![json!({"type": "ack", "id": request["id"], "queued": false, "code": "members_changed",
                "members": [public(20), public(30)]})],
            2 => vec![json!({"type": "ack", "id": request["id"], "messageId": "b-1", "queued": true, "recipients": 2,
                "skipped": [{"pubkey": public(41), "name": "old", "reason": "no_e2e"},
                    {"pubkey": public(20), "name": "ben", "reason": "mailbox_full"}]})],
            _ => vec![taken(request)],
        }
    });
    let home = Home::of(&broker.url);
    let ended = home.run(&["send", "@eng", "all of you"]).exits(0);
    assert_eq!(ended.stdout, "Sent to @eng: 3 recipients.\n");
    for what in ["nobody vouches for eve (", "old (", "old client's session", "ben (", "mailbox_full"] {
        assert!(ended.stderr.contains(what), "{what}: {ended:?}");
    }
    let hello = broker.next("hello");
    let keys = |sent: &Value| sent["e2e"]["keys"].as_object().map(|keys| keys.keys().cloned().collect::<Vec<_>>());
    let (first, second, old) = (broker.next("send"), broker.next("send"), broker.next("send"));
    assert_eq!(keys(&first), None);
    assert_ne!(first["id"], second["id"], "other bytes are another message");
    let mut expected = vec![public(20).to_string(), public(30).to_string()];
    expected.sort();
    assert_eq!(keys(&second), Some(expected));
    assert_eq!(as_ben(&second, &hello).0, "all of you");
    assert_eq!(old["targetSpec"], json!(public(41)));
}

#[test]
fn a_broker_that_puts_somebody_in_gets_nothing() {
    let broker = broker(|request| {
        vec![json!({"type": "ack", "id": request["id"], "queued": false, "code": "members_changed",
            "members": [public(20), public(66)]})]
    });
    let ended = Home::of(&broker.url).run(&["send", "@eng", "secret"]).exits(4);
    assert!(ended.stderr.contains("not on its list of members"), "{ended:?}");
    assert!(broker.next("send")["e2e"]["keys"].is_null());
}

#[test]
fn a_refusal_says_why_and_what_to_do() {
    for (code, exit, what) in [
        ("unknown_peer", 1, "claudemesh peers"),
        ("mailbox_full", 4, "read first"),
        ("rate", 4, "try again"),
        ("bad_target", 2, "@group or *"),
    ] {
        let broker =
            broker(move |request| vec![json!({"type": "ack", "id": request["id"], "queued": false, "code": code})]);
        let home = Home::of(&broker.url);
        home.run(&["send", "ben", "hi"]).exits(exit).says(what);
        assert_eq!(home.session()["outbox"], json!([]), "an answer is an answer: {code}");
    }
}

#[test]
fn h31_what_was_not_answered_goes_out_again_under_the_same_id() {
    let broken = broker(|_| vec![json!({"type": "!drop"})]);
    let home = Home::of(&broken.url);
    home.run(&["send", "ben", "hello"]).exits(3).says("do not repeat it");
    let lost = broken.next("send");
    assert_eq!(home.session()["outbox"][0]["message"]["id"], lost["id"]);
    drop(broken);

    let well = broker(|request| match request["type"].as_str() {
        Some("read_inbox") => vec![json!({"type": "inbox_result", "delivered": 0})],
        _ => vec![taken(request)],
    });
    let mut config = home.config();
    config["meshes"][0]["brokerUrl"] = json!(well.url);
    home.write_config(&config.to_string());
    home.run(&["inbox"]).exits(0).says("no messages");
    // Signed for the time at which it goes out, as the certificate is that goes along; all else is as it was.
    let sealed = |mut message: Value| {
        message["e2e"]["ts"].take();
        message["e2e"]["sig"].take();
        message
    };
    let again = well.next("send");
    assert!(again["e2e"]["ts"].as_u64() >= lost["e2e"]["ts"].as_u64());
    assert_eq!(sealed(again), sealed(lost), "the same bytes");
    assert_eq!(home.session()["outbox"], json!([]));
}

/// A message of Ben's session 21 to the session that says this hello.
fn from_ben(hello: &Value, id: &str, nonce: u8, text: &str) -> Value {
    let to: PublicKey = hello["sessionPubkey"].as_str().unwrap().parse().unwrap();
    let ts = now_ms();
    let letter = Letter { mesh_id: "mesh1", id, ts, priority: Priority::Next, nonce: &[nonce; 24], text };
    let send = letter.direct(&to, &key(21)).unwrap();
    let cert = claim(20, 21).certify(&key(20), ts - 1_000, 3_600_000).unwrap();
    json!({"type": "push", "messageId": id, "meshId": "mesh1", "senderPubkey": public(21), "senderName": "ben",
        "priority": "next", "nonce": send.nonce, "ciphertext": send.ciphertext, "createdAt": "2026-01-01T00:00:00Z",
        "seq": nonce, "targetSpec": send.target_spec, "e2e": send.e2e, "memberPubkey": public(20), "sessionId": "s1",
        "sessionCert": cert, "_reqId": null})
}

/// A broker that remembers the last hello and pushes what `mail` makes of it.
fn mailing(mail: impl Fn(&Value) -> Vec<Value> + std::marker::Send + 'static) -> FakeBroker {
    let hello = Arc::new(Mutex::new(Value::Null));
    FakeBroker::start(move |request| match request["type"].as_str().unwrap() {
        "hello" => {
            *hello.lock().unwrap() = request.clone();
            vec![]
        }
        "list_members" => vec![members()],
        "read_inbox" => {
            let mut frames = mail(&hello.lock().unwrap());
            frames.push(json!({"type": "inbox_result", "delivered": frames.len()}));
            frames
        }
        _ => vec![],
    })
}

#[test]
fn h31_a_message_is_shown_once_and_acknowledged_each_time() {
    let broker =
        mailing(|hello| vec![from_ben(hello, "b-1", 1, "first"), from_ben(hello, "b-2", 2, "second\u{1b}[2J")]);
    let home = Home::of(&broker.url);
    let ended = home.run(&["inbox"]).exits(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("ben (") && lines[0].contains(" · verified · "), "{ended:?}");
    assert_eq!((lines[1], lines[3]), ("  first", "  second"), "{ended:?}");
    let acked = |broker: &FakeBroker, expected: &[&str]| {
        let mut ids = Vec::new();
        while ids.len() < expected.len() {
            ids.extend(broker.next("client_ack")["messageIds"].as_array().unwrap().clone());
        }
        assert_eq!(ids, expected);
    };
    acked(&broker, &["b-1", "b-2"]);
    let again = home.run(&["inbox"]).exits(0);
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", "no messages\n"));
    acked(&broker, &["b-1", "b-2"]);
}

#[test]
fn h23_what_cannot_be_opened_is_not_text() {
    let broker = mailing(|hello| {
        let mut altered = from_ben(hello, "b-1", 1, "first");
        altered["ciphertext"] = json!("cGxhaW4gdGV4dA==");
        let mut clear = from_ben(hello, "b-2", 2, "");
        (clear["ciphertext"], clear["targetSpec"]) = (json!("Y2xlYXI="), json!("@eng"));
        clear.as_object_mut().unwrap().remove("e2e");
        vec![altered, clear, from_ben(hello, "b-3", 1, "the nonce of the altered one")]
    });
    let ended = Home::of(&broker.url).run(&["inbox", "--json"]).exits(0);
    let shown: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |at: usize| (shown[at]["origin"].as_str().unwrap(), shown[at]["text"].clone());
    assert_eq!(of(0), ("cannot_be_opened", Value::Null));
    assert_eq!(of(1), ("not_authenticated", json!("clear")));
    assert_eq!(of(2), ("verified", json!("the nonce of the altered one")));
    assert!(!ended.stdout.contains("plain text"));
}

#[test]
fn an_inbox_that_waits_ends_with_the_first_message_or_in_time() {
    let broker = mailing(|hello| vec![from_ben(hello, "b-1", 1, "here")]);
    let ended = Home::of(&broker.url).run(&["inbox", "--wait"]).exits(0);
    assert!(ended.stdout.ends_with("  here\n"), "{ended:?}");
    assert_eq!(broker.next("read_inbox"), json!({"type": "read_inbox", "follow": true}));
    let silent = mailing(|_| vec![]);
    Home::of(&silent.url).run(&["inbox", "--wait", "--timeout", "100ms"]).exits(5).says("no message came in time");
    let ended = Home::of(&silent.url).run(&["inbox", "--follow", "--timeout", "100ms"]).exits(0);
    assert_eq!(ended.stdout, "");
}

#[test]
fn no_answer_is_not_an_empty_inbox() {
    let broker = FakeBroker::start(|request| match request["type"].as_str().unwrap() {
        "list_members" => vec![members()],
        _ => vec![],
    });
    let ended = Home::of(&broker.url).run(&["inbox", "--timeout", "100ms"]).exits(5);
    assert!(ended.stderr.contains("did not say in time") && !ended.stderr.contains("no messages"), "{ended:?}");
}

#[test]
fn a_hello_that_was_said_twice_is_said_again_and_a_taken_session_is_another() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&said);
    let broker = FakeBroker::start(move |request| match request["type"].as_str().unwrap() {
        "hello" => {
            let mut seen = seen.lock().unwrap();
            seen.push(request["sessionPubkey"].clone());
            match seen.len() {
                1 => vec![json!({"type": "error", "code": "replayed", "message": "seen"})],
                2 => vec![json!({"type": "error", "code": "session_taken", "message": "taken"})],
                _ => vec![],
            }
        }
        "mcp_catalog" => vec![json!({"type": "mcp_catalog_result", "services": []})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    home.run(&["catalog"]).exits(0);
    home.run(&["catalog"]).exits(0);
    let said = said.lock().unwrap();
    assert!(said[0] == said[1] && said[1] != said[2] && said[2] == said[3], "{said:?}");
}

#[test]
fn h35_an_inbox_that_follows_survives_its_broker() {
    let rounds = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = Arc::clone(&rounds);
    let broker = mailing(move |hello| {
        let mut rounds = seen.lock().unwrap();
        let round = rounds.len();
        rounds.insert(round, ());
        match round {
            0 => vec![from_ben(hello, "b-1", 1, "before"), json!({"type": "!drop"})],
            _ => vec![from_ben(hello, "b-1", 1, "before"), from_ben(hello, "b-2", 2, "after")],
        }
    });
    let home = Home::of(&broker.url);
    let ended = home.run(&["inbox", "--follow", "--timeout", "4s"]).exits(0).says("connecting again");
    let texts: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(texts, ["  before", "  after"]);
}

#[test]
fn peers_are_shown_with_what_is_certain_of_them() {
    let broker = FakeBroker::start(|request| match request["type"].as_str().unwrap() {
        "list_members" => vec![members()],
        "list_peers" => {
            let mut old = peer(41, 30, "ben");
            old.as_object_mut().unwrap().remove("sessionCert");
            vec![json!({"type": "peers_list", "peers": [peer(21, 20, "ben"), old]})]
        }
        "set_status" | "set_summary" => vec![json!({"type": "ack", "queued": true})],
        _ => vec![],
    });
    let home = Home::of(&broker.url);
    let ended = home.run(&["peers"]).exits(0);
    let rows: Vec<_> = ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let short = |n: u8| format!("({})", &public(n).to_string()[..8]);
    assert_eq!(rows[1][..3], ["ben", &short(21), "yes"]);
    assert_eq!(rows[2][..3], ["ben", &short(41), "no"]);
    let json = home.run(&["peers", "--json"]).exits(0).json();
    assert_eq!((&json["peers"][0]["verified"], &json["peers"][1]["verified"]), (&json!(true), &json!(false)));

    home.run(&["status", "dnd"]).exits(1).says("you have no session here");
    home.run_with(&["status", "dnd"], &[("CLAUDEMESH_SESSION_ID", "s-7")], "").exits(0);
    assert_eq!(broker.next("set_status"), json!({"type": "set_status", "status": "dnd", "session": "s-7"}));
    home.run(&["summary", "building", "--session", "s-8"]).exits(0);
    assert_eq!(broker.next("set_summary")["session"], "s-8");
}
