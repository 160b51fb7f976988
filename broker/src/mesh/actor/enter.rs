//! Sessions that come and go.

use std::sync::Arc;

use actix::prelude::*;
use protocol::wire::{ErrorCode, PeerStatus};
use tokio::sync::oneshot;

use super::messages::{Enter, Fresh, Greeting, Leave};
use super::{Connected, MeshActor, Pending, recall};
use crate::mesh::admission::{CLOSE_POLICY, Refusal};
use crate::mesh::mail::{Opened, PresenceId};
use crate::mesh::peer::{Kind, Outlet, Presence};
use crate::mesh::roster::{Life, Restored, Session};
use crate::store::{Entry, Hello, HelloVerdict, UtcMs};

/// One answer for whoever is not let in.
const STRANGER: &str = "not a member of this mesh";
/// The capability of clients that say which messages they have.
const CLIENT_ACK: &str = "client_ack";
/// The capability of clients that open messages of groups.
const E2E: &str = "e2e";

/// A hello that is being written down.
pub(super) struct Entering {
    presence: Arc<Presence>,
    outlet: Arc<dyn Outlet>,
    session: Session,
    restored: Option<Restored>,
    greeting: Greeting,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

impl MeshActor {
    fn begin(&mut self, presence: Arc<Presence>, outlet: Arc<dyn Outlet>, fresh: Fresh) {
        let Fresh { replay_key, greeting, answer } = fresh;
        let refuse = |answer: oneshot::Sender<_>, code, message: &str| {
            // Whoever does not wait any more has left.
            let _ = answer.send(Err(Refusal { code, message: message.to_owned() }));
        };
        if !self.is_member(&presence) {
            return refuse(answer, ErrorCode::Unauthorized, STRANGER);
        }
        if self.roster.get(&presence.address).is_some_and(|known| known.member != presence.member) {
            return refuse(answer, ErrorCode::SessionTaken, "`sessionPubkey` is another member's");
        }
        let (session, restored) = self.roster.welcome(session_of(&presence, self.now()));
        let shown = Session { life: life_of(&presence), ..session.clone() };
        let row = match recall::row(&self.mesh.id, &shown) {
            Ok(row) => row,
            Err(error) => return refuse(answer, ErrorCode::Internal, &error),
        };
        let entry = Entry::Hello(Box::new(Hello { replay_key, session: row }));
        let entering = Entering { presence, outlet, session, restored, greeting, answer };
        if let Err((full, Pending::Entering(entering))) = self.write(entry, Pending::Entering(Box::new(entering))) {
            refuse(entering.answer, ErrorCode::Overloaded, &full.to_string());
        }
    }

    /// The hello is written down, or is not good.
    pub(super) fn entered(&mut self, entering: Entering, verdict: HelloVerdict) {
        let Entering { presence, outlet, mut session, mut restored, greeting, answer } = entering;
        let refusal = match verdict {
            // Removed while this was written.
            HelloVerdict::Entered { .. } if !self.is_member(&presence) => Some((ErrorCode::Unauthorized, STRANGER)),
            HelloVerdict::Replayed => Some((ErrorCode::Replayed, "this hello was seen before")),
            HelloVerdict::Taken => Some((ErrorCode::SessionTaken, "`sessionPubkey` is another member's")),
            HelloVerdict::Entered { before, of_id } => {
                // One that was away for so long that only the store remembers it.
                let old = before.or(of_id).filter(|_| restored.is_none());
                let old = old.and_then(|row| recall::session(*row, self.now()).ok());
                if let Some(old) = old.filter(|old| old.kind == session.kind) {
                    restored = Some(session.take_back(&old));
                }
                None
            }
        };
        if let Some((code, message)) = refusal {
            let _ = answer.send(Err(Refusal { code, message: message.to_owned() }));
            return;
        }
        if answer.send(Ok(())).is_err() {
            // Its socket went while this was written: it was never here, whatever the row says.
            let gone = Session { life: Life::Away, ..session };
            let row = recall::row(&self.mesh.id, &gone);
            let _ = row.map(|row| self.mesh.scribe.write(None, Entry::Session(Box::new(row))));
            return;
        }
        // What the client is told that it may call rests on its groups.
        self.stand(&presence, &session);
        outlet.send(greeting(restored.as_ref()));
        self.place(presence, outlet, session);
    }

