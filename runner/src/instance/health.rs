//! Health of an instance: a server that has been silent is asked for a sign of life.
//!
//! Any answer is life, an error too. A miss counts only while no call is under way: a server that works on a call may
//! be busy, and the call has its own time limit.

use std::sync::Arc;
use std::time::Duration;

use supervision::{ExitReason, Life};
use tokio::time::{sleep, timeout};

use crate::service::Entry;

/// Between a miss and the next ping.
const AGAIN: Duration = Duration::from_millis(100);

/// Watches until the server does not answer.
pub(super) async fn run(life: Life, entry: Arc<Entry>) -> ExitReason {
    tokio::select! {
        () = life.stopping() => ExitReason::Shutdown,
        misses = watch(&life, &entry) => ExitReason::Error(format!("no answer to {misses} pings in a row")),
    }
}

async fn watch(life: &Life, entry: &Entry) -> u32 {
    let policy = &entry.spec.policy;
    let idle = Duration::from_millis(policy.health_idle_ms);
    let limit = Duration::from_millis(policy.health_timeout_ms);
    let mut misses = 0;
    while misses < policy.health_misses {
        let silent = entry.silent_for();
        if misses == 0 && silent < idle {
            sleep(idle - silent).await;
            continue;
        }
        let Some(client) = entry.client() else {
            sleep(idle).await;
            continue;
        };
        if timeout(limit, client.request("ping", b"")).await.is_ok() || entry.silent_for() < limit {
            misses = 0;
            life.clear_fact("misses");
        } else if entry.in_flight() == 0 {
            misses += 1;
            life.fact("misses", misses);
            sleep(AGAIN).await;
        } else {
            misses = 0;
        }
    }
    misses
}
