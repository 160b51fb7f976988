//! Connections, the thread they live on, and the seam between backends.
//!
//! **Contract.** [`Store`] is a handle. Each operation runs as a task of the store's own runtime, on a
//! thread of its own, and the caller only awaits its answer. Three things follow. A caller may live on
//! any runtime, actix's current-thread arbiters included. A caller that goes away in the middle does
//! not take the operation with it: the driver would block the dropping thread until the running
//! statement ends, which a current-thread runtime answers with a panic. And a stopped arbiter never
//! owns a connection that others need.
//!
//! **Bounds.** At most [`MAX_PENDING_OPERATIONS`] operations are taken in; one writes at a time and
//! [`READERS`] read; each waits at most [`CONNECTION_WAIT`] for its connection.
//!
//! **The seam.** [`Pool`] has an arm per backend. `reading!`, `snapshot!` and `writing!` expand the query body they are
//! given in every arm, so a query is written once and compiled for each.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::{ConnectionError, ConnectionResult, SqliteConnection};
use diesel_async::pooled_connection::bb8::{Pool as Bb8, PooledConnection};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use super::column::StoreId;
use super::error::{OpenError, StoreError};
use super::lock::DirLock;
use crate::metrics::{Limit, StoreEnd, StoreMeter};

/// Operations that may wait or run at once.
pub const MAX_PENDING_OPERATIONS: u32 = 4_096;
/// Connections that only read.
const READERS: u32 = 4;
/// SQLite has one writer; waiting for it here, in order, beats waiting for it in the database.
const WRITERS: u32 = 1;
/// How long an operation waits for a connection.
const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// For every connection. `busy_timeout` (in ms) only matters against other programs on the file.
const PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; \
                       PRAGMA synchronous = FULL;";
/// For readers: a write that strays into a read fails at once.
const READER_PRAGMAS: &str = "PRAGMA query_only = ON;";

pub(super) type Sqlite = SyncConnectionWrapper<SqliteConnection>;

/// The database behind a store: an arm for each backend.
pub(super) enum Pool {
    Sqlite(SqlitePool),
}

/// One connection that writes, a few that read.
pub(super) struct SqlitePool {
    writer: Bb8<Sqlite>,
    readers: Bb8<Sqlite>,
}

impl SqlitePool {
    async fn connect(path: &Path) -> Result<Self, OpenError> {
        let url = super::open::sqlite_url(path, super::open::Access::ReadWrite);
        let failed = |source: diesel_async::pooled_connection::PoolError| OpenError::Database {
            step: "connect to",
            path: path.to_path_buf(),
            source: Box::new(source),
        };
        Ok(Self {
            writer: connections(&url, WRITERS, "").await.map_err(failed)?,
            readers: connections(&url, READERS, READER_PRAGMAS).await.map_err(failed)?,
        })
    }

    pub(super) async fn writer(&self) -> Result<PooledConnection<'_, Sqlite>, StoreError> {
        Ok(self.writer.get().await?)
    }

    pub(super) async fn reader(&self) -> Result<PooledConnection<'_, Sqlite>, StoreError> {
        Ok(self.readers.get().await?)
    }
}

async fn connections(
    url: &str,
    size: u32,
    extra: &'static str,
) -> Result<Bb8<Sqlite>, diesel_async::pooled_connection::PoolError> {
    let mut config = ManagerConfig::<Sqlite>::default();
    config.custom_setup = Box::new(move |url| connect(url.to_owned(), extra).boxed());
    Bb8::builder()
        .max_size(size)
        .min_idle(Some(1))
        // Connections to a local file do not go stale: keep them, and their prepared statements.
        .test_on_check_out(false)
        .idle_timeout(None)
        .max_lifetime(None)
        .connection_timeout(CONNECTION_WAIT)
        .build(AsyncDieselConnectionManager::new_with_config(url, config))
        .await
}

async fn connect(url: String, extra: &'static str) -> ConnectionResult<Sqlite> {
    let mut connection = Sqlite::establish(&url).await?;
    for pragmas in [PRAGMAS, extra] {
        connection.batch_execute(pragmas).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    }
    Ok(connection)
}

