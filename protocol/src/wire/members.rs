//! Members, invites and groups (ours): who belongs to a mesh, with the statements that make it so.

use serde::{Deserialize, Serialize};

use super::null_is_default;
use crate::identity::PublicKey;
use crate::trust::{GroupList, MemberCert, Removal};

/// `members_list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MembersList {
    /// The root of trust, as the broker tells it; a client believes its own copy.
    pub owner_pubkey: PublicKey,
    /// Whether sessions without a certificate are refused.
    pub require_proofs: bool,
    /// Those that are and those that were.
    pub members: Vec<MemberEntry>,
    /// The latest list of each group that ever had one.
    #[serde(default, deserialize_with = "null_is_default")]
    pub groups: Vec<GroupList>,
}

/// A member, or one that was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberEntry {
    /// The broker's id of it.
    pub member_id: String,
    /// Its key.
    pub pubkey: PublicKey,
    /// What it is called.
    pub display_name: String,
    /// What the broker takes it for.
    pub role: String,
    /// What makes it a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<MemberCert>,
    /// What makes it none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// ISO 8601.
    pub joined_at: String,
    /// ISO 8601; then it is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<String>,
}

/// `member_set`: a certificate of another role, or of one that had none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSet {
    /// Whose.
    pub member_id: String,
    /// What makes it a member now.
    pub certificate: MemberCert,
}

/// `member_remove`: of another by an admin, or of oneself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberRemove {
    /// Who goes.
    pub member_id: String,
    /// The statement.
    pub removal: Removal,
}

/// `member_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberResult {
    /// Whose.
    pub member_id: String,
    /// Services that were stopped with it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
}

/// `group_set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSet {
    /// Who belongs to it from now on.
    pub list: GroupList,
}

/// `group_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupResult {
    /// Which.
    pub name: String,
}

/// `invite_create`: makes known an invite that the owner has signed. The broker learns its digest, not the invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteCreate {
    /// SHA-256 of the token's text, 64 hex digits.
    pub token_sha256: String,
    /// What the joiner becomes.
    pub role: String,
    /// How many may join by it.
    pub uses: u32,
    /// Seconds since the Unix epoch.
    pub expires_at: u64,
}

/// `invite_revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteRevoke {
    /// Which.
    pub invite_id: String,
}

/// `invite_result`: answers `invite_create` and `invite_revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteResult {
    /// Which.
    pub invite_id: String,
}

/// `invite_list_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteListResult {
    /// Newest first.
    pub invites: Vec<InviteEntry>,
}

/// An invite, as its mesh's admins see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteEntry {
    /// The broker's id of it.
    pub invite_id: String,
    /// What the joiner becomes.
    pub role: String,
    /// How many may join by it.
    pub uses: u32,
    /// How many did.
    pub used: u32,
    /// ISO 8601.
    pub expires_at: String,
    /// ISO 8601.
    pub created_at: String,
    /// What its maker is called.
    pub created_by: String,
    /// `open`, `used_up`, `expired` or `revoked`.
    pub state: String,
}

/// `mesh_set`: settings of the mesh; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshSet {
    /// Whether sessions without a certificate are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_proofs: Option<bool>,
    /// How long a message waits, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_ttl_s: Option<u64>,
    /// Whether a deploy may bring its secrets in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_env: Option<bool>,
}

/// `mesh_set_result`: the settings as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshSetResult {
    /// Whether sessions without a certificate are refused.
    pub require_proofs: bool,
    /// How long a message waits, seconds.
    pub message_ttl_s: u64,
    /// Whether a deploy may bring its secrets in clear.
    #[serde(default = "yes")]
    pub plain_env: bool,
}

/// As it is where nobody has said otherwise.
const fn yes() -> bool {
    true
}
