//! What the mesh's actor takes.

use std::sync::{Arc, Mutex};

use actix::prelude::*;
use protocol::wire::{MeshInfoResult, Peer, Scope, Send as SendRequest};
use serde_json::Value;
use tokio::sync::oneshot;

use super::send::Ticket;

use crate::mesh::admission::Refusal;
use crate::mesh::mail::PresenceId;
use crate::mesh::peer::{Outlet, Presence};
use crate::mesh::roster::{Restored, Say, SayError};
use crate::mesh::scope::{Principal, Verb, may};
use crate::mesh::scribe::{Outcome, Token};
use crate::store::MemberId;

/// A connection's session comes, with a new hello or after a restart of the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// Who.
    pub presence: Arc<Presence>,
    /// Where its frames go.
    pub outlet: Arc<dyn Outlet>,
    /// What is new about it; `None` for one that was in already.
    pub fresh: Option<Fresh>,
}

/// What comes with a new hello.
pub struct Fresh {
    /// What the hello is known by: it is good once.
    pub replay_key: String,
    /// Makes the first frame that the client is sent.
    pub greeting: Greeting,
    /// Whether it may stay.
    pub answer: oneshot::Sender<Result<(), Refusal>>,
}

/// Makes the answer to a hello from what the session gets back.
pub(super) type Greeting = Box<dyn FnOnce(Option<&Restored>) -> String + Send>;

/// A connection is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which.
    pub presence: PresenceId,
    /// It said goodbye; else its socket dropped.
    pub goodbye: bool,
}

/// A message to be sent.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct SendMail {
    /// By whom.
    pub from: PresenceId,
    /// The message.
    pub send: Arc<SendRequest>,
    /// Its answer, until somebody takes it upon himself to give it.
    pub ticket: Arc<Mutex<Option<Ticket>>>,
}

/// Messages that the client has.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Acked {
    /// The client.
    pub presence: PresenceId,
    /// The messages.
    pub messages: Arc<Vec<String>>,
}

/// The client answered a ping.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Ponged {
    /// The client.
    pub presence: PresenceId,
    /// The ping's mark.
    pub mark: u64,
}

/// Everything that waits is to come.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReadMail {
    /// The reader.
    pub presence: PresenceId,
    /// Also what comes later.
    pub follow: bool,
    /// Echoed on the answer.
    pub req_id: Option<String>,
}

/// A session says something about itself, or about another of its member's.
#[derive(Message)]
#[rtype(result = "Result<(), SpeakError>")]
pub struct Speak {
    /// Who speaks.
    pub presence: PresenceId,
    /// For which session of the same member; `None` for itself.
    pub session: Option<String>,
    /// What.
    pub say: Say,
}

/// Why it is not heard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpeakError {
    /// The words are not taken.
    #[error(transparent)]
    Say(#[from] SayError),
    /// No such session of this member.
    #[error("`session`: this member has no session `{0}` here")]
    NoSession(String),
    /// The speaker is not here.
    #[error("this session is not here")]
    NotHere,
}

/// Everybody who shows.
#[derive(Message)]
#[rtype(result = "Vec<Peer>")]
pub struct ListPresent {
    /// As this member sees it.
    pub viewer: MemberId,
}

/// The mesh in figures.
#[derive(Message)]
#[rtype(result = "MeshInfoResult")]
pub struct GetInfo {
    /// As this connection sees it.
    pub presence: PresenceId,
}

/// What mailboxes' owners are called, and whether they are here.
#[derive(Message)]
#[rtype(result = "Vec<(String, bool)>")]
pub struct NameMailboxes(pub Vec<String>);

/// Something to be told to those whom it concerns.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Announce {
    /// The published name of the event.
    pub event: &'static str,
    /// Its data.
    pub data: Value,
    /// Who may know; `None` for every session.
    pub audience: Option<Audience>,
    /// Who of these is told otherwise.
    pub unless: Option<Audience>,
}

/// A service lists other tools than before, or is there no more. Told to whatever offers its tools, so to everybody
/// connected who may see it, or might until now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ToolsChanged {
    /// The service.
    pub service: String,
    /// Who may know.
    pub audience: Audience,
    /// For whom of these nothing is other than before.
    pub unless: Option<Audience>,
}

/// Those who may see a service.
#[derive(Debug, Clone)]
pub struct Audience {
    /// The service's scope.
    pub scope: Scope,
    /// Its deployer's member id.
    pub deployed_by: String,
}

impl Audience {
    pub(super) fn includes(&self, who: &Principal) -> bool {
        may(who, Verb::See, &self.scope, &self.deployed_by)
    }
}

/// Members, roles or restricted groups are others than before.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MembersChanged;

/// What the scribe wrote. Taken out by whoever handles it.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Written(pub Arc<Mutex<Option<Outcomes>>>);

/// What became of entries, in their order.
pub(super) type Outcomes = Vec<(Token, Outcome)>;
