//! Who is in a mesh: sessions, what they say about themselves, and what others are told of it. Pure.
//!
//! **Contract.** A session is known by its address, which belongs to the first member that used it. It has one live
//! presence at most; a socket that drops leaves a *lease* of [`LEASE_MS`], within which its return is silent. Joined,
//! returned and left are told once each, and as figures where many come and go ([`storm`]). Methods say what is to be
//! done in [`Fx`].
//!
//! ```text
//!            enter                    lost
//!  (unknown) ─────► live ◄────────────────────► leased ──(90 s)──► away
//!                    ▲ └──────goodbye──────────────────────────────▲ │
//!                    └───────────────────enter───────────────────────┘
//! ```

mod groups;
mod list;
mod say;
mod storm;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use protocol::identity::PublicKey;
use protocol::wire::{Group, PeerStatus, Profile};
use serde_json::{Value, json};

use super::mail::{Address, PresenceId};
use super::peer::{About, Kind};
use crate::store::{MemberId, UtcMs};
pub use groups::GroupLists;
pub use say::{Say, SayError, named};
use storm::{Storm, Turn};

/// How long a session's place is kept after its socket dropped.
pub const LEASE_MS: i64 = 90_000;
/// `working` that is not renewed is `idle` after this.
pub const WORKING_LAPSES_MS: i64 = 10 * 60_000;
/// A member that was away for longer is in no open group.
pub const GROUPS_KEPT_MS: i64 = 7 * 24 * 3_600_000;
/// Sessions of one member that are here or expected back; then the oldest lease ends early.
pub const MAX_PRESENT_PER_MEMBER: usize = 500;
/// Sessions of one member that are remembered; the longest away is forgotten first.
pub const MAX_SESSIONS_PER_MEMBER: usize = 1_000;

/// A session, here or not.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its mailbox.
    pub address: Address,
    /// The key that others are shown: its own, or the member's for a client without one.
    pub shown: PublicKey,
    /// The member's id.
    pub member: MemberId,
    /// The client's id of it.
    pub session_id: String,
    /// What kind of client.
    pub kind: Kind,
    /// What it calls itself.
    pub name: String,
    /// The groups it says it is in.
    pub groups: Vec<Group>,
    /// What it says it does.
    pub summary: Option<String>,
    /// As it sent it.
    pub profile: Option<Profile>,
    /// As it sent them.
    pub stats: Option<Value>,
    /// Whether others find it in their lists.
    pub visible: bool,
    /// What it is doing.
    pub status: PeerStatus,
    /// Since when.
    pub status_at: UtcMs,
    /// Whether it is here.
    pub life: Life,
    /// Its client opens messages of groups.
    pub e2e: bool,
    /// The rest of its last hello.
    pub about: Arc<About>,
    /// When it first came.
    pub first_seen: UtcMs,
    /// When it was here last.
    pub last_seen: UtcMs,
}

/// Whether a session is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It has a socket.
    Live(PresenceId),
    /// Its socket dropped; it is expected back.
    Leased {
        /// Until then.
        until: UtcMs,
    },
    /// It is gone, or it is one that never shows.
    Away,
}