/// The broker's database. Cheap to clone; the database closes with the last clone.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) id: StoreId,
    admission: Arc<Semaphore>,
    runtime: Runtime,
    meter: OnceLock<StoreMeter>,
    /// While connections are open, the directory stays ours.
    _lock: DirLock,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("id", &self.inner.id.as_str()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the database of a directory: checks it, brings its schema up to date, connects.
    ///
    /// # Errors
    /// When the database is missing, held by another program, corrupt, or newer than this program.
    /// Then nothing was changed.
    pub async fn open(lock: &DirLock) -> Result<Self, OpenError> {
        let path = lock.dir().join(super::DATABASE_FILE);
        let step = "start the thread for";
        let runtime = Runtime::start().map_err(|source| OpenError::Io { step, path: path.clone(), source })?;
        let opened = runtime.handle.spawn({
            let path = path.clone();
            async move {
                let checked = path.clone();
                let id = tokio::task::spawn_blocking(move || super::open::prepare(&checked)).await;
                let id = id.map_err(|source| lost(&path, source))??;
                Ok::<_, OpenError>((id, SqlitePool::connect(&path).await?))
            }
        });
        let (id, pool) = opened.await.map_err(|source| lost(&path, source))??;
        // A permit count beyond the address space does not occur on the platforms this runs on.
        let permits = usize::try_from(MAX_PENDING_OPERATIONS).unwrap_or(Semaphore::MAX_PERMITS);
        Ok(Self {
            inner: Arc::new(Inner {
                pool: Pool::Sqlite(pool),
                id,
                admission: Arc::new(Semaphore::new(permits)),
                runtime,
                meter: OnceLock::new(),
                _lock: lock.clone(),
            }),
        })
    }

    /// Which database this is; part of every fence.
    #[must_use]
    pub fn id(&self) -> &StoreId {
        &self.inner.id
    }

    /// Waits for the operations in flight, takes no more, and folds the log into the database file.
    /// Clones of this handle answer [`StoreError::Closed`] from then on.
    ///
    /// # Errors
    /// When the log could not be folded in. Nothing is lost by that: the next start reads the log.
    pub async fn close(self) -> Result<(), StoreError> {
        let admission = Arc::clone(&self.inner.admission);
        let all = admission.acquire_many(MAX_PENDING_OPERATIONS).await;
        let all = all.map_err(|_closed| StoreError::Closed)?;
        admission.close();
        drop(all);
        let inner = Arc::clone(&self.inner);
        let folded = self.inner.runtime.handle.spawn(async move {
            match &inner.pool {
                Pool::Sqlite(pool) => {
                    let mut connection = pool.writer().await?;
                    connection.batch_execute("PRAGMA wal_checkpoint(TRUNCATE);").await?;
                }
            }
            Ok(())
        });
        settled("close the database", folded.await)
    }

    /// Says with what operations are counted; once.
    pub fn measure(&self, meter: StoreMeter) {
        if self.inner.meter.set(meter).is_err() {
            tracing::error!("a second meter of the store was refused");
        }
    }

    /// Operations that run or wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        let all = usize::try_from(MAX_PENDING_OPERATIONS).unwrap_or(Semaphore::MAX_PERMITS);
        all.saturating_sub(self.inner.admission.available_permits())
    }

    /// Runs an operation on the store's own runtime, to its end, whatever becomes of the caller.
    pub(super) async fn run<T, F>(&self, operation: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let began = Instant::now();
        let permit = Arc::clone(&self.inner.admission).try_acquire_owned().map_err(|e| match e {
            TryAcquireError::NoPermits => StoreError::Overloaded,
            TryAcquireError::Closed => StoreError::Closed,
        });
        let permit = permit.inspect_err(|error| self.count(Some(error), began))?;
        let counting = self.clone();
        let task = self.inner.runtime.handle.spawn(async move {
            let answer = work.await;
            drop(permit);
            // Here, where it is not given up with its caller.
            counting.count(answer.as_ref().err(), began);
            answer
        });
        let ended = task.await;
        if ended.is_err() {
            self.ended(StoreEnd::Failed, began);
        }
        settled(operation, ended)
    }

    fn ended(&self, end: StoreEnd, began: Instant) {
        if let Some(meter) = self.inner.meter.get() {
            meter.ended(end, began);
        }
    }

    fn count(&self, error: Option<&StoreError>, began: Instant) {
        let Some(meter) = self.inner.meter.get() else { return };
        let end = match error {
            None => StoreEnd::Done,
            Some(StoreError::Overloaded) => {
                meter.limits.count(Limit::StoreQueue);
                StoreEnd::Busy
            }
            Some(StoreError::Busy { .. }) => {
                meter.limits.count(Limit::StoreWaitingTime);
                StoreEnd::Busy
            }
            Some(
                StoreError::NotFound { .. }
                | StoreError::Taken { .. }
                | StoreError::Limit { .. }
                | StoreError::Superseded { .. },
            ) => StoreEnd::Refused,
            Some(StoreError::Closed | StoreError::Lost { .. } | StoreError::Database { .. }) => StoreEnd::Failed,
        };
        meter.ended(end, began);
    }
}

