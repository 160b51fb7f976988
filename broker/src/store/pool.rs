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
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel_async::SimpleAsyncConnection;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, TryAcquireError, oneshot};

use super::column::StoreId;
use super::error::{OpenError, StoreError, Which};
use super::expiry::Swept;
use super::lock::DirLock;
use super::number::Numbers;
use super::postgres::{self, PostgresPool};
use super::sqlite::SqlitePool;
use crate::config::DatabaseUrl;
use crate::metrics::{Limit, StoreEnd, StoreMeter};

/// Operations that may wait or run at once.
pub const MAX_PENDING_OPERATIONS: u32 = 4_096;
/// Connections that only read.
pub(super) const READERS: usize = 4;
/// SQLite has one writer; waiting for it here, in order, beats waiting for it in the database. On PostgreSQL the
/// one writer is what makes the lease: see [`super::postgres`].
pub(super) const WRITERS: usize = 1;
/// How long an operation waits for a connection.
pub(super) const CONNECTION_WAIT: Duration = Duration::from_secs(10);

/// The database behind a store: an arm for each backend.
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PostgresPool),
}

impl Pool {
    /// This broker is about to commit a higher epoch: a lease counts it as its own from now on.
    pub(super) fn raising(&self, epoch: i64) {
        if let Self::Postgres(pool) = self {
            pool.lease().raising(epoch);
        }
    }

    /// It is committed.
    pub(super) fn raised(&self, epoch: i64) {
        if let Self::Postgres(pool) = self {
            pool.lease().raised(epoch);
        }
    }
}

/// The broker's database. Cheap to clone; the database closes with the last clone.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) pool: Pool,
    pub(super) id: StoreId,
    pub(super) numbers: Numbers,
    pub(super) swept: Swept,
    admission: Arc<Semaphore>,
    /// Wakes the keeper when an operation finds the database away.
    trouble: Notify,
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
    /// Opens the database of a directory, or with `url` that of a server: checks it, brings its schema up to date,
    /// connects. A server's database is leased until this store is dropped.
    ///
    /// # Errors
    /// When the database is missing, held by another program, corrupt, or newer than this program.
    /// Then nothing was changed.
    pub async fn open(lock: &DirLock, url: Option<&DatabaseUrl>) -> Result<Self, OpenError> {
        super::first_start::one_database(lock, url)?;
        let path = lock.dir().join(super::DATABASE_FILE);
        let which = url.map_or_else(|| Which::File(path.clone()), |url| Which::Server(url.to_string()));
        let step = "start the thread for";
        let runtime = Runtime::start().map_err(|source| OpenError::Io { step, path: path.clone(), source })?;
        // On the store's own runtime, where the connections then live.
        let opened = match url.cloned() {
            Some(url) => runtime.handle.spawn(async move {
                let opened = postgres::open::open(&url).await?;
                let (id, which) = (opened.id().clone(), Which::Server(url.to_string()));
                let pool = PostgresPool::new(opened).await.map_err(|source| unconnected(which, source))?;
                Ok::<_, OpenError>((id, Pool::Postgres(pool)))
            }),
            None => runtime.handle.spawn(async move {
                let checked = path.clone();
                let id = tokio::task::spawn_blocking(move || super::open::prepare(&checked)).await;
                let id = id.map_err(|source| unconnected(Which::File(path.clone()), source))??;
                Ok::<_, OpenError>((id, Pool::Sqlite(SqlitePool::connect(&path).await?)))
            }),
        };
        let (id, pool) = opened.await.map_err(|source| unconnected(which.clone(), source))??;
        // A permit count beyond the address space does not occur on the platforms this runs on.
        let permits = usize::try_from(MAX_PENDING_OPERATIONS).unwrap_or(Semaphore::MAX_PERMITS);
        let store = Self {
            inner: Arc::new(Inner {
                pool,
                id,
                numbers: Numbers::default(),
                swept: Swept::default(),
                admission: Arc::new(Semaphore::new(permits)),
                trouble: Notify::new(),
                runtime,
                meter: OnceLock::new(),
                _lock: lock.clone(),
            }),
        };
        store.count_on().await.map_err(|source| unconnected(which, source))?;
        Ok(store)
    }

    /// Which database this is; part of every fence.
    #[must_use]
    pub fn id(&self) -> &StoreId {
        &self.inner.id
    }

    /// The database's kind, for people.
    pub(super) fn backend(&self) -> &'static str {
        match &self.inner.pool {
            Pool::Sqlite(_) => "SQLite",
            Pool::Postgres(_) => "PostgreSQL",
        }
    }

    /// Waits until this store is lost to another broker, and says how that was noticed. On SQLite it never is: the
    /// directory's lock cannot be taken from its holder.
    pub async fn fenced(&self) -> String {
        match &self.inner.pool {
            Pool::Sqlite(_) => std::future::pending().await,
            Pool::Postgres(pool) => pool.lease().lost().await,
        }
    }

    /// Waits until an operation found the database away.
    pub(super) async fn trouble(&self) {
        self.inner.trouble.notified().await;
    }

    /// Waits for the operations in flight, takes no more, and leaves the database in order: folds SQLite's log into
    /// the file, lets go of the lease on a server's. Clones of this handle answer [`StoreError::Closed`] from then on.
    ///
    /// # Errors
    /// When that failed. Nothing is lost by it: the next start reads the log, and the server notices our end.
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
                Pool::Postgres(pool) => pool.close().await?,
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
    pub fn operations(&self) -> usize {
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
        let answer = settled(operation, ended);
        if let Err(StoreError::Unreachable { .. } | StoreError::Disconnected { .. } | StoreError::Fenced { .. }) =
            answer
        {
            self.inner.trouble.notify_one();
        }
        answer
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
                | StoreError::Superseded { .. }
                | StoreError::Invite(_)
                | StoreError::Nul { .. }
                | StoreError::Sealed { .. },
            ) => StoreEnd::Refused,
            Some(
                StoreError::Closed
                | StoreError::Lost { .. }
                | StoreError::Unreachable { .. }
                | StoreError::Disconnected { .. }
                | StoreError::Fenced { .. }
                | StoreError::Database { .. },
            ) => StoreEnd::Failed,
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

fn unconnected(database: Which, source: impl std::error::Error + Send + Sync + 'static) -> OpenError {
    OpenError::Database { step: "open", database, source: Box::new(source) }
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
                    $crate::store::pool::Pool::Postgres(pool) => {
                        let mut connection = pool.reader().await?;
                        let $conn = &mut *connection;
                        let answer = async { $body }.await;
                        $crate::store::postgres::judged(&mut connection, answer)
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
                    $crate::store::pool::Pool::Postgres(pool) => {
                        let mut connection = pool.reader().await?;
                        let mut transaction = connection.build_transaction().repeatable_read().read_only();
                        let answer = transaction.run(async move |$conn| $body).await;
                        $crate::store::postgres::judged(&mut connection, answer)
                    }
                }
            })
            .await
    }};
}

/// Runs a query body in a transaction that writes: it commits when the body is `Ok`, else nothing of
/// it happened. On SQLite the transaction takes the write lock at once (`BEGIN IMMEDIATE`): one that
/// reads first and writes later could otherwise not be retried. On PostgreSQL the one writer is alone with its lease.
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
                    $crate::store::pool::Pool::Postgres(pool) => {
                        let mut connection = pool.writer().await?;
                        let mut transaction = connection.build_transaction();
                        let answer = transaction.run(async move |$conn| $body).await;
                        $crate::store::postgres::judged(&mut connection, answer)
                    }
                }
            })
            .await
    }};
}
