//! Who is in a group: those that say so, or those that its list names.

use std::collections::{HashMap, HashSet};

use super::{GROUPS_KEPT_MS, Roster, Session};
use crate::store::{MemberId, UtcMs};

/// The groups that not everybody may join: their members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupLists(pub HashMap<String, HashSet<MemberId>>);

impl GroupLists {
    /// The list of a restricted group; `None` for an open one.
    #[must_use]
    pub fn of(&self, group: &str) -> Option<&HashSet<MemberId>> {
        self.0.get(group)
    }

    /// Whether a member may be in a group.
    #[must_use]
    pub fn admits(&self, group: &str, member: &MemberId) -> bool {
        self.of(group).is_none_or(|list| list.contains(member))
    }

    /// The groups that a session is in: the open ones that it says, and the restricted ones that list its member.
    #[must_use]
    pub fn of_session(&self, session: &Session) -> Vec<String> {
        let said = session.groups.iter().map(|group| &group.name).filter(|name| self.of(name).is_none());
        let listed = self.0.iter().filter(|(_, list)| list.contains(&session.member)).map(|(name, _)| name);
        said.chain(listed).cloned().collect()
    }

    /// Whether a session is in a group.
    #[must_use]
    pub fn has(&self, group: &str, session: &Session) -> bool {
        match self.of(group) {
            Some(list) => list.contains(&session.member),
            None => session.groups.iter().any(|said| said.name == group),
        }
    }
}

impl Roster {
    /// Whether a member that is away is in a group: listed, or in it with its last session not long ago.
    #[must_use]
    pub fn absent_in(&self, group: &str, member: &MemberId, lists: &GroupLists, now: UtcMs) -> bool {
        match lists.of(group) {
            Some(list) => list.contains(member),
            None => self.last_of(member).is_some_and(|last| {
                let ago = now.as_ms().saturating_sub(last.last_seen.as_ms());
                ago <= GROUPS_KEPT_MS && lists.has(group, last)
            }),
        }
    }

    /// A member's session that was here last.
    #[must_use]
    pub fn last_of(&self, member: &MemberId) -> Option<&Session> {
        let of_kind = |session: &&Session| session.kind == crate::mesh::peer::Kind::Session;
        self.sessions_of(member).filter(of_kind).max_by_key(|session| session.last_seen)
    }

    /// Every group that somebody is in, restricted ones included; sorted.
    #[must_use]
    pub fn groups(&self, lists: &GroupLists) -> Vec<String> {
        let said = self.present().flat_map(|session| session.groups.iter().map(|group| group.name.clone()));
        let mut names: Vec<String> = said.chain(lists.0.keys().cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
