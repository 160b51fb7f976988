//! The child specification of a service.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Ack, Backoff, Child, ChildSpec, Intensity, Restart, Shutdown};

use super::actor::ServiceActor;
use super::view::ServiceCell;
use crate::mesh::MeshContext;

/// Ready once the store was read; the store's own time limits are shorter.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The child of the set `services` that carries one service.
#[must_use]
pub fn child(mesh: &Arc<MeshContext>, cell: &Arc<ServiceCell>) -> Child {
    let spec = ChildSpec::new(cell.name.clone())
        .kind("service")
        // It ends normally when it was undeployed and nothing is left; everything else is a fault.
        .restart(Restart::Transient)
        .ack(Ack::Explicit)
        .start_timeout(START_TIMEOUT)
        // Nothing to drain: services outlive their broker.
        .shutdown(Shutdown::Deadline(Duration::from_secs(2)))
        .intensity(Intensity { max_restarts: 5, within: Duration::from_secs(60) })
        .backoff(Backoff {
            first: Duration::from_millis(200),
            max: Duration::from_secs(16),
            jitter: 0.2,
            stable: Duration::from_secs(30),
        })
        .mailbox(1_024);
    let (mesh, cell) = (Arc::clone(mesh), Arc::clone(cell));
    let slot = cell.slot.clone();
    Child::actor(spec, &slot, move |life| ServiceActor::new(Arc::clone(&mesh), Arc::clone(&cell), life.clone()))
}
