//! A receiver as a client is: a message is shown once, whatever comes again, and acknowledged when it was shown.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::ledger::Slip;
use super::peer::Peer;
use super::session::{Client, Session};

/// Between two messages that are due.
const PATIENCE: Duration = Duration::from_secs(30);

/// One session, with what it has shown in all its connections.
#[derive(Debug)]
pub struct Receiver {
    /// Whose.
    pub session: Session,
    /// What was shown, in this order.
    pub shown: Vec<Slip>,
    /// How often something came that had been shown before.
    pub again: usize,
    /// Events of the mesh, in their order: name and data.
    pub events: Vec<(String, Value)>,
    client: Client,
    port: u16,
    seen: HashSet<String>,
    peer: Option<Peer>,
}

impl Receiver {
    /// Not connected yet.
    #[must_use]
    pub fn new(session: Session, port: u16, client: Client) -> Self {
        let (shown, events) = (Vec::new(), Vec::new());
        Self { session, shown, again: 0, events, client, port, seen: HashSet::new(), peer: None }
    }

    /// The same, connected.
    ///
    /// # Errors
    /// What the broker answered.
    pub async fn entered(session: Session, port: u16, client: Client) -> Result<Self, String> {
        let mut receiver = Self::new(session, port, client);
        receiver.enter().await?;
        Ok(receiver)
    }

    /// Connects, and closes the connection that it had.
    ///
    /// # Errors
    /// What the broker answered.
    pub async fn enter(&mut self) -> Result<(), String> {
        self.leave();
        self.peer = Some(Peer::enter(self.port, &self.session, self.client).await?);
        Ok(())
    }

    /// Connects beside the connection that it had, which it gives back.
    ///
    /// # Errors
    /// What the broker answered.
    pub async fn enter_beside(&mut self) -> Result<Option<Peer>, String> {
        let newer = Peer::enter(self.port, &self.session, self.client).await?;
        Ok(self.peer.replace(newer))
    }

    /// Cuts the connection.
    pub fn leave(&mut self) {
        self.peer = None;
    }

    /// The connection.
    ///
    /// # Panics
    /// When there is none.
    pub fn peer(&mut self) -> &mut Peer {
        self.peer.as_mut().expect("the receiver is connected")
    }

    /// Takes the next frame in; gives it back if it is no push.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn hear(&mut self) -> Result<Option<Value>, String> {
        let next = timeout(PATIENCE, self.peer().next()).await;
        let message = next.map_err(|_| format!("nothing came for {PATIENCE:?}; {}", self.words()))??;
        if message["type"] != "push" {
            return Ok(Some(message));
        }
        if let Some(event) = message["event"].as_str() {
            self.events.push((event.to_owned(), message["eventData"].clone()));
        }
        let id = message["messageId"].as_str().ok_or(format!("a push without an id: {message}"))?.to_owned();
        if let Some(slip) = message["ciphertext"].as_str().and_then(Slip::of) {
            if self.seen.insert(id.clone()) {
                self.shown.push(slip);
            } else {
                self.again += 1;
            }
        }
        if self.client != Client::Old {
            self.peer().send(json!({ "type": "client_ack", "messageIds": [id] })).await?;
        }
        Ok(None)
    }

    /// Hears until so many were shown in all.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn until_shown(&mut self, count: usize) -> Result<(), String> {
        while self.shown.len() < count {
            self.hear().await?;
        }
        Ok(())
    }

    /// Asks something; what is pushed meanwhile is taken in.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn ask(&mut self, message: Value) -> Result<Value, String> {
        let id = self.peer().send(message).await?;
        loop {
            if let Some(answer) = self.hear().await?.filter(|answer| answer["_reqId"] == json!(id)) {
                return Ok(answer);
            }
        }
    }

    /// Everything that waits is taken in. How much that was by the broker's word.
    ///
    /// # Errors
    /// What the broker answered.
    pub async fn drain(&mut self) -> Result<u64, String> {
        let answer = self.ask(json!({ "type": "read_inbox" })).await?;
        answer["delivered"].as_u64().ok_or(format!("read_inbox was answered with {answer}"))
    }

    fn words(&self) -> String {
        format!("{} were shown, {} came again", self.shown.len(), self.again)
    }
}

/// Sends a message and waits until the broker has taken it; its id there.
///
/// # Errors
/// Why it did not.
pub async fn delivered_to_broker(peer: &mut Peer, message: Value) -> Result<String, String> {
    let ack = peer.ask(message).await?;
    match (ack["queued"].as_bool(), ack["messageId"].as_str()) {
        (Some(true), Some(id)) => Ok(id.to_owned()),
        _ => Err(format!("send was answered with {ack}")),
    }
}
