//! Messages, deliveries and sessions to test with.

use broker::store::{
    DeliveryEnd, Document, Entry, Founded, Hello, MeshId, MessageId, NewDelivery, NewMessage, Pending, Session,
    SessionKind, Store, UtcMs, Verdict,
};

use super::NOW;

/// How long the messages here are kept.
pub(crate) const TTL_MS: i64 = 60_000;
/// The priority of the messages here, unless a test says otherwise.
pub(crate) const NEXT: i16 = 1;

/// A session of the owner's under that key.
pub(crate) fn session(of: &Founded, pubkey: &str) -> Session {
    Session {
        mesh_id: of.mesh.id.clone(),
        pubkey: pubkey.to_owned(),
        member_id: of.owner.id.clone(),
        session_id: format!("id of {pubkey}"),
        kind: SessionKind::Session,
        display_name: format!("name of {pubkey}"),
        summary: None,
        groups: r#"[{"name":"eng"}]"#.parse().unwrap(),
        profile: None,
        stats: Some(r#"{"n": 1}"#.parse().unwrap()),
        visible: true,
        present: true,
        about: Document::of(&serde_json::json!({"pid": 1})).unwrap(),
        first_seen_at: NOW,
        last_seen_at: NOW,
    }
}

/// A message of the owner's, without a name of the sender's own.
pub(crate) fn message(store: &Store, of: &Founded, text: &str) -> NewMessage {
    NewMessage {
        seq: store.number(),
        id: MessageId::new(),
        sender: "sender".to_owned(),
        sender_member: Some(of.owner.id.clone()),
        sender_session_id: Some("its session".to_owned()),
        client_id: None,
        digest: Some(format!("digest of {text}")),
        target: "@eng".to_owned(),
        priority: NEXT,
        nonce: "nonce".to_owned(),
        ciphertext: text.to_owned(),
        extra: Some(r#"{"v":2}"#.parse().unwrap()),
        ack: Document::of(&format!("ack of {text}")).unwrap(),
        created_at: NOW,
        expires_at: NOW.plus_ms(TTL_MS),
    }
}

/// The same, with one.
pub(crate) fn named(store: &Store, of: &Founded, name: &str, text: &str) -> NewMessage {
    NewMessage { client_id: Some(name.to_owned()), ..message(store, of, text) }
}

pub(crate) fn delivery(store: &Store, mailbox: &str) -> NewDelivery {
    NewDelivery {
        id: store.number(),
        mailbox: mailbox.to_owned(),
        of_member: false,
        bytes: 10,
        wrapped_key: Some(format!("key for {mailbox}")),
    }
}

pub(crate) fn entry(message: NewMessage, deliveries: Vec<NewDelivery>) -> Entry {
    Entry::Message(Box::new(message), deliveries)
}

pub(crate) fn ended(ids: Vec<i64>) -> Entry {
    Entry::End { ids, how: DeliveryEnd::Delivered, reason: None, at: NOW.plus_ms(5) }
}

pub(crate) fn hello(key: &str, session: Session) -> Entry {
    Entry::Hello(Box::new(Hello { replay_key: key.to_owned(), session }))
}

/// Writes one entry.
pub(crate) async fn write(store: &Store, mesh: &MeshId, entry: Entry, now: UtcMs) -> Verdict {
    let mut verdicts = store.write_batch(mesh, &vec![entry].into(), now).await.unwrap();
    assert_eq!(verdicts.len(), 1);
    verdicts.pop().unwrap()
}

/// Sends a text to a mailbox: the delivery's number and the message's.
pub(crate) async fn send(store: &Store, of: &Founded, mailbox: &str, text: &str) -> (i64, i64) {
    let (message, delivery) = (message(store, of, text), delivery(store, mailbox));
    let numbers = (delivery.id, message.seq);
    let verdict = write(store, &of.mesh.id, entry(message, vec![delivery]), NOW).await;
    assert_eq!(verdict, Verdict::Stored);
    numbers
}

/// All that waits in a mailbox.
pub(crate) async fn waiting(store: &Store, mesh: &MeshId, mailbox: &str) -> Vec<Pending> {
    store.pending(mesh, mailbox, NEXT, 0, u32::MAX, u64::MAX).await.unwrap()
}

/// Its texts.
pub(crate) async fn texts(store: &Store, mesh: &MeshId, mailbox: &str) -> Vec<String> {
    waiting(store, mesh, mailbox).await.into_iter().map(|pending| pending.message.ciphertext).collect()
}
