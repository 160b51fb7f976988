//! What watches have to say: written with the message for their owner in one transaction.

use std::sync::Arc;

use actix::prelude::*;
use protocol::wire::{Ack, Priority, Push};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{MeshActor, Pending, recall, system_push};
use crate::mesh::mail::{Accepted, Address, Envelope, Letter, Of, Recipient};
use crate::metrics::Limit;
use crate::store::{Entry, MessageId, NewDelivery, NewMessage, WatchCommit};

/// Something happened to a watch.
#[derive(Message)]
#[rtype(result = "()")]
pub struct CommitWatch {
    /// What is to be written.
    pub commit: WatchCommit,
    /// What its owner is told, if anything.
    pub told: Option<Told>,
    /// Called once both are stored, before anybody is told: lists then say what the message says.
    pub shown: Box<dyn FnOnce() + Send>,
    /// What became of it; dropped when nobody knows.
    pub answer: oneshot::Sender<Settled>,
}

/// What a watch's owner is told.
pub struct Told {
    /// The member's mailbox.
    pub to: Address,
    /// The published name of the event.
    pub event: &'static str,
    /// Its data.
    pub data: serde_json::Map<String, Value>,
    /// How urgent it is.
    pub priority: Priority,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Both are stored.
    Stored,
    /// The watch is gone, or not as it was believed to be; nothing is stored.
    Superseded,
    /// Nothing is stored.
    NotTaken(NotTaken),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotTaken {
    /// There is no room for the message.
    NoRoom,
    /// The store did not take it.
    Refused(String),
}

/// What waits for the scribe.
pub(super) struct Watching {
    /// The message's number.
    seq: Option<i64>,
    shown: Box<dyn FnOnce() + Send>,
    answer: oneshot::Sender<Settled>,
}

impl MeshActor {
    fn commit_watch(&mut self, CommitWatch { commit, told, shown, answer }: CommitWatch) {
        let word = match told.map(|told| self.word(told)).transpose() {
            Ok(word) => word,
            Err(not_taken) => {
                let _ = answer.send(Settled::NotTaken(not_taken));
                return;
            }
        };
        let seq = word.as_ref().map(|(message, _)| message.seq);
        let entry = Entry::Watch(Box::new(commit), word.map(|(message, to)| (Box::new(message), to)));
        if let Err((full, Pending::Watching(it))) =
            self.write(entry, Pending::Watching(Box::new(Watching { seq, shown, answer })))
        {
            self.unwatched(*it, full.to_string());
        }
    }

    /// The message with its room reserved.
    fn word(&mut self, told: Told) -> Result<(NewMessage, Vec<NewDelivery>), NotTaken> {
        let Told { to, event, mut data, priority } = told;
        let now = self.now();
        let (seq, id) = (self.mesh.store.number(), MessageId::new());
        let refused = |error: serde_json::Error| NotTaken::Refused(error.to_string());
        // By it a client knows what it was told already.
        data.insert("changeId".to_owned(), json!(id.to_string()));
        let push = system_push(&self.mesh, event, &Value::Object(data), now);
        let target = to.to_string();
        let head =
            Push { message_id: id.to_string(), seq: Some(seq), priority, target_spec: Some(target.clone()), ..push };
        let letter = Letter::new(&head, ("", ""), None, recall::OVERHEAD_BYTES).map(Arc::new).map_err(refused)?;
        let delivery = self.mesh.store.number();
        let recipient = Recipient { mailbox: to, of: Of::Member, name: String::new(), key: None, delivery };
        let row = self.row(&letter, ("", ""), id, &Ack::default(), now).map_err(refused)?;
        let envelope = Envelope { letter: Arc::clone(&letter), from: None, recipients: vec![recipient], direct: true };
        let accepted = self.mail.accept(envelope, now).map_err(|_| {
            self.mesh.metrics.limits.count(Limit::MailboxMessages);
            NotTaken::NoRoom
        });
        let Accepted { recipients, .. } = accepted?;
        let bytes = i32::try_from(letter.bytes).unwrap_or(i32::MAX);
        let of = |to: &Recipient| NewDelivery {
            id: to.delivery,
            mailbox: to.mailbox.to_string(),
            of_member: true,
            bytes,
            wrapped_key: None,
        };
        Ok((NewMessage { target, ..row }, recipients.iter().map(of).collect()))
    }

    /// The store has taken it, or nothing of it.
    pub(super) fn watched(&mut self, it: Watching, stored: bool) {
        let now = self.now();
        if stored {
            (it.shown)();
        }
        match it.seq {
            Some(seq) if stored => self.mail.stored(seq, now),
            Some(seq) => self.mail.given_up(seq),
            None => {}
        }
        // A watch that was removed meanwhile waits no longer.
        let _ = it.answer.send(if stored { Settled::Stored } else { Settled::Superseded });
    }

    pub(super) fn unwatched(&mut self, it: Watching, reason: String) {
        if let Some(seq) = it.seq {
            self.mail.given_up(seq);
        }
        let _ = it.answer.send(Settled::NotTaken(NotTaken::Refused(reason)));
    }
}

impl Handler<CommitWatch> for MeshActor {
    type Result = ();

    fn handle(&mut self, commit: CommitWatch, ctx: &mut Self::Context) {
        self.commit_watch(commit);
        self.follow(ctx);
    }
}
