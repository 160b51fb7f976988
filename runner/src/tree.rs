//! The runner's tree, on one page.
//!
//! | child | what | why there |
//! |---|---|---|
//! | `services` | dynamic: one supervisor for each deployment | started first: commands and calls need it |
//! | `link` | dynamic: one task for each broker's connection | speaks to services; lost with them, and redialled |
//! | `orphan` | ends a runner that no broker wants | counts links |
//! | `http` | the listener | last, so that it is closed first and nothing new comes in while the rest stops |

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use supervision::{Ack, Child, ChildSpec, Dynamic, ExitReason, Intensity, Life, Shutdown, Strategy, Supervisor};
use tokio::time::sleep;

use crate::ending::{Ending, Why};
use crate::link::Ports;

/// Name of the root node.
pub const ROOT: &str = "runner";
/// Nothing here fails in ordinary life; a part that keeps failing is a fault that a new process may not have.
const INTENSITY: Intensity = Intensity::new(5, Duration::from_secs(60));
/// Sessions say what they still have to say, and the listener its responses.
const GOODBYE: Shutdown = Shutdown::Deadline(Duration::from_secs(3));

/// The whole tree; `listen` is the listener's task.
pub fn tree<F, Fut>(
    services: &Dynamic,
    links: &Dynamic,
    ports: &Arc<Ports>,
    ending: &Ending,
    orphan_timeout: Duration,
    listen: F,
) -> Supervisor
where
    F: Fn(Life) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ExitReason> + 'static,
{
    let listener = ChildSpec::new("http").kind("listener").ack(Ack::Explicit).shutdown(GOODBYE);
    Supervisor::new(Strategy::RestForOne, INTENSITY)
        .child(Child::dynamic(ChildSpec::new("services").kind("services"), services))
        .child(Child::dynamic(ChildSpec::new("link").kind("links"), links))
        .child(orphan(ports, ending, orphan_timeout))
        .child(Child::task(listener, listen))
}

fn orphan(ports: &Arc<Ports>, ending: &Ending, limit: Duration) -> Child {
    let (ports, ending) = (Arc::clone(ports), ending.clone());
    Child::task(ChildSpec::new("orphan").kind("orphan"), move |life| {
        watch_links(life, Arc::clone(&ports), ending.clone(), limit)
    })
}

async fn watch_links(life: Life, ports: Arc<Ports>, ending: Ending, limit: Duration) -> ExitReason {
    let mut count = ports.count();
    loop {
        let links = *count.borrow_and_update();
        life.fact("links", links);
        tokio::select! {
            () = life.stopping() => return ExitReason::Shutdown,
            // `ports` holds the sender.
            _ = count.changed() => {}
            () = sleep(limit), if links == 0 => {
                tracing::warn!(after = ?limit, "no broker: services and runner stop");
                ending.ask(Why::Orphaned);
                life.stopping().await;
                return ExitReason::Shutdown;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h01_the_tree_on_one_page() {
        let (set, limit) = (Dynamic::new(), Duration::from_secs(1));
        let tree = tree(&set, &set, &Ports::new(), &Ending::new(), limit, async |_| ExitReason::Normal);
        insta::assert_snapshot!(tree.outline());
    }
}