fn settled<T>(
    operation: &'static str,
    ended: Result<Result<T, StoreError>, tokio::task::JoinError>,
) -> Result<T, StoreError> {
    match ended {
        Ok(answer) => answer.map_err(|error| error.during(operation)),
        Err(source) => Err(StoreError::Lost { operation, source }),
    }
}

fn lost(path: &Path, source: tokio::task::JoinError) -> OpenError {
    OpenError::Database { step: "open", path: path.to_path_buf(), source: Box::new(source) }
}

/// A current-thread runtime on a thread of its own. Dropping it asks the thread to end and does not
/// wait, so the last handle may be dropped anywhere, inside the runtime too.
///
/// Tasks with a statement in flight hold the [`Inner`] that holds this, so the runtime never ends
/// under one.
struct Runtime {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Runtime {
    fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            // The sender is never used, only dropped: either way it is time to end.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, _stop: stop })
    }
}

/// Runs a query body on a connection that reads: `reading!(store, "list meshes", |conn| { … })`.
/// One statement sees one state; a body that needs several statements to agree uses `snapshot!`.
macro_rules! reading {
    ($store:expr, $operation:literal, |$conn:ident| $body:block) => {{
        let inner = ::std::sync::Arc::clone(&$store.inner);
        $store
            .run($operation, async move {
                match &inner.pool {
                    $crate::store::pool::Pool::Sqlite(pool) => {
                        let mut connection = pool.reader().await?;
                        let $conn = &mut *connection;
                        $body
                    }
                }
            })
            .await
    }};
}

/// Runs a query body in a transaction that reads: all its statements see one state.
macro_rules! snapshot {
    ($store:expr, $operation:literal, |$conn:ident| $body:block) => {{
        let inner = ::std::sync::Arc::clone(&$store.inner);
        $store
            .run($operation, async move {
                match &inner.pool {
                    $crate::store::pool::Pool::Sqlite(pool) => {
                        let mut connection = pool.reader().await?;
                        ::diesel_async::AsyncConnection::transaction(&mut *connection, async move |$conn| $body).await
                    }
                }
            })
            .await
    }};
}

/// Runs a query body in a transaction that writes: it commits when the body is `Ok`, else nothing of
/// it happened. On SQLite the transaction takes the write lock at once (`BEGIN IMMEDIATE`): one that
/// reads first and writes later could otherwise not be retried.
macro_rules! writing {
    ($store:expr, $operation:literal, |$conn:ident| $body:block) => {{
        let inner = ::std::sync::Arc::clone(&$store.inner);
        $store
            .run($operation, async move {
                match &inner.pool {
                    $crate::store::pool::Pool::Sqlite(pool) => {
                        let mut connection = pool.writer().await?;
                        connection.immediate_transaction(async move |$conn| $body).await
                    }
                }
            })
            .await
    }};
}
