//! The child specifications of one mesh.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Ack, Backoff, Child, ChildSpec, Intensity, Restart, Shutdown, Strategy, Supervisor};

use super::actor::MeshActor;
use super::{MeshContext, hosted, journal, scribe};

/// A mesh whose parts fail more often than this is parked; the other meshes go on.
const INTENSITY: Intensity = Intensity { max_restarts: 5, within: Duration::from_secs(60) };

/// The child of the set `meshes` that carries one mesh.
pub(super) fn child(mesh: &Arc<MeshContext>) -> Child {
    let spec = ChildSpec::new(mesh.slug.clone())
        .kind("mesh")
        .restart(Restart::Permanent)
        .shutdown(Shutdown::Infinity)
        .start_timeout(Duration::from_secs(60))
        .intensity(INTENSITY)
        .backoff(Backoff {
            first: Duration::from_millis(200),
            max: Duration::from_secs(16),
            jitter: 0.2,
            stable: Duration::from_secs(30),
        });
    let parts = Supervisor::new(Strategy::OneForOne, INTENSITY)
        .child(scribe(mesh))
        .child(presence(mesh))
        .child(journal(mesh))
        .child(hosted(mesh))
        .child(Child::dynamic(set("peers"), &mesh.peers))
        .child(Child::dynamic(set("services"), mesh.services.set()))
        .child(Child::dynamic(set("watches"), mesh.watches.set()));
    Child::supervisor(spec, parts)
}

fn set(id: &str) -> ChildSpec {
    ChildSpec::new(id)
        .kind("set")
        .restart(Restart::Permanent)
        .shutdown(Shutdown::Infinity)
        .start_timeout(Duration::from_secs(60))
}

fn scribe(mesh: &Arc<MeshContext>) -> Child {
    let spec = ChildSpec::new("scribe")
        .kind("scribe")
        .restart(Restart::Permanent)
        // It stops after the mesh's actor: enough for what was given last.
        .shutdown(Shutdown::Deadline(Duration::from_secs(5)));
    let mesh = Arc::clone(mesh);
    Child::task(spec, move |life| scribe::run(Arc::clone(&mesh), life))
}

fn presence(mesh: &Arc<MeshContext>) -> Child {
    let spec = ChildSpec::new("mesh")
        .kind("presence")
        .restart(Restart::Permanent)
        // Ready once the store was read.
        .ack(Ack::Explicit)
        .start_timeout(Duration::from_secs(30))
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)))
        // Sends beyond it wait in their ports, which read no further then.
        .mailbox(16_384);
    let context = Arc::clone(mesh);
    Child::actor(spec, &mesh.presence, move |life| MeshActor::new(Arc::clone(&context), life.clone()))
}

fn journal(mesh: &Arc<MeshContext>) -> Child {
    let spec = ChildSpec::new("journal")
        .kind("journal")
        .restart(Restart::Permanent)
        // Enough for a last batch.
        .shutdown(Shutdown::Deadline(Duration::from_secs(5)));
    let mesh = Arc::clone(mesh);
    Child::task(spec, move |life| journal::run(Arc::clone(&mesh), life))
}

fn hosted(mesh: &Arc<MeshContext>) -> Child {
    let spec = ChildSpec::new("hosted")
        .kind("hosted")
        .restart(Restart::Permanent)
        // It only ends what time ends: nothing to finish.
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)));
    let mesh = Arc::clone(mesh);
    Child::task(spec, move |life| hosted::run(Arc::clone(&mesh), life))
}
