//! What the scribe wrote, and what follows from decisions.

use std::sync::{Arc, PoisonError};

use actix::prelude::*;
use protocol::wire::{Ack, ErrorCode, InboxResult, SendFault, ServerMessage};

use super::messages::Written;
use super::resolve::Fault;
use super::send::Sending;
use super::{MeshActor, Pending, event_frame, recall};
use crate::mesh::admission::CLOSE_POLICY;
use crate::mesh::mail::{Fx as MailFx, Loaded, PresenceId, WINDOW_BYTES, Wanted};
use crate::mesh::peer::reply;
use crate::mesh::priority::number_of;
use crate::mesh::roster::Fx as RosterFx;
use crate::mesh::scribe::Outcome;
use crate::metrics::{MailEnd, SendEnd};
use crate::store::{DeliveryEnd, Document, Entry, MessageId, Verdict};

impl MeshActor {
    fn settled(&mut self, number: u64, outcome: Outcome, ctx: &mut Context<Self>) {
        match (self.pending.remove(&number), outcome) {
            (None, _) => {}
            (Some(Pending::Entering(it)), Outcome::Written(Verdict::Hello(verdict))) => self.entered(*it, verdict),
            (Some(Pending::Entering(it)), Outcome::Refused(error)) => {
                Self::not_entered(*it, ErrorCode::Internal, error.to_string());
            }
            (Some(Pending::Sending(it)), Outcome::Written(Verdict::Stored)) => self.stored(*it),
            (Some(Pending::Sending(it)), Outcome::Written(Verdict::Duplicate { id, digest, ack })) => {
                self.repeated(*it, &id, &digest, &ack);
            }
            (Some(Pending::Sending(it)), Outcome::Refused(error)) => {
                self.mail.given_up(it.seq);
                self.mesh.metrics.sends.count(SendEnd::from(SendFault::NotStored));
                if let Some(ticket) = it.ticket {
                    ticket.refuse(Fault::new(SendFault::NotStored, error.to_string()));
                }
            }
            (Some(Pending::Watching(it)), Outcome::Written(verdict @ (Verdict::Stored | Verdict::Superseded))) => {
                self.watched(*it, verdict == Verdict::Stored);
            }
            (Some(Pending::Watching(it)), Outcome::Refused(error)) => self.unwatched(*it, error.to_string()),
            // What memory holds may not be what the store holds: only the store knows.
            (Some(_), Outcome::Unknown) => self.fail("the outcome of a write is not known".to_owned(), ctx),
            (Some(Pending::Entering(_) | Pending::Sending(_) | Pending::Watching(_)), Outcome::Written(verdict)) => {
                self.fail(format!("the store answered something else: {verdict:?}"), ctx);
            }
        }
    }

    fn stored(&mut self, sending: Sending) {
        let now = self.now();
        if let Some(ticket) = sending.ticket {
            self.mesh.metrics.sends.count(SendEnd::Accepted);
            ticket.answer(sending.ack);
        }
        self.mail.stored(sending.seq, now);
    }

    /// The same bytes have the same answer; other bytes under the same id are refused.
    fn repeated(&mut self, sending: Sending, id: &MessageId, digest: &str, ack: &Document) {
        self.mail.given_up(sending.seq);
        let Some(ticket) = sending.ticket else { return };
        if sending.digest.as_deref() == Some(digest)
            && let Ok(ack) = ack.read::<Ack>()
        {
            self.mesh.metrics.sends.count(SendEnd::Repeated);
            return ticket.answer(Ack { message_id: Some(id.to_string()), ..ack });
        }
        self.mesh.metrics.sends.count(SendEnd::from(SendFault::IdReused));
        ticket.refuse(Fault::new(SendFault::IdReused, "id_reused: this id was used for another message"));
    }

    /// Carries out what was decided.
    pub(super) fn follow(&mut self, ctx: &mut Context<Self>) {
        self.follow_roster();
        self.mail.mark();
        for fx in self.mail.take_fx() {
            match fx {
                MailFx::Push { to, frame } => {
                    self.mesh.metrics.pushes.increment(1);
                    self.tell(&to, frame);
                }
                MailFx::Ping { to, mark } => {
                    if let Some(connected) = self.connected.get(&to) {
                        connected.outlet.ping(mark);
                    }
                }
                MailFx::Load(wanted) => self.load(wanted, ctx),
                MailFx::Delivered { deliveries } => self.delivered(deliveries),
                MailFx::Drained { by, delivered } => {
                    let req_id = self.reading.remove(&by).flatten();
                    let result = ServerMessage::InboxResult(InboxResult { delivered });
                    self.tell(&by, reply::frame(result, req_id.as_deref()));
                }
            }
        }
    }

