//! Which servers peers host, and which calls wait for their answers.
//!
//! Pure: the time is passed in, effects are the caller's. A name belongs to the member that registered it for as long as
//! it is held: while its host is here, for a moment after it left, and beyond that if it asked for it.
//!
//! ```text
//! register ──▶ online ──host leaves──▶ offline ──register──▶ online (restored)
//!                 │                       └─ lease over, not persistent ─▶ gone
//!                 └─ unregister, or a goodbye of one that is not persistent ─▶ gone
//! ```

use std::collections::{BTreeMap, HashMap};

use protocol::link::Tool;

use crate::mesh::mail::PresenceId;
use crate::mesh::roster::LEASE_MS;
use crate::store::UtcMs;

/// Servers that one member hosts.
pub const MAX_PER_MEMBER: usize = 20;
/// Servers that the peers of a mesh host.
pub const MAX_SERVERS: usize = 256;
/// Tools of one.
pub const MAX_TOOLS: usize = 512;
/// Bytes of their list.
pub const MAX_TOOLS_BYTES: usize = 1024 * 1024;
/// Bytes of a description.
pub const MAX_DESCRIPTION_BYTES: usize = 1024;
/// Calls of one session that wait for hosts.
pub const MAX_CALLS_PER_CALLER: usize = 64;
/// Of one member, whatever its sessions.
pub const MAX_CALLS_PER_MEMBER: usize = 256;
/// Calls of a mesh that wait for hosts.
pub const MAX_CALLS: usize = 1_024;

/// A call's id, as its host is told it.
pub type CallId = String;

/// Who hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its connection.
    pub presence: PresenceId,
    /// Its member's id.
    pub member: String,
    /// What it calls itself.
    pub name: String,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its connection.
    pub presence: PresenceId,
    /// Its member's id.
    pub member: String,
}

/// What a host says of its server.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer {
    /// For people and models.
    pub description: String,
    /// What it offers.
    pub tools: Vec<Tool>,
    /// Bytes of their list.
    pub tools_bytes: usize,
    /// Its name is kept for as long as the mesh runs.
    pub persistent: bool,
}

/// A hosted server.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Who hosts it, or did last.
    pub host: Host,
    /// What it offers.
    pub offer: Offer,
    /// Since when its host is away.
    pub offline_since: Option<UtcMs>,
}

/// What a registration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The name is new.
    New,
    /// Its host was away.
    Restored,
    /// It offers other things than before.
    Renewed,
}

/// Why a registration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// Somebody has the name.
    #[error("the name is taken in this mesh")]
    Taken,
    /// The member hosts many already.
    #[error("limit: a member hosts at most {MAX_PER_MEMBER} servers")]
    Member,
    /// The mesh has many already.
    #[error("limit: the peers of a mesh host at most {MAX_SERVERS} servers")]
    Mesh,
}

/// Why a call is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such server.
    #[error("no peer hosts a server of this name")]
    Unknown,
    /// Its host is away.
    #[error("the peer that hosts it is not here")]
    Away,
    /// The caller has many under way.
    #[error("limit: {MAX_CALLS_PER_CALLER} calls of this session wait for peers")]
    Caller,
    /// Its member has many under way.
    #[error("limit: {MAX_CALLS_PER_MEMBER} calls of this member wait for peers")]
    Member,
    /// The mesh has many under way.
    #[error("limit: {MAX_CALLS} calls of this mesh wait for peers")]
    Mesh,
}

#[derive(Debug, Clone, PartialEq)]
struct Call {
    server: String,
    host: PresenceId,
    caller: Caller,
    deadline: UtcMs,
}

/// What ended: calls that get no answer, and servers that are gone.
#[derive(Debug, Default, PartialEq)]
pub struct Ended {
    /// The calls.
    pub calls: Vec<CallId>,
    /// Name and last state of the servers.
    pub servers: Vec<(String, Server)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    servers: BTreeMap<String, Server>,
    calls: HashMap<CallId, Call>,
}

impl State {
    /// Every server, by name.
    pub fn servers(&self) -> impl Iterator<Item = (&String, &Server)> {
        self.servers.iter()
    }

