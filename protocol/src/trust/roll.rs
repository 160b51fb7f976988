//! Who is what in a mesh, and who may say so.
//!
//! | statement | counts when it is signed by |
//! |---|---|
//! | certificate of any role | the owner's key |
//! | certificate of an admin or a member | the key of an invite that the owner signed, in the invite's role |
//! | certificate of a member | an admin |
//! | removal | the owner's key, the member itself; of a plain member also one that is or was an admin |
//! | group list | the owner's key, an admin |
//!
//! An admin is a member whose certificate as `admin` or `owner` comes from the owner's key or an invite of it; so an
//! admin's word never makes another admin. Of the statements about a member the one with the highest serial counts, and
//! a removal before a certificate of the same one. What a removed admin said of others is not believed any more, except
//! that somebody is gone: forgetting a removal would let somebody in.

use std::collections::BTreeMap;

use super::statement::member_text;
use super::{GroupList, Invite, MemberCert, Removal, Role};
use crate::identity::{PublicKey, Signature, TrustError};
use crate::wire::MemberEntry;

/// Why a statement is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Its signature does not hold, or its text cannot be.
    #[error("{0}")]
    Signature(#[from] TrustError),
    /// Whoever signed it may not say so.
    #[error("whoever signed it may not say so")]
    Issuer,
    /// It gives a role that there is not, or that an invite cannot give.
    #[error("it gives a role that it cannot give")]
    Role,
    /// The invite is of another mesh, or of another owner.
    #[error("its invite is another mesh's")]
    ForeignInvite,
    /// The invite has no key that could have signed.
    #[error("its invite has no key of its own")]
    NoInviteKey,
}

/// What a member is, as far as it can be told without believing the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Vouched for, up to the owner's key.
    Verified(Role),
    /// Joined by a plain link: nobody has vouched for it yet.
    Unattested,
    /// What vouches for it does not hold.
    Unverified(Doubt),
    /// No member any more.
    Removed,
}

/// A member on the roll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollEntry {
    /// The broker's id of it.
    pub member_id: String,
    /// Its key.
    pub pubkey: PublicKey,
    /// What the broker says it is called; proves nothing.
    pub name: String,
    /// What it is.
    pub standing: Standing,
    /// Of the highest statement about it that counts; 0 without one.
    pub serial: u64,
}

/// What a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStanding {
    /// Everybody may join it. `serial` is that of the list that opened it again; none if it never had one.
    Open {
        /// Of the list.
        serial: Option<u64>,
    },
    /// These belong to it, in rising order.
    Restricted {
        /// Of the list.
        serial: u64,
        /// Their keys.
        members: Vec<PublicKey>,
    },
    /// It has a list, and none that counts: nobody is known to belong to it.
    Unverified(Doubt),
}

/// The members and groups of a mesh, judged.
#[derive(Clone, Debug)]
pub struct Roll {
    mesh_id: String,
    owner: PublicKey,
    /// Admins and the owner's other keys, and whether they still are.
    admins: BTreeMap<PublicKey, bool>,
    members: BTreeMap<PublicKey, RollEntry>,
    groups: BTreeMap<String, GroupStanding>,
}

impl Roll {
    /// Judges what a broker tells about its members. `owner` is the caller's own copy of the owner's key.
    #[must_use]
    pub fn new(mesh_id: &str, owner: PublicKey, members: &[MemberEntry], groups: &[GroupList]) -> Self {
        let mut roll = Self {
            mesh_id: mesh_id.to_owned(),
            owner,
            admins: BTreeMap::from([(owner, true)]),
            members: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        // First those that only the owner can make, since the others rest on them.
        let admins: Vec<_> = members.iter().filter_map(|entry| roll.as_admin(entry)).collect();
        for (key, present) in admins {
            // Listed twice, as an admin and as removed, it is removed.
            roll.admins.entry(key).and_modify(|known| *known &= present).or_insert(present);
        }
        for entry in members {
            let judged = roll.judge(entry);
            let kept = roll.members.remove(&entry.pubkey).map_or(judged.clone(), |other| stricter(other, judged));
            roll.members.insert(entry.pubkey, kept);
        }
        for list in groups {
            roll.take_group(list);
        }
        roll
    }

    /// The owner's key.
    #[must_use]
    pub const fn owner(&self) -> PublicKey {
        self.owner
    }

    /// Everybody, those that are gone included, in the order of keys.
    pub fn members(&self) -> impl Iterator<Item = &RollEntry> {
        self.members.values()
    }

    /// A member; none if the broker told of no such key.
    #[must_use]
    pub fn member(&self, key: &PublicKey) -> Option<&RollEntry> {
        self.members.get(key)
    }

    /// A group. `name` comes without `@`.
    #[must_use]
    pub fn group(&self, name: &str) -> GroupStanding {
        self.groups.get(name).cloned().unwrap_or(GroupStanding::Open { serial: None })
    }

    /// Every group that ever had a list, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &GroupStanding)> {
        self.groups.iter().map(|(name, group)| (name.as_str(), group))
    }

