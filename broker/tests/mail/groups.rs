//! Groups and broadcasts: a snapshot at acceptance, sealed for its members, those that are away included.

use std::collections::BTreeMap;

use protocol::identity::PublicKey;
use protocol::trust::GroupList;
use serde_json::{Value, json};

use super::{hello, join, key_of, send};
use crate::harness::{ADMIN, Broker, Client, MEMBER, OTHER, OWNER, Who};

/// Base64 of 48 bytes: a message's key, sealed.
const SEALED: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v";

fn sealed(target: &str, id: &str, members: &[Who]) -> Value {
    let keys: BTreeMap<PublicKey, &str> = members.iter().map(|who| (who.key().public(), SEALED)).collect();
    let mut message = send(target, id);
    let sig = OWNER.key().sign(b"not looked at by a broker").to_string();
    message["e2e"] = json!({ "v": 2, "id": id, "ts": 1, "keys": keys, "sig": sig });
    message
}

#[tokio::test]
async fn h31_a_broadcast_reaches_every_session_and_the_members_that_are_away() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut also_ada = join(&broker, OWNER, 21).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    // Cleo was never here, and Dora has left.
    let mut dora = join(&broker, ADMIN, 14).await;
    dora.socket.close(None).await.unwrap();
    ada.event("peer_left").await;
    let ack = ada.ask(sealed("*", "m-1", &[OWNER, MEMBER])).await;
    assert_eq!((&ack["queued"], &ack["code"]), (&json!(false), &json!("members_changed")), "{ack}");
    let mut wanted: Vec<String> = [OWNER, MEMBER, OTHER, ADMIN].map(|who| who.key().public().to_string()).to_vec();
    wanted.sort();
    assert_eq!(ack["members"], json!(wanted));
    let ack = ada.ask(sealed("*", "m-1", &[OWNER, MEMBER, OTHER, ADMIN])).await;
    assert_eq!((&ack["queued"], &ack["recipients"]), (&json!(true), &json!(4)), "{ack}");
    for (client, who) in [(&mut ben, MEMBER), (&mut also_ada, OWNER)] {
        let push = client.take().await;
        let own = json!({ who.key().public().to_string(): SEALED });
        assert_eq!((&push["targetSpec"], &push["e2e"]["keys"]), (&json!("*"), &own), "its own key alone");
    }
    for (who, session) in [(OTHER, 13), (ADMIN, 44)] {
        assert_eq!(join(&broker, who, session).await.take().await["messageId"], ack["messageId"]);
    }
    ada.ask(json!({ "type": "mesh_info" })).await;
    assert!(!ada.has_message(), "not to its own sender");
}

#[tokio::test]
async fn h31_a_group_is_who_is_in_it_when_the_message_is_accepted() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let in_group = |who, session| hello(&broker, who, session).with("groups", json!([{ "name": "eng" }]));
    let (mut ben, ack) = Client::join_with(&broker, in_group(MEMBER, 12)).await;
    assert_eq!(ack["restored"], Value::Null);
    let old = in_group(OTHER, 13).with("capabilities", json!([]));
    let (mut cleo, _) = Client::join_with(&broker, old).await;
    let ack = ada.ask(sealed("@eng", "m-1", &[MEMBER])).await;
    assert_eq!((&ack["queued"], &ack["recipients"]), (&json!(true), &json!(1)), "{ack}");
    assert_eq!(ack["skipped"], json!([{ "pubkey": key_of(13), "name": OTHER.name, "reason": "no_e2e" }]));
    ben.take().await;
    // An old client's words go to everybody, in clear.
    assert_eq!(ada.ask(send("@eng", "m-2")).await["recipients"], 2);
    ben.take().await;
    cleo.message().await;
    ben.ask(json!({ "type": "leave_group", "name": "@eng" })).await;
    assert_eq!(ada.ask(sealed("@eng", "m-3", &[MEMBER])).await["code"], "no_recipients");
    // Away, and in it when it was here last.
    ben.ask(json!({ "type": "join_group", "name": "@eng" })).await;
    ben.socket.close(None).await.unwrap();
    ada.event("peer_left").await;
    assert_eq!(ada.ask(sealed("@eng", "m-4", &[MEMBER])).await["recipients"], 1);
    let (mut ben, ack) = Client::join_with(&broker, hello(&broker, MEMBER, 12)).await;
    assert_eq!(ack["restoredGroups"], json!([{ "name": "eng" }]));
    ben.take().await;
}

