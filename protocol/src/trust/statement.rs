//! The texts behind the statements, and their signatures.

use super::{GroupList, Invite, MemberCert, Removal, Role};
use crate::identity::{PublicKey, Signature, SigningKey, TrustError, signed_text};

/// What stands for the keys in the text of a group that is open.
const OPEN: &str = "open";

/// `claudemesh/member/v1|meshId|memberPubkey|role|serial`.
pub(super) fn member_text(mesh: &str, member: PublicKey, role: &str, serial: u64) -> Result<String, TrustError> {
    signed_text(&[
        ("version", "claudemesh/member/v1"),
        ("meshId", mesh),
        ("memberPubkey", &member.to_string()),
        ("role", role),
        ("serial", &serial.to_string()),
    ])
}

/// `claudemesh/join/v1|meshId|memberPubkey|role|expires_at`.
pub(super) fn join_text(mesh: &str, member: PublicKey, role: &str, expires_at: u64) -> Result<String, TrustError> {
    signed_text(&[
        ("version", "claudemesh/join/v1"),
        ("meshId", mesh),
        ("memberPubkey", &member.to_string()),
        ("role", role),
        ("expires_at", &expires_at.to_string()),
    ])
}

/// `claudemesh/removal/v1|meshId|memberPubkey|serial`.
pub(super) fn removal_text(mesh: &str, member: PublicKey, serial: u64) -> Result<String, TrustError> {
    signed_text(&[
        ("version", "claudemesh/removal/v1"),
        ("meshId", mesh),
        ("memberPubkey", &member.to_string()),
        ("serial", &serial.to_string()),
    ])
}

/// `claudemesh/group/v1|meshId|name|serial|` and `open`, or the keys in rising order between commas.
pub(super) fn group_text(
    mesh: &str,
    name: &str,
    serial: u64,
    members: Option<&[PublicKey]>,
) -> Result<String, TrustError> {
    let keys = members.map(|members| {
        let keys: Vec<String> = in_order(members).iter().map(PublicKey::to_string).collect();
        keys.join(",")
    });
    signed_text(&[
        ("version", "claudemesh/group/v1"),
        ("meshId", mesh),
        ("name", name),
        ("serial", &serial.to_string()),
        ("members", keys.as_deref().unwrap_or(OPEN)),
    ])
}

/// Each key once, in rising order: a list has one text.
fn in_order(members: &[PublicKey]) -> Vec<PublicKey> {
    let mut members = members.to_vec();
    members.sort_unstable();
    members.dedup();
    members
}

impl MemberCert {
    /// The issuer says what `member` is in `mesh`. `serial` rises with each statement about the member.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn signed(
        mesh: &str,
        member: PublicKey,
        role: Role,
        serial: u64,
        issuer: &SigningKey,
    ) -> Result<Self, TrustError> {
        let signature = issuer.sign(member_text(mesh, member, role.as_str(), serial)?.as_bytes());
        Ok(Self::Signed { role: role.as_str().to_owned(), serial, issuer: issuer.public(), signature })
    }

    /// The holder of an invite's own key says that `member` joins by it.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn by_invite(
        invite: Invite,
        mesh: &str,
        member: PublicKey,
        invite_key: &SigningKey,
    ) -> Result<Self, TrustError> {
        let text = join_text(mesh, member, &invite.role, invite.expires_at)?;
        Ok(Self::Invite { signature: invite_key.sign(text.as_bytes()), invite })
    }

    /// The role that it gives, as it stands there.
    #[must_use]
    pub fn role(&self) -> &str {
        match self {
            Self::Signed { role, .. } => role,
            Self::Invite { invite, .. } => &invite.role,
        }
    }

    /// Its place among the statements about the member: that of an invite comes before all others.
    #[must_use]
    pub fn serial(&self) -> u64 {
        match self {
            Self::Signed { serial, .. } => *serial,
            Self::Invite { .. } => 0,
        }
    }
}

impl Removal {
    /// The issuer says that `member` is none any more.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(mesh: &str, member: PublicKey, serial: u64, issuer: &SigningKey) -> Result<Self, TrustError> {
        let signature = issuer.sign(removal_text(mesh, member, serial)?.as_bytes());
        Ok(Self { serial, issuer: issuer.public(), signature })
    }

    /// Whether its issuer said so. Whether it may is for [`super::Roll`].
    pub(super) fn verify(&self, mesh: &str, member: PublicKey) -> Result<(), TrustError> {
        self.issuer.verify(removal_text(mesh, member, self.serial)?.as_bytes(), &self.signature)
    }
}

impl GroupList {
    /// The issuer says who belongs to the group; none: everybody may join it again.
    ///
    /// # Errors
    /// [`TrustError::Separator`].
    pub fn sign(
        mesh: &str,
        name: &str,
        serial: u64,
        members: Option<&[PublicKey]>,
        issuer: &SigningKey,
    ) -> Result<Self, TrustError> {
        let signature: Signature = issuer.sign(group_text(mesh, name, serial, members)?.as_bytes());
        let members = members.map(in_order);
        Ok(Self { name: name.to_owned(), serial, members, issuer: issuer.public(), signature })
    }

    /// Whether its issuer said so. Whether it may is for [`super::Roll`].
    pub(super) fn verify(&self, mesh: &str) -> Result<(), TrustError> {
        let text = group_text(mesh, &self.name, self.serial, self.members.as_deref())?;
        self.issuer.verify(text.as_bytes(), &self.signature)
    }
}
