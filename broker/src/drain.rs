//! Starts last, so it stops first: nothing new comes in, what is under way comes to its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use supervision::{Child, ChildSpec, ExitReason, Life, Restart, Shutdown};
use tokio::time::{Instant, sleep};

use crate::runners::{Link, Runners};

/// Longest wait for the calls that are under way.
const CALLS_WITHIN: Duration = Duration::from_secs(5);
/// How often the number of calls is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The root's child `drain`.
#[must_use]
pub fn child(draining: &Arc<AtomicBool>, runners: &Runners) -> Child {
    let spec = ChildSpec::new("drain")
        .kind("drain")
        .restart(Restart::Permanent)
        .shutdown(Shutdown::Deadline(CALLS_WITHIN + Duration::from_secs(1)));
    let (draining, runners) = (Arc::clone(draining), runners.clone());
    Child::task(spec, move |life| run(Arc::clone(&draining), runners.clone(), life))
}

async fn run(draining: Arc<AtomicBool>, runners: Runners, life: Life) -> ExitReason {
    // A restart of the parts before this one must not leave the door closed.
    draining.store(false, Ordering::Release);
    life.stopping().await;
    draining.store(true, Ordering::Release);
    let deadline = Instant::now() + CALLS_WITHIN;
    while runners.all().map(Link::calls).sum::<usize>() > 0 && Instant::now() < deadline {
        sleep(LOOK_EVERY).await;
    }
    ExitReason::Shutdown
}
