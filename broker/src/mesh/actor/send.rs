//! Messages on their way in: checked, given their room, and handed to the scribe.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use actix::prelude::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::wire::{Ack, E2e, Push, Send, SendFault, ServerMessage, Skipped};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::messages::SendMail;
use super::resolve::{Fault, Resolved};
use super::{MeshActor, Pending, SYSTEM, recall, system_push};
use crate::mesh::mail::{Accepted, Address, Envelope, Letter, Of, Recipient, Refused};
use crate::mesh::peer::{Outlet, Presence, reply};
use crate::mesh::priority::number_of;
use crate::metrics::{Limit, SendEnd};
use crate::store::{Document, Entry, MessageId, NewDelivery, NewMessage, UtcMs};

/// Longest `id` of a message.
const MAX_ID_BYTES: usize = 256;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// Longest target: a key, or a group's name of any characters.
const MAX_TARGET_BYTES: usize = 512;
/// Bytes of a message's key, sealed for one member: 32 and the seal's 16.
const SEALED_KEY_BYTES: usize = 48;
/// The same in base64.
const MAX_SEALED_KEY_CHARS: usize = 64;
/// The form of `e2e` that is understood.
const E2E_VERSION: u32 = 2;

/// A message that is being written down.
pub(super) struct Sending {
    pub(super) seq: i64,
    pub(super) digest: Option<String>,
    pub(super) ack: Ack,
    /// Whoever sent it; nobody waits for what the mesh itself sends.
    pub(super) ticket: Option<Ticket>,
}

/// One final answer for whoever sent a message. Dropped without one, it says that the outcome is not known.
pub struct Ticket {
    outlet: Arc<dyn Outlet>,
    req_id: Option<String>,
    id: Option<String>,
    answered: bool,
    /// The next message of this connection may come.
    _place: OwnedSemaphorePermit,
}

impl Ticket {
    /// For a message with this id, in answer to a request; `place` is its place among those of its connection.
    #[must_use]
    pub fn new(
        outlet: Arc<dyn Outlet>,
        req_id: Option<String>,
        id: Option<String>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { outlet, req_id, id, answered: false, _place: place }
    }

    pub(super) fn answer(mut self, ack: Ack) {
        self.answered = true;
        let ack = Ack { id: self.id.clone(), ..ack };
        self.outlet.send(reply::frame(ServerMessage::Ack(Box::new(ack)), self.req_id.as_deref()));
    }

    pub(super) fn refuse(self, fault: Fault) {
        let Fault { code, words, members, skipped } = fault;
        self.answer(Ack { queued: false, error: Some(words), code: Some(code), members, skipped, ..Ack::default() });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            let words = "the outcome is not known: send it again under the same id".to_owned();
            let (error, code) = (Some(words), Some(SendFault::NotStored));
            let ack = Ack { id: self.id.take(), queued: false, error, code, ..Ack::default() };
            self.outlet.send(reply::frame(ServerMessage::Ack(Box::new(ack)), self.req_id.as_deref()));
        }
    }
}

impl MeshActor {
    fn send(&mut self, mail: SendMail, ctx: &mut Context<Self>) {
        let SendMail { from, send, ticket } = mail;
        // Taken once: a message is handled once.
        let Some(ticket) = ticket.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let Some(connected) = self.connected.get(&from) else {
            // After a restart of this actor, before the session has entered again.
            return ticket.refuse(Fault::new(SendFault::NotStored, "the mesh is coming back: send it again"));
        };
        let presence = Arc::clone(&connected.presence);
        let now = self.now();
        self.mail.touch(&presence.presence_id, now);
        let resolved = checked(&send).and_then(|()| self.resolve(&presence, &send, now));
        match resolved {
            Ok(resolved) => self.take_in(&presence, send, resolved, ticket, now, ctx),
            Err(fault) => self.refuse_unless_said(&presence, send, ticket, fault, ctx),
        }
    }

    /// What would be refused now may be a repetition of what was taken in when it could be: that has its old answer.
    fn refuse_unless_said(
        &self,
        from: &Presence,
        send: Arc<Send>,
        ticket: Ticket,
        fault: Fault,
        ctx: &mut Context<Self>,
    ) {
        let may_change = match fault.code {
            SendFault::UnknownPeer
            | SendFault::NoRecipients
            | SendFault::Forbidden
            | SendFault::MembersChanged
            | SendFault::MailboxFull
            | SendFault::QueueFull => true,
            SendFault::BadTarget
            | SendFault::BadMessage
            | SendFault::IdReused
            | SendFault::Rate
            | SendFault::TooLarge
            | SendFault::NotStored => false,
        };
        let sends = self.mesh.metrics.sends.clone();
        let Some(id) = send.id.clone().filter(|_| may_change) else {
            sends.count(SendEnd::from(fault.code));
            return ticket.refuse(fault);
        };
        let (mesh, member, session_id) = (Arc::clone(&self.mesh), from.member.clone(), from.session_id.clone());
        let looked_up = async move {
            // The first may be on its way to the store.
            mesh.scribe.flush().await;
            let said = mesh.store.said(&member, &session_id, &id).await.ok().flatten();
            match said
                .filter(|said| said.digest == digest(&send))
                .and_then(|said| Some((said.id, said.ack.read().ok()?)))
            {
                Some((id, ack)) => {
                    sends.count(SendEnd::Repeated);
                    ticket.answer(Ack { message_id: Some(id.to_string()), ..ack });
                }
                None => {
                    sends.count(SendEnd::from(fault.code));
                    ticket.refuse(fault);
                }
            }
        };
        ctx.spawn(looked_up.into_actor(self));
    }