    /// The roster's part, which leaves nothing to be waited for.
    pub(super) fn follow_roster(&mut self) {
        loop {
            let decided = self.roster.take_fx();
            if decided.is_empty() {
                return;
            }
            for fx in decided {
                self.follow_one(fx);
            }
        }
    }

    fn follow_one(&mut self, fx: RosterFx) {
        let now = self.now();
        match fx {
            RosterFx::Tell { to, event, data } => {
                let frame = event_frame(&self.mesh, event, &data, now);
                for presence in to {
                    self.tell(&presence, frame.clone());
                }
            }
            RosterFx::End(presence, reason) => {
                if let Some(connected) = self.connected.remove(&presence) {
                    connected.outlet.close(CLOSE_POLICY, reason);
                }
                self.reading.remove(&presence);
                self.mail.detach(&presence, now);
            }
            RosterFx::Write(address) => {
                let Some(session) = self.roster.get(&address) else { return };
                let row = recall::row(&self.mesh.id, session);
                let written = row.map(|row| self.mesh.scribe.write(None, Entry::Session(Box::new(row))));
                if !matches!(written, Ok(Ok(()))) {
                    tracing::warn!(mesh = self.mesh.slug, ?written, "a session is not written down");
                }
            }
            RosterFx::Gate { presence, idle } => self.mail.set_idle(&presence, idle, now),
            RosterFx::Changed(presence) => self.refresh_standing(&presence),
        }
    }

    fn tell(&self, to: &PresenceId, frame: String) {
        if let Some(connected) = self.connected.get(to) {
            // A session that does not read is ended by its own bound.
            connected.outlet.send(frame);
        }
    }

    fn delivered(&mut self, deliveries: Vec<i64>) {
        let count = u64::try_from(deliveries.len()).unwrap_or(u64::MAX);
        self.mesh.metrics.deliveries.add(MailEnd::Delivered, count);
        let end = Entry::End { ids: deliveries, how: DeliveryEnd::Delivered, reason: None, at: self.now() };
        if let Err(full) = self.mesh.scribe.write(None, end) {
            // They come again after a restart, and are not shown again.
            tracing::warn!(mesh = self.mesh.slug, %full, "deliveries are not written down");
        }
    }

    /// Reads a part of a mailbox, behind everything that is being written.
    fn load(&self, wanted: Wanted, ctx: &mut Context<Self>) {
        let mesh = Arc::clone(&self.mesh);
        let read = async move {
            mesh.scribe.flush().await;
            let Wanted { mailbox, priority, after, limit, .. } = wanted;
            let (mailbox, priority) = (mailbox.to_string(), number_of(priority));
            mesh.store.pending(&mesh.id, &mailbox, priority, after, limit, WINDOW_BYTES).await
        };
        let taken = read.into_actor(self).map(move |read, me, ctx| {
            let now = me.now();
            match read {
                Ok(rows) => {
                    // Cut at its bytes or its number: only nothing is surely the end.
                    let full = !rows.is_empty();
                    let rows: Vec<Loaded> = rows.into_iter().filter_map(|row| me.readable(row)).collect();
                    me.mail.loaded(wanted, rows, full, now);
                }
                Err(error) => {
                    tracing::error!(mesh = me.mesh.slug, %error, "a mailbox could not be read");
                    me.mail.load_failed(wanted);
                }
            }
            me.follow(ctx);
        });
        ctx.spawn(taken);
    }

    fn readable(&self, row: crate::store::Pending) -> Option<Loaded> {
        recall::loaded(row)
            .inspect_err(|error| tracing::error!(mesh = self.mesh.slug, error, "a message cannot be read"))
            .ok()
    }
}

impl Handler<Written> for MeshActor {
    type Result = ();

    fn handle(&mut self, Written(written): Written, ctx: &mut Self::Context) {
        let written = written.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let life = self.life.generation();
        for (token, outcome) in written {
            if token.life == life {
                self.settled(token.number, outcome, ctx);
            }
        }
        self.follow(ctx);
    }
}
