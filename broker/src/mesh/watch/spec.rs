//! The child specification of a watch.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Backoff, Child, ChildSpec, Intensity, Restart, Shutdown};

use super::actor;
use super::directory::Cell;
use crate::mesh::MeshContext;

/// The child of the set `watches` that carries one watch.
pub(super) fn child(mesh: &Arc<MeshContext>, cell: &Arc<Cell>) -> Child {
    let spec = ChildSpec::new(cell.row.id.clone())
        .kind("watch")
        // It ends when it is removed; everything else is a fault.
        .restart(Restart::Permanent)
        // A look has nothing to finish; what is being written is settled without it.
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)))
        .intensity(Intensity { max_restarts: 5, within: Duration::from_secs(120) })
        .backoff(Backoff {
            first: Duration::from_secs(1),
            max: Duration::from_secs(60),
            jitter: 0.2,
            stable: Duration::from_secs(60),
        });
    let (mesh, cell) = (Arc::clone(mesh), Arc::clone(cell));
    Child::task(spec, move |life| actor::run(Arc::clone(&mesh), Arc::clone(&cell), life))
}