    fn take_in(
        &mut self,
        from: &Presence,
        send: Arc<Send>,
        resolved: Resolved,
        ticket: Ticket,
        now: UtcMs,
        ctx: &mut Context<Self>,
    ) {
        let Resolved { recipients, mut skipped, direct } = resolved;
        let (seq, id) = (self.mesh.store.number(), MessageId::new());
        let head = head_of(self.mesh.id.as_str(), from, &send, &id, seq, now);
        let e2e = send.e2e.as_ref().map(|e2e| E2e { keys: BTreeMap::new(), id: e2e.id.clone(), ..*e2e });
        let body = (send.nonce.as_str(), send.ciphertext.as_str());
        let letter = match Letter::new(&head, body, e2e.as_ref(), recall::OVERHEAD_BYTES) {
            Ok(letter) => Arc::new(letter),
            Err(error) => return ticket.refuse(Fault::new(SendFault::BadMessage, error.to_string())),
        };
        let member = from.about.member;
        let envelope = Envelope { letter: Arc::clone(&letter), from: Some(member), recipients, direct };
        let Accepted { recipients, full } = match self.mail.accept(envelope, now) {
            Ok(accepted) => accepted,
            Err(refused) => {
                let fault = fault_of(&refused, &self.mesh.metrics.limits);
                return self.refuse_unless_said(from, send, ticket, fault, ctx);
            }
        };
        let full =
            full.into_iter().map(|to| Skipped { pubkey: to.mailbox, name: to.name, reason: "mailbox_full".into() });
        skipped.extend(full);
        let ack = Ack {
            message_id: Some(id.to_string()),
            queued: true,
            recipients: u32::try_from(recipients.len()).ok(),
            skipped,
            ..Ack::default()
        };
        let row = match self.row(&letter, body, id, &ack, now) {
            Ok(row) => row,
            Err(error) => {
                self.mail.given_up(seq);
                return ticket.refuse(Fault::new(SendFault::NotStored, error.to_string()));
            }
        };
        let message = NewMessage {
            sender: head.sender_pubkey,
            sender_member: Some(from.member.clone()),
            sender_session_id: Some(from.session_id.clone()),
            client_id: send.id.clone(),
            digest: send.id.as_ref().map(|_| digest(&send)),
            target: send.target_spec.clone(),
            ..row
        };
        let sending = Sending { seq, digest: message.digest.clone(), ack, ticket: Some(ticket) };
        self.hand_over(message, &recipients, letter.bytes, sending);
    }

    /// A message of the mesh's own as a row.
    pub(super) fn row(
        &self,
        letter: &Letter,
        (nonce, ciphertext): (&str, &str),
        id: MessageId,
        ack: &Ack,
        now: UtcMs,
    ) -> Result<NewMessage, serde_json::Error> {
        Ok(NewMessage {
            seq: letter.seq,
            id,
            sender: SYSTEM.to_owned(),
            sender_member: None,
            sender_session_id: None,
            client_id: None,
            digest: None,
            target: String::new(),
            priority: number_of(letter.priority),
            nonce: nonce.to_owned(),
            ciphertext: ciphertext.to_owned(),
            extra: Some(Document::written(letter.kept())),
            ack: Document::of(ack)?,
            created_at: now,
            expires_at: now.plus_ms(self.mesh.members.now().message_ttl_ms),
        })
    }

    fn hand_over(&mut self, message: NewMessage, to: &[Recipient], bytes: u64, sending: Sending) {
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        let delivery = |to: &Recipient| NewDelivery {
            id: to.delivery,
            mailbox: to.mailbox.to_string(),
            of_member: to.of == Of::Member,
            bytes,
            wrapped_key: to.key.as_deref().map(str::to_owned),
        };
        let entry = Entry::Message(Box::new(message), to.iter().map(delivery).collect());
        if let Err((full, Pending::Sending(sending))) = self.write(entry, Pending::Sending(Box::new(sending))) {
            self.mail.given_up(sending.seq);
            self.mesh.metrics.sends.count(SendEnd::from(SendFault::NotStored));
            if let Some(ticket) = sending.ticket {
                ticket.refuse(Fault::new(SendFault::NotStored, full.to_string()));
            }
        }
    }

