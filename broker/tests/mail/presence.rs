//! Who is here, what they say, and what is held for them.

use serde_json::{Value, json};

use super::{hello, join, key_of, send};
use crate::harness::{Broker, Client, MEMBER, OTHER, OWNER};

#[tokio::test]
async fn h32_a_dropped_socket_is_no_goodbye_and_a_broker_that_restarts_is_none_either() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    ben.ask(json!({ "type": "set_summary", "summary": "building" })).await;
    assert_eq!(ada.event("peer_joined").await["pubkey"], key_of(12));
    drop(ben);
    loop {
        let list = ada.ask(json!({ "type": "list_peers" })).await;
        let ben = list["peers"].as_array().unwrap().iter().find(|peer| peer["pubkey"] == key_of(12)).cloned();
        if ben.expect("it is still listed")["online"] == false {
            break;
        }
    }
    let (ben, ack) = Client::join_with(&broker, hello(&broker, MEMBER, 12)).await;
    assert_eq!((&ack["restored"], &ack["lastSummary"]), (&json!(true), &json!("building")));
    assert_eq!(ada.events_so_far().await, Vec::<String>::new(), "nobody was told");
    drop(ben);
    let broker = broker.killed_and_started().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let list = ada.ask(json!({ "type": "list_peers" })).await;
    assert_eq!(list["peers"].as_array().unwrap().len(), 2, "{list}");
    let mut ben = join(&broker, MEMBER, 12).await;
    assert_eq!(ada.events_so_far().await, Vec::<String>::new());
    ben.socket.close(None).await.unwrap();
    assert_eq!(ada.event("peer_left").await["name"], MEMBER.name);
    let (_ben, _) = Client::join_with(&broker, hello(&broker, MEMBER, 12)).await;
    let returned = ada.event("peer_returned").await;
    assert_eq!((&returned["summary"], &returned["pubkey"]), (&json!("building"), &json!(key_of(12))));
}

#[tokio::test]
async fn h32_the_newer_connection_of_a_session_takes_its_place() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut old = join(&broker, MEMBER, 12).await;
    let mut new = join(&broker, MEMBER, 12).await;
    assert_eq!(old.closed().await.map(|(code, _)| code), Some(1008));
    ada.ask(send(&key_of(12), "m-1")).await;
    new.take().await;
    assert_eq!(ada.events_so_far().await, ["peer_joined"]);
}

#[tokio::test]
async fn h33_what_is_held_comes_whatever_changes_the_status() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    let (mut command, _) = Client::join_with(&broker, hello(&broker, MEMBER, 30).with("kind", "cli")).await;
    for (n, by_itself) in [true, false].into_iter().enumerate() {
        let status = |status: &str| json!({ "type": "set_status", "status": status });
        assert_eq!(ben.ask(status("dnd")).await["type"], "ack");
        let mut urgent = send(&key_of(12), &format!("now-{n}"));
        urgent["priority"] = "now".into();
        let held = ada.ask(send(&key_of(12), &format!("next-{n}"))).await;
        let now = ada.ask(urgent).await;
        assert_eq!(ben.take().await["messageId"], now["messageId"], "only what is urgent");
        let shown = ada.ask(json!({ "type": "message_status", "messageId": held["messageId"] })).await;
        assert_eq!((&shown["delivered"], &shown["recipients"][0]["status"]), (&json!(false), &json!("held")));
        if by_itself {
            ben.ask(status("idle")).await;
        } else {
            let mut of_another = status("idle");
            of_another["session"] = key_of(12).into();
            assert_eq!(command.ask(of_another).await["type"], "ack");
        }
        assert_eq!(ben.take().await["messageId"], held["messageId"]);
    }
    let mut cleo = join(&broker, OTHER, 13).await;
    let foreign = json!({ "type": "set_status", "status": "dnd", "session": key_of(12) });
    assert_eq!(cleo.ask(foreign).await["code"], "not_found", "another member's session is not its to speak for");
}

#[tokio::test]
async fn what_a_session_says_is_shown_and_an_old_client_expects_no_answer() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    ben.send(&json!({ "type": "set_summary", "summary": "a\u{202e}b" })).await;
    ben.send(&json!({ "type": "set_stats", "stats": { "messagesIn": 3 } })).await;
    ben.send(&json!({ "type": "set_profile", "title": "dev" })).await;
    assert_eq!(ben.next().await["type"], "ack", "the profile's, and nothing before it");
    ben.send(&json!({ "type": "set_summary", "summary": "x".repeat(2_000) })).await;
    assert_eq!(ben.next().await["code"], "bad_request");
    let shown = async |ada: &mut Client| {
        let list = ada.ask(json!({ "type": "list_peers" })).await;
        list["peers"].as_array().unwrap().iter().find(|peer| peer["pubkey"] == key_of(12)).cloned()
    };
    let peer = shown(&mut ada).await.unwrap();
    assert_eq!((&peer["summary"], &peer["stats"]["messagesIn"]), (&json!("ab"), &json!(3)));
    assert_eq!((&peer["profile"]["title"], &peer["status"]), (&json!("dev"), &json!("idle")));
    ben.ask(json!({ "type": "set_visible", "visible": false })).await;
    assert_eq!(shown(&mut ada).await, None);
    assert!(shown(&mut ben).await.is_some());
    let info = ben.ask(json!({ "type": "mesh_info" })).await;
    assert_eq!((&info["mesh"], &info["peers"], &info["members"]), (&json!("default"), &json!(2), &json!(4)));
    assert_eq!((&info["yourName"], &info["tasks"]["open"]), (&json!(MEMBER.name), &json!(0)));
    assert_eq!(info["stateKeys"], Value::Array(Vec::new()));
}
