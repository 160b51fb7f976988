//! From one session to another, through every interruption.

use serde_json::json;

use super::{NONCE, TEXT, certified, hello, join, key_of, send};
use crate::harness::{Broker, Client, Hello, MEMBER, OTHER, OWNER};

#[tokio::test]
async fn h31_a_message_arrives_with_what_its_reader_needs_to_verify_it() {
    let broker = Broker::alone().await;
    let mut ben = join(&broker, MEMBER, 12).await;
    let (mut ada, _) = Client::join_with(&broker, certified(&broker, OWNER, 11)).await;
    let ack = ada.ask(send(&key_of(12), "m-1")).await;
    assert_eq!((&ack["type"], &ack["queued"], &ack["id"]), (&json!("ack"), &json!(true), &json!("m-1")), "{ack}");
    assert_eq!(ack["recipients"], 1);
    let push = ben.take().await;
    assert_eq!(push["messageId"], ack["messageId"]);
    assert_eq!((&push["nonce"], &push["ciphertext"], &push["priority"]), (&json!(NONCE), &json!(TEXT), &json!("next")));
    assert_eq!(push["senderPubkey"], key_of(11));
    assert_eq!(push["memberPubkey"], OWNER.key().public().to_string());
    assert_eq!((&push["sessionId"], &push["senderName"]), (&json!("id-11"), &json!(OWNER.name)));
    assert!(push["sessionCert"]["signature"].is_string() && push["seq"].is_i64(), "{push}");
    let status =
        async |ada: &mut Client| ada.ask(json!({ "type": "message_status", "messageId": ack["messageId"] })).await;
    // The acknowledgement goes its own way.
    let mut last = status(&mut ada).await;
    while last["delivered"] == false {
        last = status(&mut ada).await;
    }
    assert_eq!(last["recipients"][0]["status"], "delivered");
    let foreign = ben.ask(json!({ "type": "message_status", "messageId": ack["messageId"] })).await;
    assert_eq!(foreign["code"], "not_found", "only its sender may ask");
}

#[tokio::test]
async fn h31_what_was_acknowledged_by_the_broker_survives_its_kill_and_a_repetition_is_one() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    drop(join(&broker, MEMBER, 12).await);
    let mut sent = Vec::new();
    for n in 0..50 {
        let ack = ada.ask(send(&key_of(12), &format!("m-{n}"))).await;
        assert_eq!(ack["queued"], true, "{ack}");
        sent.push(ack["messageId"].clone());
    }
    let broker = broker.killed_and_started().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let again = ada.ask(send(&key_of(12), "m-7")).await;
    assert_eq!((&again["queued"], &again["messageId"]), (&json!(true), &sent[7]), "the same answer");
    let mut other = send(&key_of(12), "m-7");
    other["ciphertext"] = "AAAA".into();
    assert_eq!(ada.ask(other).await["code"], "id_reused");
    let mut ben = join(&broker, MEMBER, 12).await;
    let mut arrived = Vec::new();
    for _ in 0..50 {
        arrived.push(ben.take().await["messageId"].clone());
    }
    assert_eq!(arrived, sent, "all, once, in order");
    assert_eq!(ben.events_so_far().await, Vec::<String>::new());
}

#[tokio::test]
async fn h31_what_is_not_acknowledged_comes_again_first_on_each_connection() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = join(&broker, MEMBER, 12).await;
    for n in 0..20 {
        ada.ask(send(&key_of(12), &format!("m-{n}"))).await;
    }
    // Reads some, acknowledges one, and is gone; again and again.
    for life in 0..20u64 {
        let first = ben.message().await;
        let seq = first["seq"].as_i64().unwrap();
        let second = ben.message().await;
        assert!(second["seq"].as_i64().unwrap() > seq, "in order");
        if life == 19 {
            break;
        }
        ben.send(&json!({ "type": "client_ack", "messageIds": [first["messageId"]] })).await;
        // Answered behind the acknowledgement: it was taken.
        ben.ask(json!({ "type": "mesh_info" })).await;
        drop(ben);
        ben = join(&broker, MEMBER, 12).await;
        if life == 17 {
            ada.ask(send(&key_of(12), "m-20")).await;
            ada.ask(send(&key_of(12), "m-21")).await;
        }
    }
}

#[tokio::test]
async fn h31_an_old_clients_pong_says_that_a_message_arrived() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let old = || hello(&broker, MEMBER, 12).with("capabilities", json!([]));
    let (mut ben, _) = Client::join_with(&broker, old()).await;
    ada.ask(send(&key_of(12), "m-1")).await;
    // It reads the push, and its library answers the ping behind it while it waits for the next frame.
    ben.message().await;
    ben.ask(json!({ "type": "mesh_info" })).await;
    let arrived = async { while ben.ask(json!({ "type": "mesh_info" })).await["queued"] != 0 {} };
    tokio::time::timeout(crate::harness::SOON, arrived).await.expect("the pong says so soon");
    drop(ben);
    let (mut ben, _) = Client::join_with(&broker, old()).await;
    ada.ask(send(&key_of(12), "m-2")).await;
    assert_eq!(ben.message().await["seq"].as_i64().map(|_| ()), Some(()));
    // One that never reads never pongs: its socket is there, and the message stays.
    let (frozen, _) = Client::join_with(&broker, old().with("sessionPubkey", key_of(13)).with("sessionId", "f")).await;
    assert_eq!(ada.ask(send(&key_of(13), "m-3")).await["queued"], true);
    drop(frozen);
    let (mut thawed, _) =
        Client::join_with(&broker, old().with("sessionPubkey", key_of(13)).with("sessionId", "f")).await;
    thawed.message().await;
}

