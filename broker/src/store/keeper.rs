//! Watches over the open store, as the first node of the tree.
//!
//! A store that stops answering is shown as `degraded`, with the reason; it is not a reason to close
//! every socket, since reads from memory and calls go on without it. A store that another broker has
//! taken over ([`Store::fenced`]) is: the keeper asks often enough that this is noticed while nobody
//! writes, and [`crate::run`] then ends the broker.

use std::time::Duration;

use supervision::{Child, ChildSpec, ExitReason, Life, Restart, Shutdown};
use tokio::time::{sleep, timeout};

use super::Store;

/// How often the store is asked for a sign of life.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How often while it gives none.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The root's child `store`.
#[must_use]
pub fn child(store: &Store) -> Child {
    let spec = ChildSpec::new("store")
        .kind("store")
        .restart(Restart::Permanent)
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)));
    let store = store.clone();
    Child::task(spec, move |life| run(store.clone(), life))
}

async fn run(store: Store, life: Life) -> ExitReason {
    life.fact("store_id", store.id().to_string());
    life.fact("backend", store.backend());
    let mut well = true;
    loop {
        let asked = tokio::select! {
            asked = timeout(ANSWER_WITHIN, store.probe()) => asked,
            () = life.stopping() => return ExitReason::Shutdown,
        };
        let trouble = match asked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(ExitReason::error(&error).to_string()),
            Err(_) => Some(format!("no answer for {ANSWER_WITHIN:?}")),
        };
        let pause = if trouble.is_none() { ASK_EVERY } else { ASK_AGAIN };
        match trouble {
            None => {
                if !well {
                    tracing::info!("the store answers again");
                }
                well = true;
                life.condition(None::<String>);
                life.clear_fact("reason");
            }
            Some(reason) => {
                if well {
                    tracing::error!(reason, "the store is in trouble");
                }
                well = false;
                life.condition(Some("degraded"));
                life.fact("reason", reason);
            }
        }
        tokio::select! {
            () = sleep(pause) => {}
            // Whoever uses the store may find it away before it is asked.
            () = store.trouble(), if well => {}
            () = life.stopping() => return ExitReason::Shutdown,
        }
    }
}
