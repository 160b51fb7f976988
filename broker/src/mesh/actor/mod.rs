//! The mesh's own actor: who is here, and whose mail goes where.
//!
//! Owns the [`Roster`] and the [`Mail`]; both decide, this carries out. What has to last goes through the scribe, and
//! nothing is acknowledged or pushed before it is written. Parent: the mesh. A restart reads everything back from the
//! store once the scribe has settled; peers enter again by themselves, silently, and what was not acknowledged is pushed
//! again.
//!
//! | file | holds |
//! |---|---|
//! | `messages` | what it takes |
//! | `recall` | from the store's rows, and to them |
//! | `enter` | sessions that come and go |
//! | `send` `resolve` | messages on their way in |
//! | `watch` | what watches have to say |
//! | `settle` | what the scribe wrote; what follows from decisions |
//! | `ask` | what is said and asked |
//! | `sweep` | what time brings |

mod ask;
mod enter;
mod messages;
mod recall;
mod resolve;
mod send;
mod settle;
mod sweep;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use protocol::wire::{Push, ServerMessage};
use serde_json::Value;
use supervision::{ExitReason, Life, Supervised, supervised};

use super::MeshContext;
use super::clock::Clock;
use super::mail::{Mail, PresenceId};
use super::members::Snapshot;
use super::peer::{Outlet, Presence, reply};
use super::roster::{GroupLists, Roster};
use super::scribe::{Full, Token};
use crate::store::{Entry, UtcMs};
use enter::Entering;
pub use messages::{
    Acked, Announce, Audience, Enter, Fresh, GetInfo, Leave, ListPresent, MembersChanged, NameMailboxes, Ponged,
    ReadMail, SendMail, Speak, SpeakError, ToolsChanged, Written,
};
use send::Sending;
pub use send::Ticket;
pub use watch::{CommitWatch, NotTaken, Settled, Told};

/// How often what the runners hold is looked through for what is on another one.
const STRAYS_EVERY: Duration = Duration::from_secs(5);
/// How often time is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Who is here, and whose mail goes where.
pub struct MeshActor {
    mesh: Arc<MeshContext>,
    life: Life,
    clock: Clock,
    roster: Roster,
    mail: Mail,
    lists: GroupLists,
    connected: HashMap<PresenceId, Connected>,
    /// Entries that the scribe has not settled.
    pending: HashMap<u64, Pending>,
    last_token: u64,
    /// Whoever reads its inbox, with what its answer is to echo.
    reading: HashMap<PresenceId, Option<String>>,
    sweep: sweep::Sweep,
    /// What was known of the members when it was looked at last.
    members: Arc<Snapshot>,
}

/// A connection.
struct Connected {
    presence: Arc<Presence>,
    outlet: Arc<dyn Outlet>,
}

/// What waits for the scribe.
enum Pending {
    Entering(Box<Entering>),
    Sending(Box<Sending>),
    Watching(Box<watch::Watching>),
}

supervised!(MeshActor);

impl Supervised for MeshActor {}

impl MeshActor {
    pub(super) fn new(mesh: Arc<MeshContext>, life: Life) -> Self {
        Self {
            mesh,
            life,
            clock: Clock::new(),
            roster: Roster::default(),
            mail: Mail::default(),
            lists: GroupLists::default(),
            connected: HashMap::new(),
            pending: HashMap::new(),
            last_token: 0,
            reading: HashMap::new(),
            sweep: sweep::Sweep::default(),
            members: Arc::default(),
        }
    }

    fn now(&self) -> UtcMs {
        self.clock.now()
    }

    /// Gives an entry to the scribe; `what` goes on when it is settled.
    fn write(&mut self, entry: Entry, what: Pending) -> Result<(), (Full, Pending)> {
        self.last_token += 1;
        let token = Token { life: self.life.generation(), number: self.last_token };
        match self.mesh.scribe.write(Some(token), entry) {
            Ok(()) => {
                self.pending.insert(token.number, what);
                Ok(())
            }
            Err(full) => Err((full, what)),
        }
    }

    fn fail(&self, reason: String, ctx: &mut Context<Self>) {
        tracing::error!(mesh = self.mesh.slug, reason, "the mesh's actor starts again");
        self.life.exit(ExitReason::Error(reason));
        ctx.stop();
    }
}

impl Actor for MeshActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mesh = Arc::clone(&self.mesh);
        let now = self.now();
        let recalled = async move { recall::recall(&mesh, now).await };
        ctx.wait(recalled.into_actor(self).map(|recalled, me, ctx| match recalled {
            Ok(recall::Recalled { sessions, waiting }) => {
                me.roster = Roster::recall(sessions);
                me.mail = Mail::recall(waiting);
                me.members_changed();
                me.show_facts();
                me.life.ready();
                ctx.run_interval(TICK, Self::tick);
                ctx.run_interval(STRAYS_EVERY, |me, _| me.mesh.services.sweep_runners(&me.mesh.runners));
            }
            Err(error) => me.fail(error, ctx),
        }));
    }
}

/// An event as the wire has it; not durable.
fn event_frame(mesh: &MeshContext, event: &str, data: &Value, now: UtcMs) -> String {
    let push = system_push(mesh, event, data, now);
    reply::frame(ServerMessage::Push(Box::new(push)), None)
}

fn system_push(mesh: &MeshContext, event: &str, data: &Value, now: UtcMs) -> Push {
    Push {
        message_id: uuid::Uuid::now_v7().to_string(),
        mesh_id: mesh.id.to_string(),
        sender_pubkey: SYSTEM.to_owned(),
        priority: protocol::wire::Priority::Low,
        created_at: now.to_string(),
        subtype: Some("system".to_owned()),
        event: Some(event.to_owned()),
        event_data: Some(data.clone()),
        ..Push::default()
    }
}

/// Who sends what the mesh itself has to say.
const SYSTEM: &str = "system";
