//! Statements about members, groups and removals, signed so that peers need not believe the broker.
//!
//! The owner's key is the root of a mesh. A member is what a [`MemberCert`] says; a [`Removal`] or a certificate with a
//! higher serial ends what was said before; a [`GroupList`] says who belongs to a restricted group.

use serde::{Deserialize, Serialize};

use crate::identity::{PublicKey, Signature};

/// What makes a member, as it travels in `certificate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum MemberCert {
    /// The owner, or for the role `member` an admin, says so.
    Signed {
        /// `owner`, `admin` or `member`.
        role: String,
        /// Rises with each statement about this member.
        serial: u64,
        /// Who says so.
        issuer: PublicKey,
        /// Of `claudemesh/member/v1|meshId|memberPubkey|role|serial`.
        signature: Signature,
    },
    /// The key of an invite says so, and the owner has signed the invite.
    Invite {
        /// The invite.
        invite: Invite,
        /// The invite key's, of `claudemesh/join/v1|meshId|memberPubkey|role|expires_at`.
        signature: Signature,
    },
}

/// An invite, member for member as its token has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Version of the form: 1.
    pub v: u32,
    /// The mesh to join.
    pub mesh_id: String,
    /// Its slug.
    pub mesh_slug: String,
    /// Where to join.
    pub broker_url: String,
    /// Seconds since the Unix epoch.
    pub expires_at: u64,
    /// Public half of the invite's own key pair, 64 hex digits; older clients put something else here.
    pub mesh_root_key: String,
    /// What the joiner becomes.
    pub role: String,
    /// Who invites: the root key of the mesh.
    pub owner_pubkey: PublicKey,
    /// The owner's.
    pub signature: Signature,
}

/// A member is none any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// Higher than that of any statement about this member before.
    pub serial: u64,
    /// The owner, an admin, or the member itself.
    pub issuer: PublicKey,
    /// Of `claudemesh/removal/v1|meshId|memberPubkey|serial`.
    pub signature: Signature,
}

/// Who belongs to a group that not everybody may join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupList {
    /// Without `@`.
    pub name: String,
    /// Higher than that of any list of this group before.
    pub serial: u64,
    /// Its members' keys; none: the group is open to everybody again.
    pub members: Option<Vec<PublicKey>>,
    /// The owner, or an admin.
    pub issuer: PublicKey,
    /// Of `claudemesh/group/v1|meshId|name|serial|` and `open` or the keys in rising order, joined by `,`.
    pub signature: Signature,
}
