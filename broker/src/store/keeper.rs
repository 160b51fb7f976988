//! Watches over the open store, as the first node of the tree.
//!
//! A store that stops answering is shown as `degraded`, with the reason; it is not a reason to close
//! every socket, since reads from memory and calls go on without it.

use std::time::Duration;

use supervision::{Child, ChildSpec, ExitReason, Life, Restart, Shutdown};
use tokio::time::{interval, timeout};

use super::Store;

/// How often the store is asked for a sign of life.
const ASK_EVERY: Duration = Duration::from_secs(10);
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
    let mut ask = interval(ASK_EVERY);
    loop {
        tokio::select! {
            _ = ask.tick() => {}
            () = life.stopping() => return ExitReason::Shutdown,
        }
        let trouble = match timeout(ANSWER_WITHIN, store.list_meshes()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer for {ANSWER_WITHIN:?}")),
        };
        match trouble {
            None => {
                life.condition(None::<String>);
                life.clear_fact("reason");
            }
            Some(reason) => {
                tracing::error!(reason, "the store is in trouble");
                life.condition(Some("degraded"));
                life.fact("reason", reason);
            }
        }
    }
}
