//! Writes what happens in a mesh, much at the cost of one commit: what comes while a commit is under way goes into the
//! next.
//!
//! **Contract.** Entries are written in the order in which they were given. The mesh's actor is told what became of each
//! that it numbered, once; when a commit's outcome is not known it is told that, and reads everything again.
//! [`Scribe::flush`] returns when all that was given before it is settled.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use supervision::{ExitReason, Life, TellError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::MeshContext;
use super::actor::Written;
use crate::store::{Entry, MAX_BATCH_ENTRIES, StoreError, UtcMs, Verdict};

/// How long an entry that nobody waits for is kept, so that it may go along with others.
const LAZY_WITHIN: Duration = Duration::from_millis(50);
/// Entries that may wait to be written.
const MAX_WAITING: usize = 32_768;
/// What nobody waits for and was not taken is written again after this, and at most so many entries.
const WRITE_AGAIN: Duration = Duration::from_millis(500);
const MAX_AGAIN: usize = MAX_BATCH_ENTRIES;
/// How often a full mailbox of the mesh's actor is tried.
const TELL_AGAIN: Duration = Duration::from_millis(2);

/// Which entry of which life of the mesh's actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The life.
    pub life: u64,
    /// The entry.
    pub number: u64,
}

/// What became of an entry.
#[derive(Debug)]
pub enum Outcome {
    /// It was written, with this verdict.
    Written(Verdict),
    /// It was not written.
    Refused(Arc<StoreError>),
    /// Nobody knows.
    Unknown,
}

enum Job {
    Write { token: Option<Token>, entry: Entry },
    Flush(oneshot::Sender<()>),
}

/// The way to the writer.
pub struct Scribe {
    jobs: mpsc::Sender<Job>,
    /// Held by the writer while it lives; here between two of its lives.
    unread: Arc<Mutex<Option<mpsc::Receiver<Job>>>>,
}

/// Too much waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} entries wait to be written")]
pub struct Full;

impl Scribe {
    pub(super) fn new() -> Self {
        let (jobs, unread) = mpsc::channel(MAX_WAITING);
        Self { jobs, unread: Arc::new(Mutex::new(Some(unread))) }
    }

    /// Gives an entry; with a token the mesh's actor is told what became of it. Without one nobody waits for it, and it may
    /// wait a moment for others.
    ///
    /// # Errors
    /// [`Full`].
    pub fn write(&self, token: Option<Token>, entry: Entry) -> Result<(), Full> {
        self.jobs.try_send(Job::Write { token, entry }).map_err(|_| Full)
    }

    /// Waits until everything that was given before is settled.
    pub async fn flush(&self) {
        let (done, settled) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // Dropped with a writer that died: then it is settled too.
            let _ = settled.await;
        }
    }
}

/// The receiver, given back whatever ends the writer.
struct Reading<'a> {
    home: &'a Mutex<Option<mpsc::Receiver<Job>>>,
    unread: Option<mpsc::Receiver<Job>>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.unread.take();
    }
}

/// The life of the mesh's child `scribe`.
pub(super) async fn run(mesh: Arc<MeshContext>, life: Life) -> ExitReason {
    let home = &mesh.scribe.unread;
    let unread = home.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut reading = Reading { home, unread };
    let Some(unread) = reading.unread.as_mut() else {
        return ExitReason::Error("another writer holds the scribe's book".to_owned());
    };
    let mut jobs = Vec::new();
    loop {
        let stopping = tokio::select! {
            () = gather(unread, &mut jobs) => false,
            () = life.stopping() => true,
        };
        if stopping {
            while let Ok(job) = unread.try_recv() {
                jobs.push(job);
            }
        }
        let mut again = Vec::new();
        while !jobs.is_empty() {
            let rest = jobs.split_off(jobs.len().min(MAX_BATCH_ENTRIES));
            again.extend(settle(&mesh, std::mem::replace(&mut jobs, rest)).await);
        }
        if stopping {
            return ExitReason::Shutdown;
        }
        if !again.is_empty() {
            again.truncate(MAX_AGAIN);
            jobs = again;
            tokio::select! {
                () = sleep(WRITE_AGAIN) => {}
                () = life.stopping() => {}
            }
        }
    }
}

