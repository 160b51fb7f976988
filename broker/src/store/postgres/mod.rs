//! PostgreSQL behind the seam: the same operations, on a server.
//!
//! **Contract.** One connection writes, [`READERS`] read, as on SQLite, so that every operation means the same on
//! both. The connection that writes holds the [`Lease`]: what commits went through the session that had it, so a
//! broker that lost it changes nothing any more. A connection that is lost is made anew by whoever needs it next;
//! while the server is away, operations fail within [`OUTAGE_WAIT`] with its words, and when it is back they
//! succeed. What is reported as done is on the server's disk.
//!
//! | file | holds |
//! |---|---|
//! | `dial` | the way to the server: TLS, limits of time, settings of a session |
//! | `lease` | who may write, and how a broker learns that it is somebody else |
//! | `open` | what a database holds, checks, migrations, birth |

mod dial;
pub(super) mod lease;
pub(super) mod open;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Object, Pool as Deadpool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as ManagerError, PoolableConnection as _, RecyclingMethod,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::error::{StoreError, UNNAMED};
use super::pool::{CONNECTION_WAIT, READERS, WRITERS};
use dial::{Role, Server};
use lease::Lease;

/// How long whoever needs a connection tries to reach a server that is away: a restart should cost a wait, no error.
const OUTAGE_WAIT: Duration = Duration::from_secs(2);
/// Between two tries. Whoever comes within this after the last one failed gets its error, and does not try again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// One connection that writes and holds the lease, a few that read.
pub(super) struct PostgresPool {
    writer: Deadpool<AsyncPgConnection>,
    readers: Deadpool<AsyncPgConnection>,
    lease: Arc<Lease>,
}

impl PostgresPool {
    /// Takes over the connection that the database was checked with, and with it the lease.
    pub(super) async fn new(opened: open::Opened) -> Result<Self, StoreError> {
        let open::Opened { server, connection, lease } = opened;
        let (server, lease) = (Arc::new(server), Arc::new(lease));
        let writer = Arc::new(Maker::new(Role::Writer, &server, &lease));
        *writer.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        let readers = Arc::new(Maker::new(Role::Reader, &server, &lease));
        let built = |source| StoreError::Database { operation: "connect to the database", source };
        let pool = Self {
            writer: connections(writer, WRITERS).map_err(|e| built(e.into()))?,
            readers: connections(readers, READERS).map_err(|e| built(e.into()))?,
            lease,
        };
        drop(pool.writer().await?);
        drop(pool.reader().await?);
        Ok(pool)
    }

    pub(super) async fn writer(&self) -> Result<Object<AsyncPgConnection>, StoreError> {
        self.taken(&self.writer).await
    }

    pub(super) async fn reader(&self) -> Result<Object<AsyncPgConnection>, StoreError> {
        self.taken(&self.readers).await
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Asks the writer for a sign of life, and whether it still has the lease on the same database.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let mut connection = self.writer().await?;
        let answer = self.lease.confirm(&mut connection).await;
        judged(&mut connection, answer)
    }

    /// Lets go of the lease, so that the next broker need not wait until the server has noticed our end.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let mut connection = self.writer().await?;
        diesel::sql_query("SELECT pg_advisory_unlock_all()").execute(&mut *connection).await?;
        Ok(())
    }

    async fn taken(&self, pool: &Deadpool<AsyncPgConnection>) -> Result<Object<AsyncPgConnection>, StoreError> {
        let taken = tokio::select! {
            biased;
            reason = self.lease.lost() => return Err(StoreError::Fenced { reason }),
            taken = timeout(CONNECTION_WAIT, pool.get()) => taken,
        };
        match taken {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match self.lease.is_lost() {
                Some(reason) => Err(StoreError::Fenced { reason }),
                None => Err(StoreError::Unreachable { operation: UNNAMED, reason: reason(&error) }),
            },
            Err(_elapsed) => Err(StoreError::Busy { operation: UNNAMED }),
        }
    }
}

/// What became of an operation. One whose connection broke may have taken effect: its commit may have been on the
/// way, and the server's word did not come back.
pub(super) fn judged<T>(connection: &mut AsyncPgConnection, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    answer.map_err(|error| match error {
        StoreError::Database { operation, source } if connection.is_broken() => {
            StoreError::Disconnected { operation, source }
        }
        other => other,
    })
}

fn reason(error: &PoolError) -> String {
    match error {
        PoolError::Backend(ManagerError::ConnectionError(ConnectionError::BadConnection(reason))) => reason.clone(),
        other => other.to_string(),
    }
}

/// Makes connections of one role, for a pool.
struct Maker {
    role: Role,
    server: Arc<Server>,
    lease: Arc<Lease>,
    /// The connection that was there before the pool.
    first: Mutex<Option<AsyncPgConnection>>,
    /// How the last try ended, and when.
    failed: Mutex<Option<(Instant, String)>>,
}

impl Maker {
    fn new(role: Role, server: &Arc<Server>, lease: &Arc<Lease>) -> Self {
        let (server, lease) = (Arc::clone(server), Arc::clone(lease));
        Self { role, server, lease, first: Mutex::default(), failed: Mutex::default() }
    }

    async fn make(&self) -> Result<AsyncPgConnection, String> {
        if let Some(first) = self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(first);
        }
        if let Some((at, reason)) = &*self.failed.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < RETRY_PAUSE
        {
            return Err(reason.clone());
        }
        let begun = Instant::now();
        loop {
            let error = match self.make_once().await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            if self.lease.is_lost().is_some() || begun.elapsed() + RETRY_PAUSE >= OUTAGE_WAIT {
                tracing::debug!(reason = error, "the database is not reachable");
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
                return Err(error);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn make_once(&self) -> Result<AsyncPgConnection, String> {
        let mut connection = self.server.connect().await.map_err(|error| dial::chain(&*error))?;
        dial::settle(&mut connection, self.role).await.map_err(|error| error.to_string())?;
        if self.role == Role::Writer {
            self.lease.take_again(&mut connection).await?;
        }
        Ok(connection)
    }
}

fn connections(
    maker: Arc<Maker>,
    size: usize,
) -> Result<Deadpool<AsyncPgConnection>, diesel_async::pooled_connection::deadpool::BuildError> {
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    config.custom_setup = Box::new(move |_| {
        let maker = Arc::clone(&maker);
        async move { maker.make().await.map_err(ConnectionError::BadConnection) }.boxed()
    });
    // Only what the socket has told: a question before each operation would double its time.
    config.recycling_method = RecyclingMethod::Fast;
    // The address, which may hold a password, stays with the maker.
    Deadpool::builder(AsyncDieselConnectionManager::new_with_config("", config)).max_size(size).build()
}
