//! A dynamic set: children that come and go by id, each with its own policy.
//!
//! The handle exists before the set runs and outlives its restarts. A child that fails too often is parked and
//! stays visible; neither its siblings nor the set notice.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    Child, ChildId, ExitReason, Life, Observer, SpecError,
    child::{Form, Launch, Run, TaskRun},
    run::{self, Command, StartWatch},
    sync::lock,
};

/// How many children a set holds unless it is told otherwise.
pub const DEFAULT_SET_BOUND: usize = 65_536;

/// Why a child was not started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The set has a child with this id, in whatever state.
    #[error("is already there")]
    AlreadyPresent,
    /// The set is not running, or is stopping.
    #[error("the set is not running")]
    NotRunning,
    /// The specification is wrong.
    #[error(transparent)]
    Invalid(#[from] SpecError),
    /// The set holds as many children as it may.
    #[error("the set is full, it holds {0} children")]
    Full(usize),
    /// It was started, and has ended or was parked without becoming ready.
    #[error("did not become ready: {0}")]
    Exited(ExitReason),
    /// It was started, and is not ready yet.
    #[error("is not ready yet")]
    Timeout,
}

/// Why a child was not stopped or restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopError {
    /// The set has no child with this id.
    #[error("is not there")]
    NotFound,
    /// The set is not running.
    #[error("the set is not running")]
    NotRunning,
}

/// What a seeding came to. A hook may return nothing, or a `Result`.
#[derive(Debug)]
pub struct Seeded(pub(crate) Result<(), String>);

impl From<()> for Seeded {
    fn from((): ()) -> Self {
        Self(Ok(()))
    }
}

impl<E: fmt::Display> From<Result<(), E>> for Seeded {
    fn from(result: Result<(), E>) -> Self {
        Self(result.map_err(|e| e.to_string()))
    }
}

type SeedFuture = Pin<Box<dyn Future<Output = Seeded>>>;
type SeedHook = Arc<dyn Fn(Dynamic) -> SeedFuture + Send + Sync>;

/// The handle to a dynamic set. Cheap to clone.
#[derive(Clone)]
pub struct Dynamic {
    shared: Arc<Shared>,
    seed: Option<SeedHook>,
    observer: Option<Arc<dyn Observer>>,
    bound: usize,
}

#[derive(Default)]
struct Shared {
    /// Of the loop that runs now.
    loop_: Mutex<Option<mpsc::Sender<Command>>>,
    ids: Mutex<BTreeSet<ChildId>>,
}

impl Dynamic {
    /// A set that does not run yet: put it into a tree with [`Child::dynamic`].
    #[must_use]
    pub fn new() -> Self {
        Self { shared: Arc::default(), seed: None, observer: None, bound: DEFAULT_SET_BOUND }
    }

    /// Runs `hook` at each start of the set; the set is ready when it returns, and fails to start when it
    /// returns an error. The hook starts the children that should be there, with the handle it is given.
    #[must_use]
    pub fn seed<F, Fut>(mut self, hook: F) -> Self
    where
        F: Fn(Self) -> Fut + Send + Sync + 'static,
        Fut: Future + 'static,
        Fut::Output: Into<Seeded>,
    {
        self.seed = Some(Arc::new(move |set| {
            let seeding = hook(set);
            Box::pin(async move { seeding.await.into() })
        }));
        self
    }

