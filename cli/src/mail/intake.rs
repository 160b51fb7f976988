//! What becomes of messages that come: each is judged, and noted in the session's file before it is shown to anybody; so it
//! is shown once at most.

use std::time::Duration;

use protocol::mail::{Reader, open};
use protocol::wire::{ClientAck, Push};
use tokio::time::Instant;

use super::shown::Item;
use crate::client::{Frame, Mesh, Trusted};
use crate::error::CliError;
use crate::output::age;
use crate::profile::SessionMemory;
use crate::wire::mesh::{CLIENT_ACK_TYPE, PUSH_TYPE};

/// The list of members is asked for again after this long, when a message comes.
const ROLL_KEPT: Duration = Duration::from_secs(60);

/// Who judges messages, and what it compares them with.
#[derive(Debug)]
pub(crate) struct Intake {
    memory: SessionMemory,
    trusted: Trusted,
    asked_at: Instant,
}

/// What was taken: what is new of it, and what of it is to be acknowledged once that was shown.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// In the order in which it came.
    pub(crate) news: Vec<Item>,
    message_ids: Vec<String>,
}

impl Intake {
    /// Of a session that has just connected.
    pub(crate) async fn open(mesh: &Mesh) -> Result<Self, CliError> {
        let trusted = mesh.trusted().await?;
        Ok(Self { memory: mesh.file.read()?.nonces(), trusted, asked_at: Instant::now() })
    }

    /// Takes the messages among what came.
    pub(crate) async fn take(&mut self, mesh: &Mesh, frames: &[Frame]) -> Result<Taken, CliError> {
        let pushes: Vec<Push> = frames
            .iter()
            .filter(|frame| frame.kind() == PUSH_TYPE)
            .filter_map(|frame| frame.read().ok())
            // Events of presence are for those who are present.
            .filter(|push: &Push| push.subtype.is_none() || push.seq.is_some())
            .collect();
        if pushes.is_empty() {
            return Ok(Taken::default());
        }
        self.refresh(mesh, &pushes).await;
        let mut news = Vec::new();
        for push in &pushes {
            if !self.memory.has_message(&push.message_id) {
                let item = self.judge(mesh, push);
                self.memory.add(&push.message_id, item.opened.clone());
                news.push((push.message_id.clone(), item));
            }
        }
        mesh.file.update(|memory| {
            for (message_id, item) in &news {
                memory.remember_seen(message_id, item.opened.clone());
            }
        })?;
        let news = news.into_iter().map(|(_, item)| item).collect();
        Ok(Taken { news, message_ids: pushes.into_iter().map(|push| push.message_id).collect() })
    }

    /// Asks who belongs to the mesh again, if a sender is new or the answer is old.
    async fn refresh(&mut self, mesh: &Mesh, pushes: &[Push]) {
        let is_new = |push: &Push| push.member_pubkey.is_some_and(|key| self.trusted.roll.member(&key).is_none());
        if self.asked_at.elapsed() < ROLL_KEPT && !pushes.iter().any(is_new) {
            return;
        }
        self.asked_at = Instant::now();
        // Without an answer the older one is what there is.
        if let Ok(trusted) = mesh.trusted().await {
            self.trusted = trusted;
        }
    }

    fn judge(&self, mesh: &Mesh, push: &Push) -> Item {
        if push.subtype.is_some() {
            return Item::event(push);
        }
        let reader = Reader {
            mesh_id: mesh.id(),
            session: &mesh.session,
            member: &mesh.member,
            roll: &self.trusted.roll,
            nonces: &self.memory,
        };
        Item::message(push, open(push, &reader), age::now_ms())
    }
}

impl Taken {
    /// Tells the broker that these need not come again.
    pub(crate) async fn acknowledge(self, mesh: &Mesh) {
        if self.message_ids.is_empty() {
            return;
        }
        // An acknowledgement that is lost brings the message again, and it is known then.
        let _ = mesh.client.tell(CLIENT_ACK_TYPE, &ClientAck { message_ids: self.message_ids }).await;
    }
}
