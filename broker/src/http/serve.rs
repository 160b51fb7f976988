//! Accepts connections and serves them, on this arbiter.
//!
//! actix-web's own server has threads of its own; here a connection lives where the meshes live, and the
//! connections belong to this child: when it ends, they end.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{Service, ServiceFactory, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use meter::{Counters, UPKEEP_EVERY};
use supervision::{ExitReason, Life};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Http, routes};
use crate::metrics::Limit;

/// Connections that are served at a time; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// Longest wait for a request's first line and headers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle HTTP connections are closed after this.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Pause after accepting failed, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest time an open connection has to end by itself when the broker stops.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// How long a client may take to read what it was sent last.
const CLOSE_FRAME_WITHIN: Duration = Duration::from_secs(5);

/// Ends the connection of a request from elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    /// Ends it now, however stuck it is.
    pub(super) cut: CancellationToken,
    /// It is about to end by itself; cut when it does not.
    pub(super) closing: CancellationToken,
    /// All of them are to end.
    pub(super) ending: CancellationToken,
    /// What limits refuse on it.
    pub(super) limits: Counters<Limit>,
}

impl Connection {
    /// Resolves when it is to be cut.
    async fn is_cut(&self) {
        let overdue = async {
            self.closing.cancelled().await;
            tokio::time::sleep(CLOSE_FRAME_WITHIN).await;
        };
        tokio::select! {
            () = self.cut.cancelled() => {}
            () = overdue => {}
        }
    }
}

tokio::task_local! {
    /// That of the running request.
    static CONNECTION: Connection;
}

/// The connection of the request that is being served.
pub(super) fn connection() -> Connection {
    CONNECTION.try_with(Connection::clone).unwrap_or_default()
}

/// The life of the child `http`.
pub(super) async fn run(http: web::Data<Http>, bound: std::io::Result<TcpListener>, life: Life) -> ExitReason {
    let listener = match bound.and_then(tokio::net::TcpListener::from_std) {
        Ok(listener) => listener,
        Err(error) => return ExitReason::Error(format!("the port cannot be listened on: {error}")),
    };
    let data = http.clone();
    let app = move || App::new().app_data(data.clone()).configure(routes);
    let factory = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(REQUEST_TIMEOUT)
        .finish(map_config(app(), |()| AppConfig::default()))
        .tcp();
    let service = match factory.new_service(()).await {
        Ok(service) => std::rc::Rc::new(service),
        Err(()) => return ExitReason::Error("the routes could not be built".to_owned()),
    };
    life.fact("address", http.address.to_string());
    life.ready();
    let ending = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    let service = std::rc::Rc::clone(&service);
                    let connection = Connection {
                        ending: ending.clone(),
                        limits: http.metrics.limits.clone(),
                        ..Connection::default()
                    };
                    connections.spawn_local(serve(service, stream, peer, connection));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = upkeep.tick() => http.metrics.exposition.upkeep(),
            () = life.stopping() => break,
        }
    }
    drop(listener);
    ending.cancel();
    let ended = async { while connections.join_next().await.is_some() {} };
    // Sockets say goodbye; whoever does not read it is closed here.
    let _ = tokio::time::timeout(CLOSE_WITHIN, ended).await;
    ExitReason::Shutdown
}

async fn serve<S, E>(service: std::rc::Rc<S>, stream: TcpStream, peer: SocketAddr, connection: Connection)
where
    S: Service<TcpStream, Error = E>,
    E: std::fmt::Debug,
{
    // Small frames must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let served = CONNECTION.scope(connection.clone(), service.call(stream));
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::debug!(%peer, ?error, "a connection ended");
        },
        () = connection.is_cut() => tracing::debug!(%peer, "a connection was cut"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn h34_a_connection_that_does_not_close_is_cut() {
        let connection = Connection::default();
        assert!(timeout(10 * CLOSE_FRAME_WITHIN, connection.is_cut()).await.is_err(), "not unasked");
        let began = Instant::now();
        connection.closing.cancel();
        connection.is_cut().await;
        assert_eq!(began.elapsed(), CLOSE_FRAME_WITHIN);
        connection.cut.cancel();
        connection.is_cut().await;
        assert_eq!(began.elapsed(), CLOSE_FRAME_WITHIN, "at once when it must");
    }
}
