//! What goes to the mesh's actor straight from the socket: messages, and what says that they arrived.
//!
//! The actor's mailbox has a bound. What does not fit waits here, and the socket is not read further meanwhile: whoever
//! sends too fast feels it as a slow connection, and loses nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::{Handler, Message};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use protocol::wire::{Ack, Send as SendRequest, SendFault, ServerMessage};
use supervision::Tracked;
use tokio::time::{Instant, sleep};

use super::outlet::PortOutlet;
use super::port::Joined;
use crate::mesh::MeshContext;
use crate::mesh::actor::{MeshActor, SendMail};
use crate::mesh::peer::{Outlet, reply};
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

/// Gives a message to the mesh's actor; its one answer goes to the outlet.
pub(super) fn send(joined: &Joined, outlet: &PortOutlet, send: SendRequest, req_id: Option<&str>) -> Option<Giving> {
    let outlet: Arc<dyn Outlet> = Arc::new(outlet.clone());
    let (mesh, sends) = (Arc::clone(&joined.mesh), Arc::clone(&joined.sends));
    let from = Arc::clone(&joined.presence.presence_id);
    let (send, req_id) = (Arc::new(send), req_id.map(str::to_owned));
    if let Ok(place) = Arc::clone(&sends).try_acquire_owned() {
        let mail = SendMail { from, outlet, req_id, send, place: Arc::new(place) };
        mesh.presence.tell(mail.clone()).err()?;
        return Some(async move { deliver(&mesh, mail).await }.boxed_local());
    }
    mesh.metrics.limits.count(Limit::SessionSends);
    let waited = async move {
        // Closed by nobody.
        if let Ok(place) = sends.acquire_owned().await {
            deliver(&mesh, SendMail { from, outlet, req_id, send, place: Arc::new(place) }).await;
        }
    };
    Some(waited.boxed_local())
}

async fn deliver(mesh: &MeshContext, mail: SendMail) {
    if insist(mesh, mail.clone()).await.is_none() {
        let (error, code) = (Some("the mesh takes no messages now".to_owned()), Some(SendFault::NotStored));
        let ack = Ack { id: mail.send.id.clone(), queued: false, error, code, ..Ack::default() };
        mail.outlet.send(reply::frame(ServerMessage::Ack(Box::new(ack)), mail.req_id.as_deref()));
    }
}
