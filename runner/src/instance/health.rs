//! Health of an instance: a server that has been silent is asked for a sign of life.
//!
//! Any answer is life, an error too. A server that works on a call may be busy, and the call has its own time limit: a miss
//! does not count while the server has been silent for less than a call before it may take. A server that let so many
//! calls in a row run out of time that it gets no more of them is excused by none.

use std::sync::Arc;
use std::time::Duration;

use supervision::{ExitReason, Life};
use tokio::time::{sleep, timeout};

use super::cell::Cell;

/// Between a miss and the next ping.
const AGAIN: Duration = Duration::from_millis(100);

/// Watches until the server does not answer.
pub(super) async fn run(life: Life, cell: Arc<Cell>) -> ExitReason {
    tokio::select! {
        () = life.stopping() => ExitReason::Shutdown,
        misses = watch(&life, &cell) => ExitReason::Error(format!("no answer to {misses} pings in a row")),
    }
}

async fn watch(life: &Life, cell: &Cell) -> u32 {
    let entry = &cell.entry;
    let policy = &entry.spec.policy;
    let idle = Duration::from_millis(policy.health_idle_ms);
    let limit = Duration::from_millis(policy.health_timeout_ms);
    let mut misses = 0;
    while misses < policy.health_misses {
        let Some((generation, client)) = entry.client(cell.instance) else {
            sleep(idle).await;
            continue;
        };
        let silent = client.silent_for();
        if misses == 0 && silent < idle {
            sleep(idle - silent).await;
            continue;
        }
        if timeout(limit, client.request("ping", b"")).await.is_ok() || client.silent_for() < limit {
            misses = 0;
            life.clear_fact("misses");
        } else if entry.patience(generation).is_some_and(|time| client.silent_for() < time) {
            misses = 0;
        } else {
            misses += 1;
            life.fact("misses", misses);
            sleep(AGAIN).await;
        }
    }
    misses
}
