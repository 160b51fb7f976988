//! Who is here, and what they say about themselves.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Group, PeerType};
use crate::identity::{PublicKey, SessionCert};

/// What a session is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerStatus {
    /// Takes everything.
    #[default]
    Idle,
    /// Takes what is urgent; becomes idle by itself after a while.
    Working,
    /// Takes what is urgent, until it says otherwise.
    Dnd,
}

impl PeerStatus {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Working => "working",
            Self::Dnd => "dnd",
        }
    }
}

impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of what a session says about itself. `session` (ours) names another session of the same member, by its key or
/// by its id: how a person's command speaks for a running session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed<T> {
    /// What it is now.
    #[serde(flatten)]
    pub to: T,
    /// Whose; none = the session that sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// `set_summary`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What it says it does.
    pub summary: String,
}

/// `set_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What it is doing.
    pub status: PeerStatus,
}

/// `leave_group`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName {
    /// With or without `@`.
    pub name: String,
}

/// `set_stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Shown to others as they are.
    pub stats: Value,
}

/// `set_visible`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visible {
    /// Whether others find it in their lists.
    pub visible: bool,
}

/// `set_profile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// A picture, or its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// A few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Some more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// What it can be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
}

/// `peers_list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeersList {
    /// The sessions that are present.
    pub peers: Vec<Peer>,
}

/// A session, as others see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// The session's key, its address.
    pub pubkey: PublicKey,
    /// What it calls itself.
    pub display_name: String,
    /// What it is doing.
    pub status: PeerStatus,
    /// What it says it does.
    #[serde(default)]
    pub summary: Option<String>,
    /// The groups it is in.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The client's id of the session.
    pub session_id: String,
    /// ISO 8601.
    pub connected_at: String,
    /// Where it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Its machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What kind of peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<PeerType>,
    /// Through what it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The model behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As it sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Value>,
    /// Whether it shows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible: Option<bool>,
    /// As it sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The member behind the session (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_pubkey: Option<PublicKey>,
    /// That member's word for it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_cert: Option<SessionCert>,
    /// Whether it is connected, or expected back (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
}

/// `mesh_info_result`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshInfoResult {
    /// The mesh's slug.
    pub mesh: String,
    /// Sessions that are present.
    pub peers: u32,
    /// `@name` each.
    pub groups: Vec<String>,
    /// What this broker has none of.
    pub state_keys: Vec<String>,
    /// The same.
    pub memory_count: u32,
    /// The same.
    pub file_count: u32,
    /// The same.
    pub tasks: Tasks,
    /// The same.
    pub streams: Vec<String>,
    /// The same.
    pub tables: Vec<String>,
    /// The same.
    pub collections: Vec<String>,
    /// What the asking session is called.
    pub your_name: String,
    /// The groups it is in.
    pub your_groups: Vec<Group>,
    /// Members (ours).
    #[serde(default)]
    pub members: u32,
    /// Whether sessions without a certificate are refused (ours).
    #[serde(default)]
    pub require_proofs: bool,
    /// Messages that wait for somebody (ours).
    #[serde(default)]
    pub queued: u64,
    /// How long a message waits, seconds (ours).
    #[serde(default)]
    pub message_ttl_s: u64,
    /// Deploys that bring secrets in clear are refused (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_env_off: bool,
}

/// Tasks, of which there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    /// None.
    pub open: u32,
    /// None.
    pub claimed: u32,
    /// None.
    pub done: u32,
}
