//! What goes to the mesh's actor straight from the socket: messages, and what says that they arrived.
//!
//! The actor's mailbox has a bound. What does not fit waits here, and the socket is not read further meanwhile: whoever
//! sends too fast feels it as a slow connection, and loses nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::{Handler, Message};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use protocol::wire::Send as SendRequest;
use supervision::Tracked;
use tokio::time::{Instant, sleep};

use super::outlet::PortOutlet;
use super::port::Joined;
use crate::mesh::MeshContext;
use crate::mesh::actor::{MeshActor, SendMail, Ticket};
use crate::mesh::peer::Outlet;
use crate::metrics::Limit;

/// Messages of one socket that may wait for their answers; further ones are not read.
pub(super) const MAX_SENDS: usize = 256;
/// How long a mesh that takes nothing is borne, and how often it is tried.
const GIVE_WITHIN: Duration = Duration::from_secs(5);
const GIVE_AGAIN: Duration = Duration::from_millis(2);

/// Something is still to be given.
pub(super) type Giving = LocalBoxFuture<'static, ()>;

/// Gives something to the mesh's actor, now or by the future that is returned.
pub(super) fn give<M>(mesh: &Arc<MeshContext>, message: M) -> Option<Giving>
where
    MeshActor: Handler<Tracked<M>>,
    M: Message + Clone + Send + 'static,
    M::Result: Send,
{
    mesh.presence.tell(message.clone()).err()?;
    let mesh = Arc::clone(mesh);
    Some(async move { insist(&mesh, message).await.unwrap_or_default() }.boxed_local())
}

/// True when it was taken at last.
async fn insist<M>(mesh: &MeshContext, message: M) -> Option<()>
where
    MeshActor: Handler<Tracked<M>>,
    M: Message + Clone + Send + 'static,
    M::Result: Send,
{
    let deadline = Instant::now() + GIVE_WITHIN;
    while mesh.presence.tell(message.clone()).is_err() {
        if Instant::now() > deadline {
            mesh.metrics.limits.count(Limit::SessionMailbox);
            return None;
        }
        sleep(GIVE_AGAIN).await;
    }
    Some(())
}

/// Gives a message to the mesh's actor; its one answer goes to the outlet, whatever becomes of it on its way.
pub(super) fn send(joined: &Joined, outlet: &PortOutlet, send: SendRequest, req_id: Option<&str>) -> Option<Giving> {
    let outlet: Arc<dyn Outlet> = Arc::new(outlet.clone());
    let (mesh, sends) = (Arc::clone(&joined.mesh), Arc::clone(&joined.sends));
    let from = Arc::clone(&joined.presence.presence_id);
    let (send, req_id) = (Arc::new(send), req_id.map(str::to_owned));
    let mail = move |place| {
        let ticket = Ticket::new(outlet, req_id, send.id.clone(), place);
        SendMail { from, send, ticket: Arc::new(Mutex::new(Some(ticket))) }
    };
    if let Ok(place) = Arc::clone(&sends).try_acquire_owned() {
        return give(&mesh, mail(place));
    }
    mesh.metrics.limits.count(Limit::SessionSends);
    let waited = async move {
        // Closed by nobody.
        if let Ok(place) = sends.acquire_owned().await {
            insist(&mesh, mail(place)).await.unwrap_or_default();
        }
    };
    Some(waited.boxed_local())
}