    /// Tells `observer` of every change of a child.
    #[must_use]
    pub fn observe(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The most children it holds, parked ones included. Default: [`DEFAULT_SET_BOUND`].
    #[must_use]
    pub fn bounded(mut self, bound: usize) -> Self {
        self.bound = bound;
        self
    }

    /// Adds a child and begins to start it; does not wait until it is ready.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was started then.
    pub async fn start(&self, child: Child) -> Result<(), StartError> {
        self.add(child, None).await
    }

    /// Adds a child and waits until it is ready for the first time, restarts in between included.
    ///
    /// # Errors
    /// As [`Dynamic::start`]; [`StartError::Exited`] when it was parked or ended first;
    /// [`StartError::Timeout`] when it is still trying after `within`: it goes on trying.
    pub async fn start_ready(&self, child: Child, within: Duration) -> Result<(), StartError> {
        let (watch, watched) = oneshot::channel();
        let deadline = tokio::time::Instant::now() + within;
        self.add(child, Some(watch)).await?;
        match tokio::time::timeout_at(deadline, watched).await {
            Ok(Ok(outcome)) => outcome.map_err(StartError::Exited),
            Ok(Err(_)) => Err(StartError::NotRunning),
            Err(_) => Err(StartError::Timeout),
        }
    }

    async fn add(&self, child: Child, watch: Option<StartWatch>) -> Result<(), StartError> {
        child.validate()?;
        let (reply, answer) = oneshot::channel();
        self.send(Command::Start { child, watch, reply }).await;
        answer.await.unwrap_or(Err(StartError::NotRunning))
    }

    /// Stops a child in order, by its deadline, and removes it; a parked one is just removed.
    /// Returns how it ended, once it is really gone.
    ///
    /// A child must not wait for its own stop.
    ///
    /// # Errors
    /// When there is no such child, or the set is not running.
    pub async fn stop(&self, id: &ChildId) -> Result<ExitReason, StopError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Stop { id: id.clone(), reply }).await;
        answer.await.unwrap_or(Err(StopError::NotRunning))
    }

    /// Restarts a child by hand: a running one is stopped in order first, a parked one or one that waits for its
    /// back-off starts at once. Its past failures are forgotten. Does not wait until it is ready.
    ///
    /// # Errors
    /// When there is no such child, or the set is not running.
    pub async fn restart(&self, id: &ChildId) -> Result<(), StopError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Restart { id: id.clone(), reply }).await;
        answer.await.unwrap_or(Err(StopError::NotRunning))
    }

    /// The children that are there, parked ones included.
    #[must_use]
    pub fn ids(&self) -> Vec<ChildId> {
        lock(&self.shared.ids).iter().cloned().collect()
    }

    /// Whether a child with this id is there.
    #[must_use]
    pub fn contains(&self, id: &ChildId) -> bool {
        lock(&self.shared.ids).contains(id)
    }

    /// Whether the set takes commands.
    #[must_use]
    pub fn is_running(&self) -> bool {
        lock(&self.shared.loop_).as_ref().is_some_and(|tx| !tx.is_closed())
    }

    /// A command that cannot be sent drops its reply, which tells its caller.
    async fn send(&self, command: Command) {
        let tx = lock(&self.shared.loop_).clone();
        if let Some(tx) = tx {
            let _ = tx.send(command).await;
        }
    }

    /// A loop begins: commands go to it until the guard is dropped.
    pub(crate) fn open(&self, tx: mpsc::Sender<Command>) -> Open {
        *lock(&self.shared.loop_) = Some(tx.clone());
        lock(&self.shared.ids).clear();
        Open { set: self.clone(), tx }
    }

    pub(crate) fn bound(&self) -> usize {
        self.bound
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        self.observer.clone()
    }

    pub(crate) fn seeding(&self) -> Option<SeedFuture> {
        let hook = self.seed.as_ref()?;
        Some(hook(self.clone()))
    }
}

/// While it is there, one loop has the set.
pub(crate) struct Open {
    set: Dynamic,
    tx: mpsc::Sender<Command>,
}

impl Open {
    pub(crate) fn insert(&self, id: ChildId) {
        lock(&self.set.shared.ids).insert(id);
    }

    pub(crate) fn remove(&self, id: &ChildId) {
        lock(&self.set.shared.ids).remove(id);
    }

    /// No more commands; those under way find their replies dropped.
    pub(crate) fn close(&self) {
        let mut current = lock(&self.set.shared.loop_);
        if current.as_ref().is_some_and(|tx| tx.same_channel(&self.tx)) {
            *current = None;
            lock(&self.set.shared.ids).clear();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl Launch for Dynamic {
    fn launch(&self, life: &Life) -> Pin<Box<dyn Run>> {
        Box::pin(TaskRun(Box::pin(run::supervise_set(self.clone(), life.clone()))))
    }

    fn form(&self) -> Form<'_> {
        Form::Dynamic
    }
}

impl Default for Dynamic {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Dynamic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dynamic")
            .field("running", &self.is_running())
            .field("children", &lock(&self.shared.ids).len())
            .finish_non_exhaustive()
    }
}
