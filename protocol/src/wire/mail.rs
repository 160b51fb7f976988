//! Messages between peers: sending, delivery and what became of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::null_is_default;
use crate::identity::{PublicKey, SessionCert, Signature};

/// When a message is to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// At once, whatever the recipient does.
    Now,
    /// When the recipient is idle.
    #[default]
    Next,
    /// The same, behind `next`.
    Low,
}

impl Priority {
    /// Each, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Now, Self::Next, Self::Low];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Next => "next",
            Self::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `send`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Send {
    /// A session's or a member's key in 64 hex digits, `*` or `@all`, or `@group`.
    pub target_spec: String,
    /// When it is to be shown.
    #[serde(default)]
    pub priority: Priority,
    /// Base64 of 24 bytes.
    pub nonce: String,
    /// Base64.
    pub ciphertext: String,
    /// The client's own id of the message; the same one again is the same message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What makes it more than an old client's message (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e: Option<E2e>,
}

/// Signature and keys of a message (ours).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct E2e {
    /// 2.
    pub v: u32,
    /// The sender's id of the message, which is signed.
    pub id: String,
    /// The sender's clock, milliseconds since the Unix epoch.
    pub ts: u64,
    /// For a group or a broadcast: the message's key, sealed for each member (base64, by the member's public key). In a
    /// push only the recipient's own. Empty for a direct message.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<PublicKey, String>,
    /// The session key's; see [`crate::mail::MessageClaim`].
    pub sig: Signature,
}

macro_rules! send_faults {
    ($($(#[$doc:meta])+ $variant:ident = $word:literal),+ $(,)?) => {
        /// Why a message was not taken, for a program: `ack.code`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum SendFault {
            $($(#[$doc])+ $variant,)+
        }

        impl SendFault {
            /// Each.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

send_faults! {
    /// `targetSpec` is none.
    BadTarget = "bad_target",
    /// Another field is not what it has to be.
    BadMessage = "bad_message",
    /// Nobody has this key or name.
    UnknownPeer = "unknown_peer",
    /// Nobody but the sender is in the target.
    NoRecipients = "no_recipients",
    /// The group is restricted, and the sender not in it.
    Forbidden = "forbidden",
    /// The members of the target are others than the sender sealed for; `members` has them.
    MembersChanged = "members_changed",
    /// The id was used for another message.
    IdReused = "id_reused",
    /// The recipient's mailbox is full.
    MailboxFull = "mailbox_full",
    /// What waits in this mesh has reached its limit.
    QueueFull = "queue_full",
    /// The member sends faster than it may.
    Rate = "rate",
    /// The message is larger than a mailbox takes.
    TooLarge = "too_large",
    /// The broker could not store it; the same id may be sent again.
    NotStored = "not_stored",
}

impl fmt::Display for SendFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `ack`: answers `send`, and whatever else has no answer of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// The client's id of the message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The broker's id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Whether it is stored, durably, for recipients that exist.
    pub queued: bool,
    /// Why not, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why not, for a program (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<SendFault>,
    /// For how many mailboxes it is stored (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u32>,
    /// Who of the target does not get it (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// With `members_changed`: the members to seal for (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<PublicKey>>,
}

/// Somebody of a group who does not get a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The mailbox: a session's key or a member's.
    pub pubkey: PublicKey,
    /// What it calls itself.
    pub name: String,
    /// `mailbox_full`, or `no_e2e`: a session of an old client, which takes direct messages.
    pub reason: String,
}

/// `push`: a message, or an event of the mesh (`subtype`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The broker's id of it.
    pub message_id: String,
    /// The mesh.
    pub mesh_id: String,
    /// The sender's address; `system` for an event.
    pub sender_pubkey: String,
    /// When it is to be shown.
    #[serde(default)]
    pub priority: Priority,
    /// As it was sent.
    pub nonce: String,
    /// As it was sent.
    pub ciphertext: String,
    /// ISO 8601, on the broker's clock.
    pub created_at: String,
    /// `reminder`, `system` or `webhook`; none for a peer's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtype: Option<String>,
    /// What happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Its data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_data: Option<Value>,
    /// Its place in the order of messages (ours); events of presence have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// To whom it was sent, as the sender wrote it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_spec: Option<String>,
    /// Signature, and the recipient's own key (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2e: Option<E2e>,
    /// What the sender calls itself (ours); proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// The sender's member (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_pubkey: Option<PublicKey>,
    /// The sender's id of its session, which `sessionCert` is about (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The member's word for the sender's session (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cert: Option<SessionCert>,
}

/// `client_ack` (ours): these are in the client's own hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAck {
    /// The broker's ids.
    pub message_ids: Vec<String>,
}

/// `read_inbox` (ours): everything that waits for the session and its member, whatever the session's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadInbox {
    /// Also what comes later, for as long as the connection lasts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
}

/// `inbox_result` (ours): nothing is left that was there; the messages came before it, as pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxResult {
    /// How many came.
    pub delivered: u32,
}

/// `message_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStatus {
    /// The broker's id.
    pub message_id: String,
}

/// `message_status_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageStatusResult {
    /// The broker's id.
    pub message_id: String,
    /// To whom it was sent.
    pub target_spec: String,
    /// Whether every recipient has it.
    pub delivered: bool,
    /// ISO 8601, when the last of them took it.
    #[serde(default)]
    pub delivered_at: Option<String>,
    /// Each.
    pub recipients: Vec<RecipientStatus>,
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientStatus {
    /// What it calls itself.
    pub name: String,
    /// The mailbox: a session's key or a member's.
    pub pubkey: String,
    /// `delivered`, `held` (it is here), `disconnected` (it is not); ours also `expired` and `dropped`.
    pub status: String,
}
