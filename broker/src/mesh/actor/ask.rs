//! What is said and asked.

use actix::prelude::*;
use protocol::wire::{ErrorCode, MeshInfoResult, Peer, ServerMessage, ServerName};

use super::messages::{
    Acked, Announce, Audience, GetInfo, ListPresent, MembersChanged, NameMailboxes, Ponged, ReadMail, Speak,
    SpeakError, ToolsChanged,
};
use super::{MeshActor, event_frame};
use crate::mesh::mail::Address;
use crate::mesh::peer::reply;
use crate::mesh::scope::Principal;

impl Handler<Acked> for MeshActor {
    type Result = ();

    fn handle(&mut self, Acked { presence, messages }: Acked, ctx: &mut Self::Context) {
        let now = self.now();
        self.mail.ack(&presence, messages.iter().map(String::as_str), now);
        self.follow(ctx);
    }
}

impl Handler<Ponged> for MeshActor {
    type Result = ();

    fn handle(&mut self, Ponged { presence, mark }: Ponged, ctx: &mut Self::Context) {
        let now = self.now();
        self.mail.pong(&presence, mark, now);
        self.follow(ctx);
    }
}

impl Handler<ReadMail> for MeshActor {
    type Result = ();

    fn handle(&mut self, ReadMail { presence, follow, req_id }: ReadMail, ctx: &mut Self::Context) {
        let now = self.now();
        let Some(connected) = self.connected.get(&presence) else { return };
        if let Some(Some(earlier)) = self.reading.insert(presence.clone(), req_id) {
            let words = "a later `read_inbox` of this connection took its place";
            connected.outlet.send(reply::error(ErrorCode::Superseded, words, Some(&earlier)));
        }
        self.mail.read_inbox(&presence, follow, now);
        self.follow(ctx);
    }
}

impl Handler<Speak> for MeshActor {
    type Result = Result<(), SpeakError>;

    fn handle(&mut self, Speak { presence, session, say }: Speak, ctx: &mut Self::Context) -> Self::Result {
        let now = self.now();
        let speaker = &self.connected.get(&presence).ok_or(SpeakError::NotHere)?.presence;
        let (address, member) = match session {
            None => (speaker.address, speaker.member.clone()),
            Some(word) => match self.roster.own(&speaker.member, &word) {
                Some(named) => (named.address, named.member.clone()),
                None => return Err(SpeakError::NoSession(protocol::validate::cleaned(&word))),
            },
        };
        self.mail.touch(&presence, now);
        let lists = &self.lists;
        self.roster.say(&address, say, |group| lists.admits(group, &member), now)?;
        self.follow(ctx);
        Ok(())
    }
}

impl Handler<ListPresent> for MeshActor {
    type Result = MessageResult<ListPresent>;

    fn handle(&mut self, ListPresent { viewer }: ListPresent, _: &mut Self::Context) -> Self::Result {
        let members = self.mesh.members.now();
        let list: Vec<Peer> = self.roster.list(&viewer, |member| members.key_of(member));
        MessageResult(list)
    }
}

impl Handler<GetInfo> for MeshActor {
    type Result = MessageResult<GetInfo>;

    fn handle(&mut self, GetInfo { presence }: GetInfo, _: &mut Self::Context) -> Self::Result {
        let members = self.mesh.members.now();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let own = self.connected.get(&presence).and_then(|own| self.roster.get(&own.presence.address));
        MessageResult(MeshInfoResult {
            mesh: self.mesh.slug.clone(),
            peers: count(self.roster.present().count()),
            groups: self.roster.groups(&self.lists).into_iter().map(|name| format!("@{name}")).collect(),
            your_name: own.map(|own| own.name.clone()).unwrap_or_default(),
            your_groups: own.map(|own| own.groups.clone()).unwrap_or_default(),
            members: count(members.len()),
            require_proofs: members.require_proofs,
            queued: self.mail.waiting(),
            message_ttl_s: u64::try_from(members.message_ttl_ms / 1_000).unwrap_or_default(),
            plain_env_off: members.plain_env_off,
            ..MeshInfoResult::default()
        })
    }
}

impl Handler<NameMailboxes> for MeshActor {
    type Result = MessageResult<NameMailboxes>;

    fn handle(&mut self, NameMailboxes(keys): NameMailboxes, _: &mut Self::Context) -> Self::Result {
        let members = self.mesh.members.now();
        let named = |key: String| {
            let address: Option<Address> = key.parse().ok();
            let session = address.and_then(|address| self.roster.get(&address));
            let member = address.and_then(|address| members.by_key(&address));
            let here = |member: &crate::store::MemberId| {
                self.roster.sessions_of(member).any(|session| session.presence().is_some())
            };
            match (session, member) {
                (Some(session), _) => (session.name.clone(), session.presence().is_some()),
                (None, Some(member)) => (member.display_name.clone(), here(&member.id)),
                (None, None) => (key, false),
            }
        };
        MessageResult(keys.into_iter().map(named).collect())
    }
}

/// Whether something is told to `who`: to everybody, or to those who may see a service, unless they are told otherwise.
fn concerns(who: &Principal, audience: Option<&Audience>, unless: Option<&Audience>) -> bool {
    audience.is_none_or(|audience| audience.includes(who)) && unless.is_none_or(|unless| !unless.includes(who))
}

impl Handler<Announce> for MeshActor {
    type Result = ();

    fn handle(&mut self, Announce { event, data, audience, unless }: Announce, _: &mut Self::Context) {
        let frame = event_frame(&self.mesh, event, &data, self.now());
        for connected in self.connected.values().filter(|connected| connected.presence.shows()) {
            if concerns(&connected.presence.principal(), audience.as_ref(), unless.as_ref()) {
                // A session that does not read is ended by its own bound.
                connected.outlet.send(frame.clone());
            }
        }
    }
}

impl Handler<ToolsChanged> for MeshActor {
    type Result = ();

    fn handle(&mut self, ToolsChanged { service, audience, unless }: ToolsChanged, _: &mut Self::Context) {
        let frame = reply::frame(ServerMessage::McpToolsChanged(ServerName { server_name: service }), None);
        for connected in self.connected.values() {
            if concerns(&connected.presence.principal(), Some(&audience), unless.as_ref()) {
                connected.outlet.send(frame.clone());
            }
        }
    }
}

impl Handler<MembersChanged> for MeshActor {
    type Result = ();

    fn handle(&mut self, _: MembersChanged, ctx: &mut Self::Context) {
        self.members_changed();
        self.follow(ctx);
    }
}