#[tokio::test]
async fn h30_an_answer_says_what_is_wrong() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let _ben = join(&broker, MEMBER, 12).await;
    let refused = async |ada: &mut Client, message: serde_json::Value| {
        let ack = ada.ask(message).await;
        assert_eq!((&ack["type"], &ack["queued"]), (&json!("ack"), &json!(false)), "{ack}");
        (ack["code"].as_str().unwrap().to_owned(), ack["error"].as_str().unwrap().to_owned())
    };
    let (code, words) = refused(&mut ada, send("Bem", "a")).await;
    assert!(code == "unknown_peer" && words.contains("closest: Ben"), "{code} {words}");
    assert_eq!(refused(&mut ada, send(&key_of(99), "b")).await.0, "unknown_peer");
    assert_eq!(refused(&mut ada, send("@nobody", "c")).await.0, "no_recipients");
    assert_eq!(refused(&mut ada, send("@a|b", "d")).await.0, "bad_target");
    let mut short = send(&key_of(12), "e");
    short["nonce"] = "AAAA".into();
    assert_eq!(refused(&mut ada, short).await.0, "bad_message");
    assert_eq!(refused(&mut ada, send(&key_of(12), &"x".repeat(300))).await.0, "bad_message");
    let hostile = "@'; DROP TABLE message; --\u{202e}";
    assert_eq!(refused(&mut ada, send(hostile, "f")).await.0, "bad_target");
    assert_eq!(ada.ask(send(&key_of(12), "g")).await["queued"], true, "all is well");
}

#[tokio::test]
async fn h22_a_session_key_is_its_first_members_for_good() {
    let broker = Broker::alone().await;
    drop(join(&broker, MEMBER, 12).await);
    for broker in [broker.killed_and_started().await] {
        for (hello, code) in [
            (hello(&broker, OTHER, 12), "session_taken"),
            (hello(&broker, OTHER, 20).with("sessionPubkey", MEMBER.key().public().to_string()), "session_taken"),
        ] {
            let mut thief = Client::connect(&broker).await;
            thief.send(&hello.0).await;
            assert_eq!(thief.next().await["code"], code);
        }
        join(&broker, MEMBER, 12).await;
    }
}

#[tokio::test]
async fn a_members_key_reaches_whichever_session_is_there_and_a_command_reads_it_too() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let ben = MEMBER.key().public().to_string();
    for id in ["m-1", "m-2"] {
        assert_eq!(ada.ask(send(&ben, id)).await["queued"], true);
    }
    let cli = || hello(&broker, MEMBER, 30).with("kind", "cli");
    let (mut command, _) = Client::join_with(&broker, cli()).await;
    command.ask(json!({ "type": "mesh_info" })).await;
    assert_eq!(command.events_so_far().await, Vec::<String>::new(), "a command gets what it asks for");
    let id = command.request(json!({ "type": "read_inbox" })).await;
    command.take().await;
    command.take().await;
    let result = command.answer(&id).await;
    assert_eq!((&result["type"], &result["delivered"]), (&json!("inbox_result"), &json!(2)));
    assert_eq!(command.ask(json!({ "type": "read_inbox" })).await["delivered"], 0);
    // Answers to the command's own address wait for the next command.
    drop(command);
    assert_eq!(ada.ask(send(&key_of(30), "m-3")).await["queued"], true);
    let (mut command, _) = Client::join_with(&broker, cli()).await;
    let id = command.request(json!({ "type": "read_inbox" })).await;
    command.take().await;
    assert_eq!(command.answer(&id).await["delivered"], 1);
    // A session that comes takes what the member is sent.
    let mut session = join(&broker, MEMBER, 12).await;
    ada.ask(send(&ben, "m-4")).await;
    session.take().await;
}

#[tokio::test]
async fn what_needs_no_hello_of_ours_is_sent_to_nobody_else() {
    let broker = Broker::alone().await;
    let mut ada = join(&broker, OWNER, 11).await;
    let mut ben = Client::join_with(&broker, Hello::of(&broker, MEMBER)).await.0;
    // A client without a session key is written to by its member's.
    assert_eq!(ada.ask(send(&MEMBER.key().public().to_string(), "m-1")).await["queued"], true);
    assert!(ben.message().await["messageId"].is_string());
}
