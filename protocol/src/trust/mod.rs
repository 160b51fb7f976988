//! Statements about members, groups and removals, signed so that peers need not believe the broker.
//!
//! The owner's key is the root of a mesh. A member is what a [`MemberCert`] says; a [`Removal`] or a certificate with a
//! higher serial ends what was said before; a [`GroupList`] says who belongs to a restricted group.
//!
//! Contract: a statement's text is a fixed sequence of fields between `|`, signed by the key that it names as its issuer;
//! the mesh and the member that it is about stand beside it in the message that carries it. Whether an issuer may say so
//! is judged in one place, [`Roll`], by broker and clients alike. Nothing here asks for the time: an invite's end bounds
//! joining and not membership, and who joins is for the broker to let in.

mod invite;
mod roll;
mod statement;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use invite::{InviteError, InviteLink, InviteTerms, MAX_TOKEN_BYTES};
pub use roll::{Doubt, GroupStanding, Roll, RollEntry, Standing};

use crate::identity::{PublicKey, Signature};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Uses what is shared with it, and deploys.
    Member,
    /// Also manages plain members, groups and other people's services.
    Admin,
    /// Also makes admins and invites.
    Owner,
}

impl Role {
    /// The word in statements and on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is member, admin or owner")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(word: &str) -> Result<Self, NoRole> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.as_str() == word).ok_or(NoRole)
    }
}

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
