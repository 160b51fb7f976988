//! Messages through sockets: what is accepted, for whom, and what arrives.

mod delivery;
mod groups;
mod members;
mod presence;

use protocol::identity::{SessionClaim, SessionKey, SigningKey};
use serde_json::{Value, json};

use crate::harness::{Broker, Client, Hello, Who, now_ms};

/// Base64 of 24 bytes.
pub(crate) const NONCE: &str = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZX";
/// Base64 of something sealed.
const TEXT: &str = "3yeffLXeYz+0XpdpOMrxLAus";

/// A session's key, of a byte.
pub(crate) fn session_key(byte: u8) -> SessionKey {
    SigningKey::from_seed(&[byte; 32])
}

/// A hello of the session with this key, which says itself what it has.
pub(crate) fn hello(broker: &Broker, who: Who, session: u8) -> Hello {
    Hello::of(broker, who)
        .with("sessionPubkey", session_key(session).public().to_string())
        .with("sessionId", format!("id-{session}"))
        .with("capabilities", json!(["client_ack", "e2e"]))
}

/// The same with the member's word for it.
pub(crate) fn certified(broker: &Broker, who: Who, session: u8) -> Hello {
    let hello = hello(broker, who, session);
    let session_id = format!("id-{session}");
    let claim = SessionClaim {
        mesh_id: broker.mesh(),
        member: who.key().public(),
        session: session_key(session).public(),
        session_id: &session_id,
    };
    let cert = claim.certify(&who.key(), now_ms(), 3_600_000).unwrap();
    hello.with("sessionCert", serde_json::to_value(cert).unwrap())
}

pub(crate) async fn join(broker: &Broker, who: Who, session: u8) -> Client {
    Client::join_with(broker, hello(broker, who, session)).await.0
}

pub(crate) fn key_of(session: u8) -> String {
    session_key(session).public().to_string()
}

pub(crate) fn send(target: &str, id: &str) -> Value {
    json!({ "type": "send", "targetSpec": target, "priority": "next", "nonce": NONCE, "ciphertext": TEXT, "id": id })
}

impl Client {
    /// The next message of a peer.
    pub(crate) async fn message(&mut self) -> Value {
        self.until(|frame| frame["type"] == "push" && frame["subtype"].is_null()).await
    }

    /// The next message, acknowledged.
    pub(crate) async fn take(&mut self) -> Value {
        let push = self.message().await;
        self.send(&json!({ "type": "client_ack", "messageIds": [push["messageId"]] })).await;
        push
    }
}
