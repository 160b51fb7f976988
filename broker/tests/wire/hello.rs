//! Who is let in.

use std::time::{Duration, Instant};

use protocol::identity::{MemberKey, SessionClaim};
use serde_json::json;

use crate::harness::{Broker, Client, Hello, MEMBER, OTHER, OWNER, Who, now_ms};

const MINUTE_MS: u64 = 60_000;

/// Says this hello on a socket of its own; it must be refused with `code`, echo the id, and close.
async fn refused(broker: &Broker, hello: Hello, code: &str) -> String {
    let mut client = Client::connect(broker).await;
    client.send(&hello.with("_reqId", "h1").0).await;
    let error = client.next().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    assert_eq!(error["_reqId"], "h1");
    assert_eq!(client.closed().await.map(|(code, _)| code), Some(1008));
    error["message"].as_str().unwrap().to_owned()
}

fn session(key: &MemberKey, broker: &Broker, signer: Who, vouches_for: Who, validity_ms: u64) -> Hello {
    let claim = SessionClaim {
        mesh_id: broker.mesh(),
        member: vouches_for.key().public(),
        session: key.public(),
        session_id: "s1",
    };
    let cert = claim.certify(&signer.key(), now_ms() - MINUTE_MS, validity_ms).unwrap();
    Hello::of(broker, OWNER)
        .with("sessionId", "s1")
        .with("sessionPubkey", key.public().to_string())
        .with("sessionCert", serde_json::to_value(cert).unwrap())
}

#[tokio::test]
async fn a_member_is_let_in_and_told_what_it_needs() {
    let broker = Broker::alone().await;
    let (_client, ack) = Client::join_with(&broker, Hello::of(&broker, OWNER).with("_reqId", "h1")).await;
    assert_eq!(ack["_reqId"], "h1");
    assert_eq!(ack["memberDisplayName"], OWNER.name);
    assert_eq!(ack["services"], json!([]));
    assert_eq!(ack["serverVersion"], "test-build");
    assert!(!ack["presenceId"].as_str().unwrap().is_empty());

    let named = Hello::of(&broker, MEMBER).with("displayName", "Ben at work");
    let (_client, ack) = Client::join_with(&broker, named).await;
    assert_eq!(ack["memberDisplayName"], "Ben at work");
}

#[tokio::test]
async fn a_stranger_is_refused_and_learns_nothing() {
    let broker = Broker::alone().await;
    let stranger = Who::with_seed("Eve", 99);
    let mesh = broker.mesh().to_owned();
    let (mine, another) = (broker.member_id(OWNER).to_owned(), broker.member_id(MEMBER).to_owned());
    let unknown_mesh = uuid::Uuid::now_v7().to_string();
    // No such mesh, nobody with that key, another member's id, no id at all: one answer.
    let words = [
        refused(&broker, Hello::signed(OWNER, &unknown_mesh, &mine, now_ms()), "unauthorized").await,
        refused(&broker, Hello::signed(OWNER, "no id", &mine, now_ms()), "unauthorized").await,
        refused(&broker, Hello::signed(stranger, &mesh, &mine, now_ms()), "unauthorized").await,
        refused(&broker, Hello::signed(OWNER, &mesh, &another, now_ms()), "unauthorized").await,
        refused(&broker, Hello::signed(OWNER, &mesh, "", now_ms()), "unauthorized").await,
    ];
    assert!(words.iter().all(|said| *said == words[0]), "{words:?}");
}

#[tokio::test]
async fn a_hello_that_does_not_hold_is_refused_by_what_is_wrong_with_it() {
    let broker = Broker::alone().await;
    let good = || Hello::of(&broker, OWNER);
    let others = Hello::of(&broker, MEMBER).0["signature"].clone();
    refused(&broker, good().with("signature", others), "bad_signature").await;
    refused(&broker, good().with("timestamp", now_ms() + 1), "bad_signature").await;
    refused(&broker, Hello::at(&broker, OWNER, now_ms() - 61_000), "timestamp_skew").await;
    refused(&broker, Hello::at(&broker, OWNER, now_ms() + 62_000), "timestamp_skew").await;
    refused(&broker, Hello::at(&broker, OWNER, u64::MAX), "timestamp_skew").await;
    let words = refused(&broker, good().with("pid", "seven"), "malformed").await;
    assert!(words.contains("pid"), "{words}");
    let words = refused(&broker, good().with("cwd", "x".repeat(5_000)), "malformed").await;
    assert!(words.contains("4096"), "{words}");
    let crowd: Vec<_> = (0..65).map(|n| json!({ "name": format!("g{n}") })).collect();
    let words = refused(&broker, good().with("groups", crowd), "malformed").await;
    assert!(words.contains("groups"), "{words}");
}

