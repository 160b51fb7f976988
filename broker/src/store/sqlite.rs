//! SQLite's connections: one that writes, a few that read.

use std::path::Path;

use diesel::{ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::pooled_connection::deadpool::{Object, Pool as Deadpool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use tokio::time::timeout;

use super::error::{OpenError, StoreError, UNNAMED, Which};
use super::open::{self, Access};
use super::pool::{CONNECTION_WAIT, READERS, WRITERS};

/// For every connection. `busy_timeout` (in ms) only matters against other programs on the file.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
                       PRAGMA synchronous = FULL;";
/// For the writer: what a burst of messages touches stays in memory (in KiB, taken as it is needed), and the log is
/// carried over to the file (after so many pages of 4 KiB) when a page was often written twice in between. What a statement
/// may have to take back is kept in memory: ends of deliveries would else write it to a file of their own each time.
const WRITER_PRAGMAS: &str =
    "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000; PRAGMA temp_store = MEMORY;";
/// For readers: a write that strays into a read fails at once.
const READER_PRAGMAS: &str = "PRAGMA query_only = ON;";

/// A connection that is asked from another thread.
pub(super) type Connection = SyncConnectionWrapper<SqliteConnection>;

/// One connection that writes, a few that read.
pub(super) struct SqlitePool {
    writer: Deadpool<Connection>,
    readers: Deadpool<Connection>,
}

impl SqlitePool {
    pub(super) async fn connect(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Database {
            step: "connect to",
            database: Which::File(path.to_path_buf()),
            source,
        };
        let url = open::sqlite_url(path, Access::ReadWrite);
        let pool = Self {
            writer: connections(url.clone(), WRITERS, WRITER_PRAGMAS).map_err(|e| failed(e.into()))?,
            readers: connections(url, READERS, READER_PRAGMAS).map_err(|e| failed(e.into()))?,
        };
        // What cannot be connected to is told now, not to the first who asks.
        drop(pool.writer().await.map_err(|e| failed(e.into()))?);
        drop(pool.reader().await.map_err(|e| failed(e.into()))?);
        Ok(pool)
    }

    pub(super) async fn writer(&self) -> Result<Object<Connection>, StoreError> {
        taken(&self.writer).await
    }

    pub(super) async fn reader(&self) -> Result<Object<Connection>, StoreError> {
        taken(&self.readers).await
    }
}

async fn taken(pool: &Deadpool<Connection>) -> Result<Object<Connection>, StoreError> {
    match timeout(CONNECTION_WAIT, pool.get()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(source)) => Err(StoreError::Database { operation: UNNAMED, source: Box::new(source) }),
        Err(_elapsed) => Err(StoreError::Busy { operation: UNNAMED }),
    }
}

fn connections(
    url: String,
    size: usize,
    extra: &'static str,
) -> Result<Deadpool<Connection>, diesel_async::pooled_connection::deadpool::BuildError> {
    let mut config = ManagerConfig::<Connection>::default();
    config.custom_setup = Box::new(move |url| connect(url.to_owned(), extra).boxed());
    // Connections to a local file do not go stale: keep them, and their prepared statements.
    config.recycling_method = RecyclingMethod::Fast;
    Deadpool::builder(AsyncDieselConnectionManager::new_with_config(url, config)).max_size(size).build()
}

async fn connect(url: String, extra: &'static str) -> ConnectionResult<Connection> {
    let mut connection = Connection::establish(&url).await?;
    for pragmas in [PRAGMAS, extra] {
        connection.batch_execute(pragmas).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    Ok(connection)
}
