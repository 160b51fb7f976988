//! The child specification of a peer session.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Child, ChildSpec, Restart, Shutdown, Slot};

use super::actor::{PeerActor, Seated};
use crate::mesh::MeshContext;

/// The child of the set `peers` that carries one session.
#[must_use]
pub fn child(mesh: &Arc<MeshContext>, seated: Seated, slot: &Slot<PeerActor>) -> Child {
    let spec = ChildSpec::new(seated.presence.presence_id.as_ref())
        .kind("peer")
        // Its client says hello again; nothing here could.
        .restart(Restart::Temporary)
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)))
        .mailbox(256);
    let mesh = Arc::clone(mesh);
    Child::actor(spec, slot, move |life| PeerActor::new(Arc::clone(&mesh), seated.clone(), life.clone()))
}
