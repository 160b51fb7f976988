//! From a target to the mailboxes of its recipients, as they are at this moment.

use std::collections::HashSet;

use protocol::identity::PublicKey;
use protocol::wire::{E2e, Send, SendFault, Skipped};

use super::MeshActor;
use crate::mesh::mail::target::{self, BadTarget, Target};
use crate::mesh::mail::{Address, Of, Recipient};
use crate::mesh::members::Snapshot;
use crate::mesh::peer::{Kind, Presence};
use crate::mesh::roster::Session;
use crate::store::{MemberId, Role, UtcMs};

/// Why nobody gets it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: SendFault,
    pub(super) words: String,
    pub(super) members: Option<Vec<PublicKey>>,
    pub(super) skipped: Vec<Skipped>,
}

impl Fault {
    pub(super) fn new(code: SendFault, words: impl Into<String>) -> Self {
        Self { code, words: words.into(), members: None, skipped: Vec::new() }
    }
}

/// Who gets it.
pub(super) struct Resolved {
    pub(super) recipients: Vec<Recipient>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) direct: bool,
}

impl MeshActor {
    pub(super) fn resolve(&self, from: &Presence, send: &Send, now: UtcMs) -> Result<Resolved, Fault> {
        let members = self.mesh.members.now();
        match target::parse(&send.target_spec) {
            Ok(Target::Key(key)) => self.one(key, &members),
            Ok(Target::All) => self.many(from, None, send.e2e.as_ref(), &members, now),
            Ok(Target::Group(group)) => {
                let writes = from.principal().role != Role::Member || self.lists.admits(&group, &from.member);
                if !writes {
                    return Err(Fault::new(
                        SendFault::Forbidden,
                        format!("@{group} is restricted, and you are not in it"),
                    ));
                }
                self.many(from, Some(&group), send.e2e.as_ref(), &members, now)
            }
            Err(BadTarget::Form(name)) => Err(self.nobody(&name, &members)),
            Err(error @ BadTarget::Group(_)) => Err(Fault::new(SendFault::BadTarget, error.to_string())),
        }
    }

    fn one(&self, key: PublicKey, members: &Snapshot) -> Result<Resolved, Fault> {
        let session = self.roster.get(&key).filter(|session| session.shown == key && session.kind != Kind::Proxy);
        let (of, name) = match (session, members.by_key(&key)) {
            (Some(session), _) => (Of::Session, session.name.clone()),
            (None, Some(member)) => (Of::Member, member.display_name.clone()),
            (None, None) => {
                return Err(Fault::new(
                    SendFault::UnknownPeer,
                    "nobody in this mesh has this key: list the peers again",
                ));
            }
        };
        let recipient = self.recipient(key, of, name, None);
        Ok(Resolved { recipients: vec![recipient], skipped: Vec::new(), direct: true })
    }

    fn nobody(&self, name: &str, members: &Snapshot) -> Fault {
        let sessions = self.roster.present().map(|session| session.name.as_str());
        let names = sessions.chain(members.all().map(|(_, member)| member.display_name.as_str()));
        let closest = target::closest(name, names);
        let shown: String =
            protocol::validate::cleaned(name).chars().take(protocol::validate::MAX_NAME_CHARS).collect();
        let hint = if closest.is_empty() { String::new() } else { format!("; closest: {}", closest.join(", ")) };
        let words = format!("`targetSpec`: `{shown}` is no key, `*`, `@all` or `@group`{hint}");
        Fault::new(SendFault::UnknownPeer, words)
    }

    /// A group, or with none everybody.
    fn many(
        &self,
        from: &Presence,
        group: Option<&str>,
        e2e: Option<&E2e>,
        members: &Snapshot,
        now: UtcMs,
    ) -> Result<Resolved, Fault> {
        let sessions = self.sessions_in(from, group);
        let absent = self.absent_in(from, group, members, now);
        let (able, old): (Vec<_>, Vec<_>) = sessions.into_iter().partition(|session| e2e.is_none() || session.e2e);
        let skipped: Vec<Skipped> = old.into_iter().map(|session| skipped(session, "no_e2e")).collect();
        let mut wanted: Vec<(Address, Of, String, PublicKey)> = Vec::new();
        for session in able {
            let Some(key) = members.key_of(&session.member) else { continue };
            wanted.push((session.address, Of::Session, session.name.clone(), key));
        }
        wanted.extend(absent.into_iter().map(|(key, name)| (key, Of::Member, name, key)));
        if let Some(e2e) = e2e {
            sealed_for(e2e, &wanted, members)?;
        }
        if wanted.is_empty() {
            let words = match group {
                Some(group) => format!("nobody but you is in @{group}"),
                None => "nobody but you is in this mesh".to_owned(),
            };
            return Err(Fault { skipped, ..Fault::new(SendFault::NoRecipients, words) });
        }
        let key_for = |member: &PublicKey| e2e.and_then(|e2e| e2e.keys.get(member)).map(String::as_str);
        let recipients = wanted
            .into_iter()
            .map(|(mailbox, of, name, member)| self.recipient(mailbox, of, name, key_for(&member)))
            .collect();
        Ok(Resolved { recipients, skipped, direct: false })
    }

    /// Sessions that are here or expected back, but the one that sends.
    fn sessions_in(&self, from: &Presence, group: Option<&str>) -> Vec<&Session> {
        let within = |session: &&Session| group.is_none_or(|group| self.lists.has(group, session));
        let others = self.roster.present().filter(|session| session.address != from.address);
        let mut sessions: Vec<&Session> = others.filter(within).collect();
        sessions.sort_by_key(|session| session.address);
        sessions
    }

    /// Members of the target without a session that is here, but the one that sends.
    fn absent_in(
        &self,
        from: &Presence,
        group: Option<&str>,
        members: &Snapshot,
        now: UtcMs,
    ) -> Vec<(PublicKey, String)> {
        let here: HashSet<&MemberId> = self.roster.present().map(|session| &session.member).collect();
        let belongs =
            |member: &MemberId| group.is_none_or(|group| self.roster.absent_in(group, member, &self.lists, now));
        let mut absent: Vec<_> = members
            .all()
            .filter(|(_, member)| member.id != from.member && !here.contains(&member.id) && belongs(&member.id))
            .map(|(key, member)| (*key, member.display_name.clone()))
            .collect();
        absent.sort();
        absent
    }

    fn recipient(&self, mailbox: Address, of: Of, name: String, key: Option<&str>) -> Recipient {
        Recipient { mailbox, of, name, key: key.map(Box::from), delivery: self.mesh.store.number() }
    }
}

/// Whether a message is sealed for those that are to have it, and for nobody who is no member any more.
fn sealed_for(e2e: &E2e, wanted: &[(Address, Of, String, PublicKey)], members: &Snapshot) -> Result<(), Fault> {
    let missing = wanted.iter().any(|(.., member)| !e2e.keys.contains_key(member));
    let strange = e2e.keys.keys().any(|key| members.by_key(key).is_none());
    if !missing && !strange {
        return Ok(());
    }
    let mut keys: Vec<PublicKey> = wanted.iter().map(|(.., member)| *member).collect();
    keys.sort_unstable();
    keys.dedup();
    let words = "members_changed: seal the message for the members that the target has now, and send it again";
    Err(Fault { members: Some(keys), ..Fault::new(SendFault::MembersChanged, words) })
}

pub(super) fn skipped(session: &Session, reason: &str) -> Skipped {
    Skipped { pubkey: session.shown, name: session.name.clone(), reason: reason.to_owned() }
}