#[tokio::test]
async fn h21_a_restricted_group_has_its_list_and_nobody_else() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    let mut cleo = join(&broker, OTHER, 13).await;
    let list = |serial, issuer: Who, members: Option<&[Who]>| {
        let keys: Option<Vec<PublicKey>> = members.map(|all| all.iter().map(|who| who.key().public()).collect());
        let list = GroupList::sign(broker.mesh(), "ops", serial, keys.as_deref(), &issuer.key()).unwrap();
        json!({ "type": "group_set", "list": list })
    };
    assert_eq!(ben.ask(list(1, MEMBER, Some(&[MEMBER]))).await["code"], "forbidden");
    let mut dora = join(&broker, ADMIN, 14).await;
    let unattested = dora.ask(list(1, ADMIN, Some(&[MEMBER]))).await;
    assert_eq!(unattested["code"], "bad_signature", "an admin whom nobody has signed for is believed by nobody");
    assert_eq!(ada.ask(list(2, OWNER, Some(&[MEMBER]))).await["type"], "group_result");
    assert_eq!(ada.ask(list(2, OWNER, None)).await["code"], "superseded");
    assert_eq!(cleo.ask(json!({ "type": "join_group", "name": "ops" })).await["code"], "forbidden");
    assert_eq!(cleo.ask(send("@ops", "c-1")).await["code"], "forbidden");
    // Who says so in a hello is in no restricted group by that.
    let (mut sly, _) =
        Client::join_with(&broker, hello(&broker, OTHER, 33).with("groups", json!([{ "name": "ops" }]))).await;
    assert_eq!(ada.ask(sealed("@ops", "m-1", &[MEMBER])).await["recipients"], 1);
    ben.take().await;
    assert_eq!(ada.ask(list(3, OWNER, None)).await["type"], "group_result");
    assert_eq!(ada.ask(sealed("@ops", "m-2", &[OTHER])).await["recipients"], 1, "open again: those that say so");
    sly.take().await;
    let shown = ada.ask(json!({ "type": "list_members" })).await;
    assert_eq!(shown["groups"][0]["serial"], 3);
}

#[tokio::test]
async fn h46_what_a_message_carries_for_each_recipient_has_one_size() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let _ben = join(&broker, MEMBER, 12).await;
    for key in ["", "aGk=", &"A".repeat(100_000)] {
        let mut message = sealed("*", "m-1", &[OWNER, MEMBER, OTHER, ADMIN]);
        message["e2e"]["keys"][MEMBER.key().public().to_string()] = key.into();
        assert_eq!(ada.ask(message).await["code"], "bad_message", "{}", key.len());
    }
    assert_eq!(ada.ask(send(&"x".repeat(500_000), "m-2")).await["code"], "bad_target");
    let mut long = Client::connect(&broker).await;
    long.send(&hello(&broker, OTHER, 13).with("sessionId", "s".repeat(257)).0).await;
    assert_eq!(long.next().await["code"], "malformed");
}

#[tokio::test]
async fn h31_what_is_sealed_for_a_group_waits_for_a_client_that_opens_it() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let ack = ada.ask(sealed("*", "m-1", &[MEMBER, OTHER, ADMIN])).await;
    assert_eq!(ack["recipients"], 3, "{ack}");
    let old = hello(&broker, MEMBER, 12).with("capabilities", json!([]));
    let (mut old, _) = Client::join_with(&broker, old).await;
    assert_eq!(old.events_so_far().await, Vec::<String>::new());
    assert_eq!(join(&broker, MEMBER, 22).await.take().await["messageId"], ack["messageId"]);
}

#[tokio::test]
async fn h30_a_repetition_has_its_old_answer_whatever_the_target_is_now() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let in_group = |who, session| hello(&broker, who, session).with("groups", json!([{ "name": "eng" }]));
    let (_ben, _) = Client::join_with(&broker, in_group(MEMBER, 12)).await;
    let first = ada.ask(sealed("@eng", "m-1", &[MEMBER])).await;
    let (_cleo, _) = Client::join_with(&broker, in_group(OTHER, 13)).await;
    let again = ada.ask(sealed("@eng", "m-1", &[MEMBER])).await;
    assert_eq!((&again["queued"], &again["messageId"]), (&json!(true), &first["messageId"]), "{again}");
    assert_eq!(ada.ask(sealed("@eng", "m-2", &[MEMBER])).await["code"], "members_changed");
}
