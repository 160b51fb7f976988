//! A message as it is pushed: written once as JSON, and for each recipient put together from its pieces.

use protocol::identity::PublicKey;
use protocol::wire::{E2e, Priority, Push};

/// A message in memory, shared by all its deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the order of acceptance.
    pub seq: i64,
    /// When it is to be shown.
    pub priority: Priority,
    /// What it counts against limits.
    pub bytes: u64,
    /// The broker's id of it.
    pub id: Box<str>,
    /// The members of the frame but those below, as a JSON object.
    head: Box<str>,
    /// `e2e` without the keys, as a JSON object.
    e2e: Option<Box<str>>,
    /// The body, as JSON strings.
    nonce: Box<str>,
    ciphertext: Box<str>,
}

impl Letter {
    /// Of a push without `nonce`, `ciphertext` and `e2e`, which stand beside it. `overhead` is what a message counts beyond
    /// its texts.
    ///
    /// # Errors
    /// None for messages that were read by this program; a number that is not finite has no JSON form.
    pub fn new(
        head: &Push,
        (nonce, ciphertext): (&str, &str),
        e2e: Option<&E2e>,
        overhead: u64,
    ) -> Result<Self, serde_json::Error> {
        let texts = u64::try_from(nonce.len() + ciphertext.len()).unwrap_or(u64::MAX);
        let written = |text: &str| serde_json::to_string(text).map(String::into_boxed_str);
        Ok(Self {
            seq: head.seq.unwrap_or_default(),
            priority: head.priority,
            bytes: texts.saturating_add(overhead),
            id: head.message_id.as_str().into(),
            head: serde_json::to_string(&Head::of(head))?.into(),
            e2e: e2e.map(|e2e| serde_json::to_string(e2e).map(String::into_boxed_str)).transpose()?,
            nonce: written(nonce)?,
            ciphertext: written(ciphertext)?,
        })
    }

    /// The frame for a recipient, with its own sealed key.
    #[must_use]
    pub fn frame(&self, key: Option<(PublicKey, &str)>) -> String {
        let e2e = self.e2e.as_deref().unwrap_or_default();
        let mut frame =
            String::with_capacity(self.head.len() + self.nonce.len() + self.ciphertext.len() + e2e.len() + 256);
        frame.push_str("{\"type\":\"push\",\"nonce\":");
        frame.push_str(&self.nonce);
        frame.push_str(",\"ciphertext\":");
        frame.push_str(&self.ciphertext);
        if let Some(e2e) = e2e.strip_prefix('{') {
            frame.push_str(",\"e2e\":{");
            // A key is base64 in hex digits' company: as JSON strings they are as they are, and what is not is escaped.
            if let Some((member, key)) = key {
                frame.push_str("\"keys\":{\"");
                frame.push_str(&member.to_string());
                frame.push_str("\":");
                frame.push_str(&serde_json::Value::from(key).to_string());
                frame.push_str("},");
            }
            frame.push_str(e2e);
        }
        frame.push(',');
        frame.push_str(self.head.strip_prefix('{').unwrap_or("}"));
        frame
    }

    /// All but the body and the keys, as it is kept: a push with an empty body.
    #[must_use]
    pub fn kept(&self) -> String {
        let mut kept = String::with_capacity(self.head.len() + self.e2e.as_ref().map_or(0, |e2e| e2e.len()) + 64);
        kept.push_str("{\"nonce\":\"\",\"ciphertext\":\"\",");
        if let Some(e2e) = &self.e2e {
            kept.push_str("\"e2e\":");
            kept.push_str(e2e);
            kept.push(',');
        }
        kept.push_str(self.head.strip_prefix('{').unwrap_or("}"));
        kept
    }
}

/// A push without its body.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    message_id: &'a str,
    mesh_id: &'a str,
    sender_pubkey: &'a str,
    priority: Priority,
    created_at: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subtype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_data: Option<&'a serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_spec: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_pubkey: Option<PublicKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_cert: Option<protocol::identity::SessionCert>,
}

impl<'a> Head<'a> {
    fn of(push: &'a Push) -> Self {
        Self {
            message_id: &push.message_id,
            mesh_id: &push.mesh_id,
            sender_pubkey: &push.sender_pubkey,
            priority: push.priority,
            created_at: &push.created_at,
            subtype: push.subtype.as_deref(),
            event: push.event.as_deref(),
            event_data: push.event_data.as_ref(),
            seq: push.seq,
            target_spec: push.target_spec.as_deref(),
            sender_name: push.sender_name.as_deref(),
            member_pubkey: push.member_pubkey,
            session_id: push.session_id.as_deref(),
            session_cert: push.session_cert,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use protocol::identity::{SessionCert, Signature};
    use protocol::wire::{Envelope, ServerMessage};
    use serde_json::{Value, json};

    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// What is put together is what the wire's own types write.
    #[test]
    fn a_frame_is_the_push_that_the_wire_has() {
        let member = PublicKey::from_bytes([7; 32]);
        let sig = Signature::from_bytes([9; 64]);
        let keys = |key: Option<&str>| key.map(|key| (member, key.to_owned())).into_iter().collect::<BTreeMap<_, _>>();
        let e2e = |key| E2e { v: 2, id: "a\"b".to_owned(), ts: 5, keys: keys(key), sig };
        for (e2e_of, event_data) in [(true, None), (false, Some(json!({ "name": "\u{1}|\"" })))] {
            let head = Push {
                message_id: "m-1".to_owned(),
                mesh_id: "mesh".to_owned(),
                sender_pubkey: member.to_string(),
                priority: Priority::Low,
                created_at: "now".to_owned(),
                subtype: event_data.as_ref().map(|_| "system".to_owned()),
                event: event_data.as_ref().map(|_| "e".to_owned()),
                event_data,
                seq: Some(8),
                target_spec: Some("@\"g\\".to_owned()),
                sender_name: Some("A\n".to_owned()),
                member_pubkey: Some(member),
                session_id: Some("s".to_owned()),
                session_cert: Some(SessionCert { issued_at: 1, expires_at: 2, signature: sig }),
                ..Push::default()
            };
            let whole = |key| Push {
                nonce: "no\"nce".to_owned(),
                ciphertext: "text\\".to_owned(),
                e2e: e2e_of.then(|| e2e(key)),
                ..head.clone()
            };
            let letter = Letter::new(&head, ("no\"nce", "text\\"), e2e_of.then(|| e2e(None)).as_ref(), 10).unwrap();
            for key in [None, Some("aG\"k=")] {
                let wire = Envelope::new(ServerMessage::Push(Box::new(whole(key))), None).to_json().unwrap();
                assert_eq!(value(&letter.frame(key.map(|key| (member, key)))), value(&wire));
            }
            let kept: Push = serde_json::from_str(&letter.kept()).unwrap();
            let body = |push: Push| Push { nonce: String::new(), ciphertext: String::new(), ..push };
            assert_eq!(kept, body(whole(None)));
            assert_eq!((letter.bytes, letter.seq), (21, 8));
        }
    }
}
