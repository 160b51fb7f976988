//! The tree of one service.

use std::sync::Arc;
use std::time::Duration;

use supervision::{Child, ChildSpec, Restart, Shutdown, Strategy, Supervisor};

use super::entry::Entry;
use super::spec::{
    BUILD_MARGIN, BY_ITSELF, GIVE_UP_LIMIT, INSTANCE, INSTANCES, MEMBER_INTENSITY, PREPARE, SharedMeans, backoff,
    intensity, restart, strategy,
};
use super::{observe, tasks};
use crate::instance;

/// The service as a member of the set, under `id`.
pub(super) fn service(id: &str, entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let policy = &entry.spec.policy;
    let is_one = policy.instances == 1;
    // Where instances have a supervisor of their own, theirs decides what is borne.
    let borne = if is_one { intensity(policy) } else { MEMBER_INTENSITY };
    let supervisor = Supervisor::new(Strategy::OneForOne, borne)
        .backoff(backoff(policy))
        .observe(observe::parts(entry))
        .child(calls(entry))
        .child(prepare(entry, means))
        .child(if is_one { instance(0, entry, means) } else { instances(entry, means) });
    Child::supervisor(ChildSpec::new(id).kind("service").intensity(MEMBER_INTENSITY), supervisor)
}

/// All of them, under the strategy that the policy names.
fn instances(entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let policy = &entry.spec.policy;
    let supervisor =
        Supervisor::new(strategy(policy), intensity(policy)).backoff(backoff(policy)).observe(observe::parts(entry));
    let count = usize::try_from(policy.instances).unwrap_or(1);
    let supervisor = (0..count).fold(supervisor, |all, n| all.child(instance(n, entry, means)));
    Child::supervisor(ChildSpec::new(INSTANCES).kind("instances"), supervisor)
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
    Child::task(spec, move |life| {
        let (entry, means) = (Arc::clone(&entry), Arc::clone(&means));
        async move { entry.clean_exit(tasks::prepare(life, Arc::clone(&entry), means).await) }
    })
}

fn instance(number: usize, entry: &Arc<Entry>, means: &SharedMeans) -> Child {
    let supervisor = instance::supervisor(number, entry, means).observe(observe::program(number, entry));
    let id = format!("{INSTANCE}{}", instance::key(number));
    let spec = ChildSpec::new(id.as_str()).kind("instance").restart(restart(&entry.spec.policy));
    Child::supervisor(spec, supervisor)
}
