//! The tree of one service.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Child, ChildSpec, Restart, Shutdown, Strategy, Supervisor};

use super::entry::Entry;
use super::spec::{
    BUILD_MARGIN, BY_ITSELF, GIVE_UP_LIMIT, INSTANCE, MEMBER_INTENSITY, PREPARE, SharedMeans, backoff, intensity,
    restart,
};
use super::{observe, tasks};
use crate::instance;

/// The service as a member of the set, under `id`.
pub(super) fn service(id: &str, entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let policy = &entry.spec.policy;
    let supervisor = Supervisor::new(Strategy::OneForOne, intensity(policy))
        .backoff(backoff(policy))
        .observe(observe::parts(entry))
        .child(calls(entry))
        .child(prepare(entry, means))
        .child(shared_instance(entry, means));
    Child::supervisor(ChildSpec::new(id).kind("service").intensity(MEMBER_INTENSITY), supervisor)
}

fn calls(entry: &Arc<Entry>) -> Child {
    let entry = Arc::clone(entry);
    Child::task(ChildSpec::new("calls").kind("calls"), move |life| tasks::calls(life, Arc::clone(&entry)))
}

fn prepare(entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let limit = Duration::from_millis(entry.spec.policy.build_timeout_ms) + BUILD_MARGIN;
    let spec = ChildSpec::new(PREPARE).kind("prepare").restart(Restart::Transient).ack(BY_ITSELF).start_timeout(limit);
    let spec = spec.shutdown(Shutdown::Deadline(GIVE_UP_LIMIT));
    let (entry, means) = (Arc::clone(entry), Arc::clone(means));
    Child::task(spec, move |life| tasks::prepare(life, Arc::clone(&entry), Arc::clone(&means)))
}

fn shared_instance(entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let supervisor = instance::supervisor(entry, means).observe(observe::program(entry));
    let spec = ChildSpec::new(INSTANCE).kind("instance").restart(restart(&entry.spec.policy));
    Child::supervisor(spec, supervisor)
}