    /// A durable word of the mesh's own to one mailbox.
    pub(super) fn post(&mut self, to: Address, event: &str, data: &Value) {
        let now = self.now();
        let (seq, id) = (self.mesh.store.number(), MessageId::new());
        let head = Push { message_id: id.to_string(), seq: Some(seq), ..system_push(&self.mesh, event, data, now) };
        let Ok(letter) = Letter::new(&head, ("", ""), None, recall::OVERHEAD_BYTES).map(Arc::new) else { return };
        let recipient = Recipient {
            mailbox: to,
            of: Of::Session,
            name: String::new(),
            key: None,
            delivery: self.mesh.store.number(),
        };
        let envelope = Envelope { letter: Arc::clone(&letter), from: None, recipients: vec![recipient], direct: true };
        // A full mailbox has enough to read.
        let Ok(Accepted { recipients, .. }) = self.mail.accept(envelope, now) else { return };
        let Ok(row) = self.row(&letter, ("", ""), id, &Ack::default(), now) else { return self.mail.given_up(seq) };
        let message = NewMessage { target: to.to_string(), ..row };
        self.hand_over(
            message,
            &recipients,
            letter.bytes,
            Sending { seq, digest: None, ack: Ack::default(), ticket: None },
        );
    }
}

fn checked(send: &Send) -> Result<(), Fault> {
    let bad = |words: &str| Err(Fault::new(SendFault::BadMessage, words));
    if send.id.as_ref().is_some_and(|id| id.len() > MAX_ID_BYTES) {
        return bad("`id` is longer than 256 bytes");
    }
    if send.target_spec.len() > MAX_TARGET_BYTES {
        return Err(Fault::new(SendFault::BadTarget, "`targetSpec` is longer than any target"));
    }
    let is_direct = !send.target_spec.starts_with(['@', '*']);
    if let Some(e2e) = &send.e2e {
        if e2e.v != E2E_VERSION {
            return bad("`e2e.v` is 2");
        }
        if send.id.as_ref() != Some(&e2e.id) {
            return bad("`e2e.id` is the same as `id`");
        }
        if is_direct && !e2e.keys.is_empty() {
            return bad("`e2e.keys` is for groups");
        }
        // What is stored for each recipient has one size, or a mailbox would hold more than it counts.
        let sealed = |key: &String| STANDARD.decode(key).map(|key| key.len()) == Ok(SEALED_KEY_BYTES);
        if !e2e.keys.values().all(|key| key.len() <= MAX_SEALED_KEY_CHARS && sealed(key)) {
            return bad("`e2e.keys` are base64 of 48 bytes each");
        }
    }
    if is_direct || send.e2e.is_some() {
        if STANDARD.decode(&send.nonce).map(|nonce| nonce.len()) != Ok(NONCE_BYTES) {
            return bad("`nonce` is base64 of 24 bytes");
        }
        if STANDARD.decode(&send.ciphertext).is_err() {
            return bad("`ciphertext` is base64");
        }
    }
    Ok(())
}

/// Tells whether a repetition is one. The keys of a group are sealed anew when its members have changed, so they do not
/// count.
fn digest(send: &Send) -> String {
    let mut hash = Sha256::new();
    for part in [send.target_spec.as_str(), send.priority.as_str(), &send.nonce, &send.ciphertext] {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// The push but its body.
fn head_of(mesh: &str, from: &Presence, send: &Send, id: &MessageId, seq: i64, now: UtcMs) -> Push {
    Push {
        message_id: id.to_string(),
        mesh_id: mesh.to_owned(),
        sender_pubkey: from.shown.to_string(),
        priority: send.priority,
        created_at: now.to_string(),
        seq: Some(seq),
        target_spec: Some(send.target_spec.clone()),
        sender_name: Some(from.name.clone()),
        member_pubkey: Some(from.about.member),
        session_id: Some(from.session_id.clone()),
        session_cert: from.about.session_cert,
        ..Push::default()
    }
}

fn fault_of(refused: &Refused, limits: &meter::Counters<Limit>) -> Fault {
    let (limit, code) = match refused {
        Refused::TooLarge { .. } => (Limit::MailboxBytes, SendFault::TooLarge),
        Refused::Rate { .. } => (Limit::SendRate, SendFault::Rate),
        Refused::MailboxFull => (Limit::MailboxMessages, SendFault::MailboxFull),
        Refused::QueueFull => (Limit::QueueBytes, SendFault::QueueFull),
    };
    limits.count(limit);
    Fault::new(code, format!("{code}: {refused}"))
}

impl Handler<SendMail> for MeshActor {
    type Result = ();

    fn handle(&mut self, mail: SendMail, ctx: &mut Self::Context) {
        self.send(mail, ctx);
        self.follow(ctx);
    }
}