#[tokio::test]
async fn a_session_key_is_vouched_for_by_its_own_member() {
    let broker = Broker::alone().await;
    let key = MemberKey::from_seed(&[200; 32]);
    let (_client, _) = Client::join_with(&broker, session(&key, &broker, OWNER, OWNER, 5 * MINUTE_MS)).await;
    refused(&broker, session(&key, &broker, OTHER, OWNER, 5 * MINUTE_MS), "bad_signature").await;
    refused(&broker, session(&key, &broker, OTHER, OTHER, 5 * MINUTE_MS), "bad_signature").await;
    refused(&broker, session(&key, &broker, OWNER, OWNER, 1), "timestamp_skew").await;
    let mut without = session(&key, &broker, OWNER, OWNER, 5 * MINUTE_MS);
    without.0.as_object_mut().unwrap().remove("sessionPubkey");
    let words = refused(&broker, without, "malformed").await;
    assert!(words.contains("sessionPubkey"), "{words}");
}

#[tokio::test]
async fn h22_a_session_key_that_is_a_members_key_is_taken() {
    let broker = Broker::alone().await;
    for member in [OTHER, OWNER] {
        let hello = Hello::of(&broker, MEMBER).with("sessionPubkey", member.key().public().to_string());
        refused(&broker, hello, "session_taken").await;
    }
}

#[tokio::test]
async fn a_hello_is_good_once_also_across_a_restart() {
    let broker = Broker::alone().await;
    let hello = Hello::of(&broker, OWNER);
    let again = || Hello(hello.0.clone());
    let (_client, _) = Client::join_with(&broker, again()).await;
    refused(&broker, again(), "replayed").await;
    let broker = broker.killed_and_started().await;
    refused(&broker, again(), "replayed").await;
    Client::join(&broker, OWNER).await;
}

#[tokio::test]
async fn nothing_is_done_before_hello_and_hello_is_said_once() {
    let broker = Broker::alone().await;
    let mut client = Client::connect(&broker).await;
    let early = client.ask(json!({ "type": "mcp_catalog" })).await;
    assert_eq!(early["code"], "no_hello");
    client.send(&Hello::of(&broker, OWNER).0).await;
    assert_eq!(client.next().await["type"], "hello_ack", "an early word does not spoil the socket");
    let second = client.ask(Hello::of(&broker, OWNER).0).await;
    assert_eq!(second["code"], "bad_request");
    assert_eq!(client.ask(json!({ "type": "mcp_catalog" })).await["type"], "mcp_catalog_result");
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    const WITHIN: Duration = Duration::from_secs(10);
    let broker = Broker::alone().await;
    let began = Instant::now();
    let mut silent = Client::connect(&broker).await;
    assert_eq!(silent.closed().await.map(|(code, _)| code), Some(1008));
    assert!(began.elapsed() >= WITHIN, "{:?}", began.elapsed());
    assert_eq!(silent.next().await["code"], "no_hello");
}

#[tokio::test]
async fn h50_a_full_mesh_says_which_limit_it_is() {
    let broker = Broker::start(|setup| setup.max_connections = 1).await;
    let first = Client::join(&broker, OWNER).await;
    let words = refused(&broker, Hello::of(&broker, MEMBER), "capacity").await;
    assert!(words.contains("MAX_CONNECTIONS_PER_MESH"), "{words}");
    drop(first);
    // The place is free once the first session has been seen to end.
    for _ in 0..200 {
        let mut client = Client::connect(&broker).await;
        client.send(&Hello::of(&broker, MEMBER).0).await;
        if client.next().await["type"] == "hello_ack" {
            return;
        }
        client.closed().await;
    }
    panic!("a session that ended keeps its place");
}

#[tokio::test]
async fn h32_only_sessions_are_peers_and_they_come_and_go_once() {
    let broker = Broker::alone().await;
    let mut watching = Client::join(&broker, OWNER).await;
    for kind in ["proxy", "cli"] {
        drop(Client::join_with(&broker, Hello::of(&broker, MEMBER).with("kind", kind)).await);
    }
    let (mut session, _) =
        Client::join_with(&broker, Hello::of(&broker, MEMBER).with("groups", json!([{ "name": "eng" }]))).await;
    let joined = watching.event("peer_joined").await;
    assert_eq!(joined["name"], MEMBER.name);
    assert_eq!(joined["groups"], json!(["eng"]));
    let present = watching.ask(json!({ "type": "list_peers" })).await;
    assert_eq!(present["peers"].as_array().unwrap().len(), 2, "{present}");
    session.socket.close(None).await.unwrap();
    assert_eq!(watching.event("peer_left").await["name"], MEMBER.name);
    assert_eq!(watching.events_so_far().await, Vec::<String>::new());
}