    /// The role that a certificate gives to `member`, if it counts. Serials are compared by the caller.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn check_certificate(&self, member: PublicKey, certificate: &MemberCert) -> Result<Role, Doubt> {
        match certificate {
            MemberCert::Signed { role, serial, issuer, signature } => {
                self.check_signed(member, role, *serial, *issuer, signature)
            }
            MemberCert::Invite { invite, signature } => self.check_by_invite(member, invite, signature),
        }
    }

    /// Whether a removal of `member` counts. Serials are compared by the caller.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn check_removal(&self, member: PublicKey, removal: &Removal) -> Result<(), Doubt> {
        removal.verify(&self.mesh_id, member)?;
        let by_itself_or_owner = removal.issuer == self.owner || removal.issuer == member;
        // Who once was an admin could remove plain members then, and nothing tells when.
        let by_admin = self.admins.contains_key(&removal.issuer) && !self.admins.contains_key(&member);
        if by_itself_or_owner || by_admin { Ok(()) } else { Err(Doubt::Issuer) }
    }

    /// Whether a group's list counts. Serials are compared by the caller.
    ///
    /// # Errors
    /// [`Doubt`].
    pub fn check_group(&self, list: &GroupList) -> Result<(), Doubt> {
        list.verify(&self.mesh_id)?;
        if self.is_admin(&list.issuer) { Ok(()) } else { Err(Doubt::Issuer) }
    }

    fn is_admin(&self, key: &PublicKey) -> bool {
        self.admins.get(key).copied().unwrap_or(false)
    }

    /// An admin or one of the owner's keys, and whether it still is: what only the owner's word can make and unmake.
    fn as_admin(&self, entry: &MemberEntry) -> Option<(PublicKey, bool)> {
        let certificate = entry.certificate.as_ref()?;
        let by_owner = match certificate {
            MemberCert::Signed { issuer, .. } => *issuer == self.owner,
            MemberCert::Invite { .. } => true,
        };
        if !by_owner || self.check_certificate(entry.pubkey, certificate).ok()? < Role::Admin {
            return None;
        }
        let gone = entry.removed_at.is_some()
            || entry.removal.as_ref().is_some_and(|removal| {
                let by_whom = removal.issuer == self.owner || removal.issuer == entry.pubkey;
                let holds = by_whom && removal.verify(&self.mesh_id, entry.pubkey).is_ok();
                holds && removal.serial >= certificate.serial()
            });
        Some((entry.pubkey, !gone))
    }

    fn check_signed(
        &self,
        member: PublicKey,
        role: &str,
        serial: u64,
        issuer: PublicKey,
        signature: &Signature,
    ) -> Result<Role, Doubt> {
        issuer.verify(member_text(&self.mesh_id, member, role, serial)?.as_bytes(), signature)?;
        let role: Role = role.parse().map_err(|_| Doubt::Role)?;
        if issuer == self.owner {
            return Ok(role);
        }
        match (self.is_admin(&issuer), role) {
            (true, Role::Member) => Ok(role),
            (true, Role::Admin | Role::Owner) => Err(Doubt::Role),
            (false, _) => Err(Doubt::Issuer),
        }
    }

    fn check_by_invite(&self, member: PublicKey, invite: &Invite, signature: &Signature) -> Result<Role, Doubt> {
        if invite.mesh_id != self.mesh_id || invite.owner_pubkey != self.owner {
            return Err(Doubt::ForeignInvite);
        }
        invite.verify_signature()?;
        let key = invite.invite_key().ok_or(Doubt::NoInviteKey)?;
        invite.verify_join(&key, member, signature)?;
        match invite.role.parse() {
            Ok(role @ (Role::Member | Role::Admin)) => Ok(role),
            Ok(Role::Owner) | Err(_) => Err(Doubt::Role),
        }
    }

    fn judge(&self, entry: &MemberEntry) -> RollEntry {
        let certified = entry.certificate.as_ref().map(|certificate| {
            self.check_certificate(entry.pubkey, certificate).map(|role| (role, certificate.serial()))
        });
        let removed = entry.removal.as_ref().filter(|removal| self.check_removal(entry.pubkey, removal).is_ok());
        let serial = match &certified {
            Some(Ok((_, serial))) => *serial,
            _ => 0,
        };
        let (standing, serial) = match (certified, removed) {
            (_, Some(removal)) if removal.serial >= serial => (Standing::Removed, removal.serial),
            // The broker's word is enough for this: it could leave the member out as well.
            _ if entry.removed_at.is_some() => (Standing::Removed, serial),
            _ if entry.pubkey == self.owner => (Standing::Verified(Role::Owner), serial),
            (Some(Ok((role, serial))), _) => (Standing::Verified(role), serial),
            (Some(Err(doubt)), _) => (Standing::Unverified(doubt), 0),
            (None, _) => (Standing::Unattested, 0),
        };
        let (member_id, name) = (entry.member_id.clone(), entry.display_name.clone());
        RollEntry { member_id, pubkey: entry.pubkey, name, standing, serial }
    }

    fn take_group(&mut self, list: &GroupList) {
        let verdict = match self.check_group(list) {
            Err(doubt) => GroupStanding::Unverified(doubt),
            Ok(()) => match &list.members {
                None => GroupStanding::Open { serial: Some(list.serial) },
                Some(members) => {
                    let mut members = members.clone();
                    members.sort_unstable();
                    members.dedup();
                    GroupStanding::Restricted { serial: list.serial, members }
                }
            },
        };
        let known = self.groups.get(&list.name).and_then(GroupStanding::serial);
        if !self.groups.contains_key(&list.name) || verdict.serial() > known {
            self.groups.insert(list.name.clone(), verdict);
        }
    }
}

impl GroupStanding {
    /// Of the list that counts.
    #[must_use]
    pub const fn serial(&self) -> Option<u64> {
        match self {
            Self::Open { serial } => *serial,
            Self::Restricted { serial, .. } => Some(*serial),
            Self::Unverified(_) => None,
        }
    }
}

/// Of two entries for one key: what is gone stays gone, then the later statement, then the earlier entry.
fn stricter(one: RollEntry, other: RollEntry) -> RollEntry {
    let gone = |entry: &RollEntry| entry.standing == Standing::Removed;
    let other_counts = match (gone(&one), gone(&other)) {
        (true, _) => false,
        (false, true) => true,
        (false, false) => other.serial > one.serial,
    };
    if other_counts { other } else { one }
}
