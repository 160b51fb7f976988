//! The listener: `/health`, `/tree` and `/metrics` for people, `/link` for brokers.
//!
//! Contract: one supervised task accepts and owns every connection, on the runner's one thread, so that a call never
//! changes threads. A connection that is upgraded leaves it for a session of its own (see [`crate::link`]). On a socket
//! of the machine only this user and root are served. Parent: the root; no children. A restart loses the requests under
//! way, not the links.

mod bind;
mod connection;
mod metrics;
mod routes;

use std::sync::Arc;
use std::time::Duration;

use meter::UPKEEP_EVERY;
use supervision::{ExitReason, Life};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::config::Listen;
use crate::link::Reception;
use crate::service::Directory;
use bind::Listener;
pub use metrics::Gauges;

/// Connections at once that are not links; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// After an accept that failed for want of something, such as descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What requests are answered with.
pub struct Front {
    /// Where to listen.
    pub listen: Listen,
    /// Opens `/tree`.
    pub token: protocol::SecretString,
    /// Version and commit.
    pub build: String,
    /// When the runner started.
    pub started: Instant,
    /// The services, to be counted.
    pub directory: Arc<Directory>,
    /// Where brokers go.
    pub reception: Arc<Reception>,
    /// The tree.
    pub registry: supervision::Registry,
    /// What is read when somebody asks for the metrics.
    pub gauges: Gauges,
}

/// Listens until it is asked to stop.
pub(crate) async fn run(life: Life, front: Arc<Front>) -> ExitReason {
    let listener = match Listener::bind(&front.listen) {
        Ok(listener) => listener,
        Err(error) => return ExitReason::Error(format!("cannot listen on {}: {error}", front.listen)),
    };
    let server = match connection::Server::new(Arc::clone(&front)).await {
        Ok(server) => server,
        Err(()) => return ExitReason::Error("the routes cannot be set up".to_owned()),
    };
    life.fact("listen", listener.told());
    life.ready();
    let mut connections = JoinSet::new();
    let mut upkeep = interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            () = life.stopping() => return ExitReason::Shutdown,
            _ = upkeep.tick() => front.gauges.upkeep(),
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(io) => {
                    connections.spawn_local(server.serve(io));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
        }
    }
}