impl Session {
    /// Whether it is here, or expected back.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.life != Life::Away
    }

    /// Goes on with what an earlier life of it said; a hello that names groups has them, and no others.
    pub fn take_back(&mut self, before: &Self) -> Restored {
        if self.groups.is_empty() {
            self.groups.clone_from(&before.groups);
        }
        self.summary.clone_from(&before.summary);
        self.profile.clone_from(&before.profile);
        self.stats.clone_from(&before.stats);
        self.visible = before.visible;
        self.first_seen = before.first_seen;
        Restored {
            summary: before.summary.clone(),
            last_seen: before.last_seen,
            groups: before.groups.clone(),
            stats: before.stats.clone(),
        }
    }

    /// Its socket.
    #[must_use]
    pub fn presence(&self) -> Option<&PresenceId> {
        match &self.life {
            Life::Live(presence) => Some(presence),
            Life::Leased { .. } | Life::Away => None,
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Fx {
    /// Tell these of something that happened. Not durable.
    Tell {
        /// Whom.
        to: Vec<PresenceId>,
        /// What.
        event: &'static str,
        /// Its data.
        data: Value,
    },
    /// End this socket, for this reason.
    End(PresenceId, &'static str),
    /// Write this session down as it is now.
    Write(Address),
    /// Its status changed.
    Gate {
        /// Whose.
        presence: PresenceId,
        /// `next` and `low` may come.
        idle: bool,
    },
    /// The groups or the like of a live session changed.
    Changed(PresenceId),
}

/// What a session gets back of an earlier life.
#[derive(Debug, Clone, PartialEq)]
pub struct Restored {
    /// What it said it did.
    pub summary: Option<String>,
    /// When it was here last.
    pub last_seen: UtcMs,
    /// The groups it was in.
    pub groups: Vec<Group>,
    /// Its figures.
    pub stats: Option<Value>,
}

/// Everybody of one mesh.
#[derive(Debug, Default)]
pub struct Roster {
    sessions: HashMap<Address, Session>,
    presences: HashMap<PresenceId, Address>,
    of_member: HashMap<MemberId, Vec<Address>>,
    live: usize,
    storm: Storm,
    fx: Vec<Fx>,
}

impl Roster {
    /// With what the store knows. Those that were here when the last broker ended are expected back.
    pub fn recall(sessions: impl IntoIterator<Item = Session>) -> Self {
        let mut roster = Self::default();
        for session in sessions {
            roster.put(session);
        }
        roster
    }

    /// What is to be done since the last time.
    pub fn take_fx(&mut self) -> Vec<Fx> {
        std::mem::take(&mut self.fx)
    }

    /// The session at an address.
    #[must_use]
    pub fn get(&self, address: &Address) -> Option<&Session> {
        self.sessions.get(address)
    }

    /// Sessions with a socket.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Those that are here, or expected back.
    pub fn present(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(|session| session.is_present())
    }

    /// Members with a session that is known.
    pub fn members(&self) -> impl Iterator<Item = MemberId> {
        self.of_member.keys().cloned()
    }

    /// All sessions of a member, those that are away too.
    pub fn sessions_of(&self, member: &MemberId) -> impl Iterator<Item = &Session> {
        self.of_member.get(member).into_iter().flatten().filter_map(|address| self.sessions.get(address))
    }

    /// A session as it would be if it entered now: with what it gets back of an earlier life, and that.
    #[must_use]
    pub fn welcome(&self, mut session: Session) -> (Session, Option<Restored>) {
        let same_id = |other: &&Session| other.session_id == session.session_id && other.life == Life::Away;
        let before = self
            .sessions
            .get(&session.address)
            .or_else(|| self.sessions_of(&session.member).filter(same_id).max_by_key(|other| other.last_seen));
        let Some(before) = before.filter(|before| before.kind == session.kind) else { return (session, None) };
        if before.is_present() {
            (session.status, session.status_at) = (before.status, before.status_at);
        }
        let restored = session.take_back(before);
        (session, Some(restored))
    }

    /// A session is here. `presence` is `None` for a client that never shows.
    pub fn enter(&mut self, mut session: Session, presence: Option<PresenceId>, now: UtcMs) {
        let (address, before) = (session.address, self.sessions.get(&session.address));
        let was = before.map(|before| before.life.clone());
        let last_seen = before.map(|before| before.last_seen);
        session.last_seen = now;
        session.life = presence.clone().map_or(Life::Away, Life::Live);
        if let Some(Life::Live(old)) = &was {
            self.presences.remove(old);
            self.live = self.live.saturating_sub(1);
            if presence.as_ref() != Some(old) {
                self.fx.push(Fx::End(Arc::clone(old), "the session has connected again"));
            }
        }
        let returned = last_seen.is_some();
        self.put(session);
        let Some(presence) = presence else { return };
        self.presences.insert(presence, address);
        self.live += 1;
        self.bound_leases(address, now);
        if was.is_none_or(|life| life == Life::Away) {
            self.came(address, returned.then_some(last_seen.unwrap_or(now)), now);
        }
    }

    /// A socket is gone: dropped, or with a goodbye.
    pub fn lost(&mut self, presence: &PresenceId, goodbye: bool, now: UtcMs) {
        let Some(address) = self.presences.remove(presence) else { return };
        let Some(session) = self.sessions.get_mut(&address) else { return };
        self.live = self.live.saturating_sub(1);
        session.last_seen = now;
        if goodbye {
            self.left(address, now);
        } else {
            session.life = Life::Leased { until: now.plus_ms(LEASE_MS) };
        }
    }

    /// A member is none any more: its sessions are gone, at once. Says which they were.
    pub fn forget_member(&mut self, member: &MemberId, now: UtcMs) -> Vec<Address> {
        let addresses = self.of_member.remove(member).unwrap_or_default();
        for address in &addresses {
            let Some(session) = self.sessions.get(address) else { continue };
            if let Life::Live(presence) = session.life.clone() {
                self.presences.remove(&presence);
                self.live = self.live.saturating_sub(1);
                self.fx.push(Fx::End(presence, "removed from the mesh"));
            }
            if self.sessions.get(address).is_some_and(Session::is_present) {
                self.left(*address, now);
            }
            self.sessions.remove(address);
        }
        addresses
    }

    /// Time passes: leases end, `working` lapses, figures of a storm are told.
    pub fn tick(&mut self, now: UtcMs) {
        let over = |session: &&Session| matches!(session.life, Life::Leased { until } if until <= now);
        let ended: Vec<Address> = self.sessions.values().filter(over).map(|session| session.address).collect();
        for address in ended {
            self.left(address, now);
        }
        for session in self.sessions.values_mut() {
            let age = now.as_ms().saturating_sub(session.status_at.as_ms());
            if session.status == PeerStatus::Working && age >= WORKING_LAPSES_MS {
                session.status = PeerStatus::Idle;
                session.status_at = now;
                if let Life::Live(presence) = &session.life {
                    self.fx.push(Fx::Gate { presence: Arc::clone(presence), idle: true });
                }
            }
        }
        if let Some((joined, left)) = self.storm.flush(now) {
            let to = self.others(None);
            self.tell(to, "peers_changed", json!({ "joined": joined, "left": left }));
        }
    }

    fn put(&mut self, session: Session) {
        let (address, member) = (session.address, session.member.clone());
        if self.sessions.insert(address, session).is_none() {
            self.of_member.entry(member.clone()).or_default().push(address);
            self.bound(&member);
        }
    }

    /// A member cannot keep more places than it may have connections: the oldest lease ends.
    fn bound_leases(&mut self, newest: Address, now: UtcMs) {
        let Some(member) = self.sessions.get(&newest).map(|session| session.member.clone()) else { return };
        let present = self.sessions_of(&member).filter(|session| session.is_present());
        let (mut count, mut oldest) = (0, None);
        for session in present {
            count += 1;
            if let Life::Leased { until } = session.life
                && oldest.is_none_or(|(least, _)| until < least)
            {
                oldest = Some((until, session.address));
            }
        }
        if let Some((_, address)) = oldest.filter(|_| count > MAX_PRESENT_PER_MEMBER) {
            self.left(address, now);
        }
    }

    /// Forgets a member's session that was away longest; the store still knows whose its key is.
    fn bound(&mut self, member: &MemberId) {
        let Some(addresses) = self.of_member.get_mut(member) else { return };
        if addresses.len() <= MAX_SESSIONS_PER_MEMBER {
            return;
        }
        let away = |address: &&Address| self.sessions.get(*address).is_some_and(|session| !session.is_present());
        let last_seen = |address: &&Address| self.sessions.get(*address).map(|session| session.last_seen);
        let Some(oldest) = addresses.iter().filter(away).min_by_key(last_seen).copied() else { return };
        addresses.retain(|address| *address != oldest);
        self.sessions.remove(&oldest);
    }

    fn came(&mut self, address: Address, last_seen: Option<UtcMs>, now: UtcMs) {
        let live = self.live;
        let Some(session) = self.sessions.get(&address).filter(|session| session.visible) else { return };
        if self.storm.joined(live, now) == Turn::Counted {
            return;
        }
        let groups: Vec<&str> = session.groups.iter().map(|group| group.name.as_str()).collect();
        let (name, pubkey) = (&session.name, session.shown);
        let (event, data) = match last_seen {
            None => ("peer_joined", json!({ "name": name, "pubkey": pubkey, "groups": groups })),
            Some(at) => {
                let (last_seen, summary) = (at.to_string(), &session.summary);
                let data = json!({ "name": name, "pubkey": pubkey, "groups": groups, "lastSeenAt": last_seen, "summary": summary });
                ("peer_returned", data)
            }
        };
        let to = self.others(Some(address));
        self.tell(to, event, data);
    }

    fn left(&mut self, address: Address, now: UtcMs) {
        let live = self.live;
        let Some(session) = self.sessions.get_mut(&address) else { return };
        session.life = Life::Away;
        session.status = PeerStatus::Idle;
        self.fx.push(Fx::Write(address));
        if !session.visible || self.storm.left(live, now) == Turn::Counted {
            return;
        }
        let data = json!({ "name": session.name, "pubkey": session.shown });
        let to = self.others(Some(address));
        self.tell(to, "peer_left", data);
    }

    /// The sockets of all but one.
    fn others(&self, but: Option<Address>) -> Vec<PresenceId> {
        let mut others: Vec<_> = self
            .presences
            .iter()
            .filter(|(_, address)| but != Some(**address))
            .map(|(presence, _)| Arc::clone(presence))
            .collect();
        others.sort();
        others
    }

    fn tell(&mut self, to: Vec<PresenceId>, event: &'static str, data: Value) {
        if !to.is_empty() {
            self.fx.push(Fx::Tell { to, event, data });
        }
    }
}
