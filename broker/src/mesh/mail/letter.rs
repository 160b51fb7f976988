//! A message as it is pushed.

use protocol::identity::PublicKey;
use protocol::wire::{Envelope, Priority, Push, ServerMessage};

/// A message in memory, shared by all its deliveries.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Its place in the order of acceptance.
    pub seq: i64,
    /// When it is to be shown.
    pub priority: Priority,
    /// What it counts against limits.
    pub bytes: u64,
    /// The frame; the keys of `e2e` are not in it.
    pub push: Push,
}

impl Letter {
    /// The frame for a recipient, with its own sealed key.
    #[must_use]
    pub fn frame(&self, key: Option<(PublicKey, &str)>) -> String {
        let mut push = self.push.clone();
        if let (Some(e2e), Some((member, key))) = (&mut push.e2e, key) {
            e2e.keys.insert(member, key.to_owned());
        }
        let message = ServerMessage::Push(Box::new(push));
        // Only a number without a JSON form could do this, and a push has none.
        Envelope::new(message, None).to_json().unwrap_or_default()
    }
}
