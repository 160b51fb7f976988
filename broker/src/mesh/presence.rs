//! The mesh's own actor: who is here, and to whom an event is told.
//!
//! Owns the list of present sessions. A restart empties it; every peer actor enters itself again, since
//! it looks for the mesh's new incarnation. Frames go to the sessions' outlets, which never block.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use serde_json::{Value, json};
use supervision::{Supervised, supervised};

use super::peer::{Outlet, Presence};
use super::scope::{Principal, Verb, may};
use protocol::wire::Scope;

/// Who is here.
#[derive(Default)]
pub struct MeshActor {
    present: BTreeMap<String, (Presence, Arc<dyn Outlet>)>,
}

supervised!(MeshActor);

impl Supervised for MeshActor {}

impl Actor for MeshActor {
    type Context = Context<Self>;
}

/// A session has come.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// Who.
    pub presence: Presence,
    /// Where its frames go.
    pub outlet: Arc<dyn Outlet>,
}

/// A session has gone.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave {
    /// Which.
    pub presence_id: String,
}

/// Everybody who shows.
#[derive(Message)]
#[rtype(result = "Vec<Presence>")]
pub struct ListPresent;

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
    fn includes(&self, who: &Principal) -> bool {
        may(who, Verb::See, &self.scope, &self.deployed_by)
    }
}

impl MeshActor {
    fn tell(&self, event: &'static str, data: &Value, concerns: impl Fn(&Presence) -> bool) {
        let mut frame = None;
        for (presence, outlet) in self.present.values().filter(|(presence, _)| concerns(presence)) {
            let frame = frame.get_or_insert_with(|| push(presence.mesh_id.as_str(), event, data));
            // A session that does not read is ended by its own bound.
            let _ = outlet.send(frame.clone());
        }
    }

    fn tell_of_presence(&self, event: &'static str, who: &Presence) {
        if who.shows {
            let data =
                json!({ "name": who.principal.display_name, "pubkey": who.address, "groups": who.principal.groups });
            self.tell(event, &data, |other| other.shows && other.presence_id != who.presence_id);
        }
    }
}

/// A system event as the wire has it.
fn push(mesh_id: &str, event: &str, data: &Value) -> String {
    json!({
        "type": "push",
        "messageId": uuid::Uuid::now_v7().to_string(),
        "meshId": mesh_id,
        "senderPubkey": "system",
        "priority": "low",
        "nonce": "",
        "ciphertext": "",
        "createdAt": jiff::Timestamp::now().to_string(),
        "subtype": "system",
        "event": event,
        "eventData": data,
    })
    .to_string()
}

impl Handler<Enter> for MeshActor {
    type Result = ();

    fn handle(&mut self, Enter { presence, outlet }: Enter, _: &mut Self::Context) {
        let new = !self.present.contains_key(&presence.presence_id);
        if new {
            self.tell_of_presence("peer_joined", &presence);
        }
        self.present.insert(presence.presence_id.clone(), (presence, outlet));
    }
}

impl Handler<Leave> for MeshActor {
    type Result = ();

    fn handle(&mut self, Leave { presence_id }: Leave, _: &mut Self::Context) {
        if let Some((presence, _)) = self.present.remove(&presence_id) {
            self.tell_of_presence("peer_left", &presence);
        }
    }
}

impl Handler<ListPresent> for MeshActor {
    type Result = MessageResult<ListPresent>;

    fn handle(&mut self, _: ListPresent, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.present.values().filter(|(who, _)| who.shows).map(|(who, _)| who.clone()).collect())
    }
}

impl Handler<Announce> for MeshActor {
    type Result = ();

    fn handle(&mut self, Announce { event, data, audience }: Announce, _: &mut Self::Context) {
        self.tell(event, &data, |who| {
            who.shows && audience.as_ref().is_none_or(|audience| audience.includes(&who.principal))
        });
    }
}