    /// One server.
    #[must_use]
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.get(name)
    }

    /// A host offers a server.
    ///
    /// # Errors
    /// [`RegisterError`]; then nothing has changed.
    pub fn register(&mut self, name: &str, host: Host, offer: Offer) -> Result<Registered, RegisterError> {
        let registered = match self.servers.get(name) {
            None => {
                let own = self.servers.values().filter(|server| server.host.member == host.member).count();
                if own >= MAX_PER_MEMBER {
                    return Err(RegisterError::Member);
                }
                if self.servers.len() >= MAX_SERVERS {
                    return Err(RegisterError::Mesh);
                }
                Registered::New
            }
            Some(known) if known.host.member != host.member => return Err(RegisterError::Taken),
            Some(known) if known.offline_since.is_some() => Registered::Restored,
            Some(known) if known.host.presence == host.presence => Registered::Renewed,
            Some(_) => return Err(RegisterError::Taken),
        };
        self.servers.insert(name.to_owned(), Server { host, offer, offline_since: None });
        Ok(registered)
    }

    /// A host gives a server of its own up; none when it has no such server.
    pub fn unregister(&mut self, name: &str, host: &PresenceId) -> Option<Ended> {
        let server = self.servers.get(name).filter(|server| server.host.presence == *host)?.clone();
        self.servers.remove(name);
        let calls = self.calls.iter().filter(|(_, call)| call.server == name).map(|(id, _)| id.clone()).collect();
        self.calls.retain(|_, call| call.server != name);
        Some(Ended { calls, servers: vec![(name.to_owned(), server)] })
    }

    /// A connection is gone: what waits for its answer gets none, and what it waited for nobody wants any more.
    pub fn left(&mut self, presence: &PresenceId, goodbye: bool, now: UtcMs) -> Ended {
        let mut ended = Ended::default();
        ended.calls.extend(self.calls.iter().filter(|(_, call)| call.host == *presence).map(|(id, _)| id.clone()));
        self.calls.retain(|_, call| call.host != *presence && call.caller.presence != *presence);
        for server in self.servers.values_mut().filter(|server| server.host.presence == *presence) {
            server.offline_since.get_or_insert(now);
        }
        if goodbye {
            let gone = |server: &Server| server.host.presence == *presence && !server.offer.persistent;
            ended.servers = self.drop_servers(gone);
        }
        ended
    }

    /// A member is one no more: nothing of it is kept.
    pub fn removed(&mut self, member: &str) -> Ended {
        Ended { calls: Vec::new(), servers: self.drop_servers(|server| server.host.member == member) }
    }

    fn drop_servers(&mut self, is_gone: impl Fn(&Server) -> bool) -> Vec<(String, Server)> {
        let gone = self.servers.iter().filter(|(_, server)| is_gone(server));
        let gone: Vec<_> = gone.map(|(name, server)| (name.clone(), server.clone())).collect();
        self.servers.retain(|_, server| !is_gone(server));
        gone
    }

    /// A call for a server; to whom it goes.
    ///
    /// # Errors
    /// [`CallError`]; then nothing has changed.
    pub fn call(&mut self, name: &str, id: CallId, caller: Caller, deadline: UtcMs) -> Result<PresenceId, CallError> {
        let server = self.servers.get(name).ok_or(CallError::Unknown)?;
        if server.offline_since.is_some() {
            return Err(CallError::Away);
        }
        let of =
            |is_theirs: &dyn Fn(&Caller) -> bool| self.calls.values().filter(|call| is_theirs(&call.caller)).count();
        if of(&|other| other.presence == caller.presence) >= MAX_CALLS_PER_CALLER {
            return Err(CallError::Caller);
        }
        if of(&|other| other.member == caller.member) >= MAX_CALLS_PER_MEMBER {
            return Err(CallError::Member);
        }
        if self.calls.len() >= MAX_CALLS {
            return Err(CallError::Mesh);
        }
        let host = server.host.presence.clone();
        self.calls.insert(id, Call { server: name.to_owned(), host: host.clone(), caller, deadline });
        Ok(host)
    }

    /// Whether this is the one answer to a call, by the peer that was asked.
    pub fn answered(&mut self, id: &str, by: &PresenceId) -> bool {
        let is_theirs = self.calls.get(id).is_some_and(|call| call.host == *by);
        is_theirs && self.calls.remove(id).is_some()
    }

    /// Nobody waits for a call any longer; whether it was under way.
    pub fn cancelled(&mut self, id: &str) -> bool {
        self.calls.remove(id).is_some()
    }

    /// What time has ended.
    pub fn tick(&mut self, now: UtcMs) -> Ended {
        let calls: Vec<_> =
            self.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| id.clone()).collect();
        self.calls.retain(|_, call| call.deadline > now);
        let over = |since: UtcMs| now.as_ms().saturating_sub(since.as_ms()) >= LEASE_MS;
        let servers = self.drop_servers(|server| !server.offer.persistent && server.offline_since.is_some_and(over));
        Ended { calls, servers }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn host(presence: &str, member: &str) -> Host {
        Host { presence: presence.into(), member: member.to_owned(), name: member.to_owned() }
    }

    fn offer(persistent: bool) -> Offer {
        Offer { description: String::new(), tools: Vec::new(), tools_bytes: 0, persistent }
    }

    fn at(ms: i64) -> UtcMs {
        UtcMs::from_ms(ms)
    }

    fn of(member: &str, presence: &str) -> Caller {
        Caller { presence: presence.into(), member: member.to_owned() }
    }

    fn p(id: &str) -> PresenceId {
        id.into()
    }

    #[test]
    fn a_name_is_its_members_and_of_one_connection_at_a_time() {
        let mut state = State::default();
        assert_eq!(state.register("desk", host("p1", "a"), offer(false)), Ok(Registered::New));
        assert_eq!(state.register("desk", host("p1", "a"), offer(false)), Ok(Registered::Renewed));
        assert_eq!(state.register("desk", host("p2", "a"), offer(false)), Err(RegisterError::Taken));
        assert_eq!(state.register("desk", host("p3", "b"), offer(false)), Err(RegisterError::Taken));
        assert_eq!(state.unregister("desk", &p("p3")), None, "not another's to give up");
        state.left(&p("p1"), false, at(0));
        assert_eq!(state.register("desk", host("p3", "b"), offer(false)), Err(RegisterError::Taken), "held");
        assert_eq!(state.register("desk", host("p4", "a"), offer(false)), Ok(Registered::Restored));
    }

    #[test]
    fn what_left_is_held_for_its_lease_and_longer_if_it_asked_for_it() {
        let mut state = State::default();
        for (name, persistent) in [("brief", false), ("long", true)] {
            state.register(name, host("p1", "a"), offer(persistent)).unwrap();
        }
        state.left(&p("p1"), false, at(1_000));
        assert_eq!(state.tick(at(1_000 + LEASE_MS - 1)), Ended::default());
        let gone = state.tick(at(1_000 + LEASE_MS));
        assert_eq!(gone.servers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["brief"]);
        assert_eq!(state.server("long").unwrap().offline_since, Some(at(1_000)));
        assert_eq!(state.removed("a").servers.len(), 1);
        // A goodbye is no accident.
        state.register("brief", host("p1", "a"), offer(false)).unwrap();
        assert_eq!(state.left(&p("p1"), true, at(0)).servers.len(), 1);
    }

    #[test]
    fn a_call_has_one_answer_of_the_peer_that_was_asked() {
        let mut state = State::default();
        state.register("desk", host("p1", "a"), offer(false)).unwrap();
        assert_eq!(state.call("none", "c0".into(), of("q", "q"), at(9)), Err(CallError::Unknown));
        assert_eq!(state.call("desk", "c1".into(), of("q", "q"), at(9)), Ok(p("p1")));
        assert!(!state.answered("c1", &p("q")), "not by the caller");
        assert!(!state.answered("c1", &p("p2")), "not by another peer");
        assert!(state.answered("c1", &p("p1")));
        assert!(!state.answered("c1", &p("p1")), "once");
        state.call("desk", "c2".into(), of("q", "q"), at(9)).unwrap();
        assert_eq!(state.tick(at(8)).calls.len(), 0);
        assert_eq!(state.tick(at(9)).calls, ["c2"]);
        assert!(!state.answered("c2", &p("p1")), "too late");
        state.call("desk", "c3".into(), of("q", "q"), at(99)).unwrap();
        assert_eq!(state.left(&p("p1"), false, at(10)).calls, ["c3"], "at once");
        assert_eq!(state.call("desk", "c4".into(), of("q", "q"), at(99)), Err(CallError::Away));
    }

    #[test]
    fn h50_the_sessions_of_one_member_leave_room_for_others() {
        let mut state = State::default();
        state.register("desk", host("p1", "a"), offer(false)).unwrap();
        let mut taken = 0;
        let refused = (0..16).find_map(|session| {
            (0..MAX_CALLS_PER_CALLER).find_map(|n| {
                let call = state.call("desk", format!("{session}/{n}"), of("m", &format!("q{session}")), at(9));
                taken += usize::from(call.is_ok());
                call.err()
            })
        });
        assert_eq!((refused, taken), (Some(CallError::Member), MAX_CALLS_PER_MEMBER));
        assert_eq!(state.call("desk", "other".into(), of("n", "r"), at(9)), Ok(p("p1")));
    }

    #[test]
    fn h50_servers_and_calls_have_bounds_and_nobody_takes_the_others_part() {
        let mut state = State::default();
        for n in 0..MAX_PER_MEMBER {
            state.register(&format!("a{n}"), host("p1", "a"), offer(false)).unwrap();
        }
        assert_eq!(state.register("more", host("p1", "a"), offer(false)), Err(RegisterError::Member));
        assert_eq!(state.register("more", host("p2", "b"), offer(false)), Ok(Registered::New));
        for n in 0..MAX_CALLS_PER_CALLER {
            state.call("more", format!("c{n}"), of("q", "q"), at(9)).unwrap();
        }
        assert_eq!(state.call("more", "d".into(), of("q", "q"), at(9)), Err(CallError::Caller));
        assert_eq!(state.call("more", "d".into(), of("r", "r"), at(9)), Ok(p("p2")));
        assert_eq!(state.left(&p("q"), false, at(0)), Ended::default(), "who asked is gone");
        assert_eq!(state.call("more", "e".into(), of("q", "q"), at(9)), Ok(p("p2")));
    }
}