    pub(super) fn not_entered(entering: Entering, code: ErrorCode, message: String) {
        let _ = entering.answer.send(Err(Refusal { code, message }));
    }

    /// It is here from now on.
    fn place(&mut self, presence: Arc<Presence>, outlet: Arc<dyn Outlet>, session: Session) {
        let now = self.now();
        let id = Arc::clone(&presence.presence_id);
        let idle = session.status == PeerStatus::Idle;
        let shows = presence.shows().then(|| Arc::clone(&id));
        self.roster.enter(session, shows, now);
        // A connection that is replaced goes before its successor is pushed anything.
        let opened = Opened {
            address: presence.address,
            member: presence.about.member,
            takes: presence.shows(),
            acks: presence.can(CLIENT_ACK),
            opens: presence.can(E2E),
            idle,
            active_at: now,
        };
        self.connected.insert(Arc::clone(&id), Connected { presence, outlet });
        self.follow_roster();
        self.refresh_standing(&id);
        self.mail.attach(id, opened, now);
    }

    pub(super) fn leave(&mut self, id: &PresenceId, goodbye: bool) {
        let now = self.now();
        self.reading.remove(id);
        if self.connected.remove(id).is_some() {
            self.roster.lost(id, goodbye, now);
            self.mail.detach(id, now);
        }
    }

    fn is_member(&self, presence: &Presence) -> bool {
        self.mesh.members.now().by_id(&presence.member).is_some()
    }

    pub(super) fn refresh_standing(&self, id: &PresenceId) {
        let Some(connected) = self.connected.get(id) else { return };
        if let Some(session) = self.roster.get(&connected.presence.address) {
            self.stand(&connected.presence, session);
        }
    }

    /// The role and the groups that decisions about a connection rest on.
    fn stand(&self, presence: &Presence, session: &Session) {
        let mut principal = (*presence.principal()).clone();
        principal.groups = self.lists.of_session(session);
        if let Some(member) = self.mesh.members.now().by_id(&presence.member) {
            principal.role = member.role;
        }
        presence.standing.set(principal);
    }
}

fn life_of(presence: &Presence) -> Life {
    if presence.shows() { Life::Live(Arc::clone(&presence.presence_id)) } else { Life::Away }
}

fn session_of(presence: &Presence, now: UtcMs) -> Session {
    Session {
        address: presence.address,
        shown: presence.shown,
        member: presence.member.clone(),
        session_id: presence.session_id.clone(),
        kind: presence.kind,
        name: presence.name.clone(),
        groups: presence.groups.clone(),
        summary: None,
        profile: None,
        stats: None,
        visible: presence.kind == Kind::Session,
        status: PeerStatus::Idle,
        status_at: now,
        life: life_of(presence),
        e2e: presence.can(E2E),
        about: Arc::clone(&presence.about),
        first_seen: now,
        last_seen: now,
    }
}

impl Handler<Enter> for MeshActor {
    type Result = ();

    fn handle(&mut self, Enter { presence, outlet, fresh }: Enter, ctx: &mut Self::Context) {
        match fresh {
            Some(fresh) => self.begin(presence, outlet, fresh),
            None if self.connected.contains_key(&presence.presence_id) || outlet.is_over() => {}
            None if !self.is_member(&presence) => outlet.close(CLOSE_POLICY, "removed from the mesh"),
            None => {
                let (session, _) = self.roster.welcome(session_of(&presence, self.now()));
                self.place(presence, outlet, session);
            }
        }
        self.follow(ctx);
    }
}

impl Handler<Leave> for MeshActor {
    type Result = ();

    fn handle(&mut self, Leave { presence, goodbye }: Leave, ctx: &mut Self::Context) {
        self.leave(&presence, goodbye);
        self.follow(ctx);
    }
}
