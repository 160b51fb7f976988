//! The client's `config.json`.
//!
//! Contract: this is the form of the file, which other clients read and write too: members that are not known here are
//! kept and written back. The file holds secret keys, so it is read and written with mode 0600, by its owner only; doing
//! that is the client's part.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::identity::{KeyError, MemberKey, PublicKey};
use crate::secret::{self, SecretString};

/// The version of the form that is described here.
pub const VERSION: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// [`VERSION`]. A client leaves a file of another version alone.
    pub version: u32,
    /// The meshes that this person has joined.
    #[serde(default)]
    pub meshes: Vec<MeshEntry>,
    /// Name shown to peers, unless a session has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Role that sessions announce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Groups that sessions join. Kept as found: clients have written names and objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Value>>,
    /// How messages reach a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_mode: Option<MessageMode>,
    /// Members of other clients.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One mesh that was joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshEntry {
    /// The broker's id of the mesh.
    pub mesh_id: String,
    /// The broker's id of the member.
    pub member_id: String,
    /// What `--mesh` takes.
    pub slug: String,
    /// What is shown.
    pub name: String,
    /// The member's public key, 64 hex digits.
    pub pubkey: String,
    /// The member's secret key, 128 hex digits. This file is where it lives.
    #[serde(serialize_with = "secret::reveal")]
    pub secret_key: SecretString,
    /// WebSocket URL of the broker.
    pub broker_url: String,
    /// ISO 8601.
    pub joined_at: String,
    /// The root of trust, as it was when this person joined; 64 hex digits. Older entries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_pubkey: Option<PublicKey>,
    /// Members of other clients.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How messages reach a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageMode {
    /// Into the conversation as they come.
    Push,
    /// When the session asks.
    Inbox,
    /// Not at all.
    Off,
}

impl MessageMode {
    /// Its word, as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Inbox => "inbox",
            Self::Off => "off",
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            version: VERSION,
            meshes: Vec::new(),
            display_name: None,
            role: None,
            groups: None,
            message_mode: None,
            extra: Map::new(),
        }
    }
}

impl MeshEntry {
    /// The member's key.
    ///
    /// # Errors
    /// [`KeyError`], also when `pubkey` is not its public half.
    pub fn member_key(&self) -> Result<MemberKey, KeyError> {
        let key = MemberKey::from_hex(self.secret_key.expose())?;
        if key.public() == self.pubkey.parse()? { Ok(key) } else { Err(KeyError::NotAKey("secret key of `pubkey`")) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn file() -> Value {
        let key = MemberKey::from_seed(&[7; 32]);
        serde_json::json!({
            "version": 1,
            "meshes": [{
                "meshId": "m1", "memberId": "p1", "slug": "default", "name": "Default", "pubkey": key.public().to_string(),
                "secretKey": key.to_hex().expose(), "brokerUrl": "ws://127.0.0.1:7900/ws",
                "joinedAt": "2026-01-01T00:00:00Z",
                "ownerPubkey": key.public().to_string(), "rootKey": "kept",
            }],
            "displayName": "Ana", "role": "dev", "groups": [{"name": "eng", "role": "lead"}, "ops"],
            "messageMode": "inbox", "theme": {"kept": true},
        })
    }

    #[test]
    fn a_file_survives_with_what_is_not_known() {
        let config: ClientConfig = serde_json::from_value(file()).unwrap();
        assert_eq!(serde_json::to_value(&config).unwrap(), file());
        assert_eq!(config.message_mode, Some(MessageMode::Inbox));
        let member = config.meshes[0].member_key().unwrap();
        assert_eq!(config.meshes[0].owner_pubkey, Some(member.public()));
        assert!(!format!("{config:?}").contains(config.meshes[0].secret_key.expose()));
    }

    #[test]
    fn the_smallest_file_is_read() {
        let config: ClientConfig = serde_json::from_str(r#"{"version":1}"#).unwrap();
        assert_eq!(config, ClientConfig::default());
    }

    #[test]
    fn a_key_that_is_not_the_members_is_refused() {
        let mut entry: MeshEntry = serde_json::from_value(file()["meshes"][0].clone()).unwrap();
        entry.pubkey = MemberKey::from_seed(&[8; 32]).public().to_string();
        assert!(entry.member_key().is_err());
    }
}