/// Takes what is there beside what is left of before, and waits a little for more while nobody waits for any of it. Safe
/// to drop: what was taken is in `jobs`.
async fn gather(unread: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
    let is_lazy = |job: &Job| matches!(job, Job::Write { token: None, .. });
    if jobs.is_empty() {
        unread.recv_many(jobs, MAX_BATCH_ENTRIES).await;
    }
    let until = Instant::now() + LAZY_WITHIN;
    while jobs.len() < MAX_BATCH_ENTRIES && jobs.iter().all(is_lazy) {
        let room = MAX_BATCH_ENTRIES - jobs.len();
        tokio::select! {
            _ = unread.recv_many(jobs, room) => {}
            () = sleep_until(until) => return,
        }
    }
}

/// Writes a batch. Gives back what nobody waits for and the store did not take: it is still so, and is written later.
async fn settle(mesh: &Arc<MeshContext>, jobs: Vec<Job>) -> Vec<Job> {
    let (mut tokens, mut entries, mut flushes) = (Vec::new(), Vec::new(), Vec::new());
    for job in jobs {
        match job {
            Job::Write { token, entry } => {
                tokens.push(token);
                entries.push(entry);
            }
            Job::Flush(done) => flushes.push(done),
        }
    }
    let mut telling = Telling { mesh: Arc::clone(mesh), tokens };
    let mut again = Vec::new();
    if !entries.is_empty() {
        let entries: Arc<[Entry]> = entries.into();
        let written = mesh.store.write_batch(&mesh.id, &entries, UtcMs::now()).await;
        if written.is_err() {
            let own = telling.tokens.iter().zip(&*entries).filter(|(token, _)| token.is_none());
            again = own.map(|(_, entry)| Job::Write { token: None, entry: entry.clone() }).collect();
        }
        telling.tell(written).await;
    }
    drop(telling);
    for done in flushes {
        let _ = done.send(());
    }
    again
}

/// Tells the mesh's actor what became of a batch: that nobody knows, when the writer dies over it.
struct Telling {
    mesh: Arc<MeshContext>,
    tokens: Vec<Option<Token>>,
}

impl Telling {
    async fn tell(&mut self, written: Result<Vec<Verdict>, StoreError>) {
        let tokens = std::mem::take(&mut self.tokens);
        let outcomes: Vec<Outcome> = match written {
            Ok(verdicts) => verdicts.into_iter().map(Outcome::Written).collect(),
            Err(error) => {
                tracing::error!(mesh = self.mesh.slug, %error, entries = tokens.len(), "a batch was not written");
                let unknown = matches!(error, StoreError::Disconnected { .. } | StoreError::Lost { .. });
                let error = Arc::new(error);
                let outcome = || if unknown { Outcome::Unknown } else { Outcome::Refused(Arc::clone(&error)) };
                tokens.iter().map(|_| outcome()).collect()
            }
        };
        let told: Vec<_> = tokens.into_iter().zip(outcomes).filter_map(|(token, it)| Some((token?, it))).collect();
        // Between two of its lives the actor waits for this writer to settle, and then reads what is there.
        let written = Arc::new(Mutex::new(Some(told)));
        // Full, it is told when there is room: what was written must not be forgotten.
        while let Err(TellError::Full) = self.mesh.presence.tell(Written(Arc::clone(&written))) {
            sleep(TELL_AGAIN).await;
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let unknown: Vec<_> = self.tokens.drain(..).flatten().map(|token| (token, Outcome::Unknown)).collect();
        if !unknown.is_empty() {
            let _ = self.mesh.presence.tell(Written(Arc::new(Mutex::new(Some(unknown)))));
        }
    }
}
