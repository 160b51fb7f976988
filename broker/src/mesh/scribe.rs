//! Writes what happens in a mesh, much at the cost of one commit: what comes while a commit is under way goes into the
//! next.
//!
//! **Contract.** Entries are written in the order in which they were given, but that ends of deliveries may come later
//! than what was given after them: nobody waits for an end, so it does not make a commit longer that somebody waits for,
//! and goes along with others of its kind. The mesh's actor is told what became of each entry that it numbered, once; when
//! a commit's outcome is not known it is told that, and reads everything again. [`Scribe::flush`] returns when all that was
//! given before it is settled.

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
/// Ends that are kept meanwhile at most.
const MAX_ENDS: usize = MAX_BATCH_ENTRIES / 4;
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
    let mut desk = Desk::default();
    loop {
        let stopping = tokio::select! {
            () = desk.gather(unread) => false,
            () = life.stopping() => true,
        };
        if stopping {
            while let Ok(job) = unread.try_recv() {
                desk.jobs.push(job);
            }
        }
        let mut jobs = desk.due(Instant::now(), stopping);
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
            desk.jobs = again;
            tokio::select! {
                () = sleep(WRITE_AGAIN) => {}
                () = life.stopping() => {}
            }
        }
    }
}

/// What was taken from the queue and is not written yet.
#[derive(Default)]
struct Desk {
    jobs: Vec<Job>,
    /// Ends that let others go first.
    ends: Vec<Job>,
    /// When the first of what nobody waits for is written at the latest.
    until: Option<Instant>,
}

impl Desk {
    /// Takes what is there, and waits a little for more while nobody waits for any of it. Safe to drop.
    async fn gather(&mut self, unread: &mut mpsc::Receiver<Job>) {
        if self.jobs.is_empty() && self.ends.is_empty() {
            unread.recv_many(&mut self.jobs, MAX_BATCH_ENTRIES).await;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + LAZY_WITHIN);
        while self.jobs.len() < MAX_BATCH_ENTRIES && self.jobs.iter().all(Job::is_lazy) {
            let room = MAX_BATCH_ENTRIES - self.jobs.len();
            tokio::select! {
                _ = unread.recv_many(&mut self.jobs, room) => {}
                () = sleep_until(until) => return,
            }
        }
    }

    /// What is written now: everything, or without the ends while they may wait. Ends come behind the messages they may
    /// belong to, and whoever waits for all that was given before waits for them too.
    fn due(&mut self, now: Instant, stopping: bool) -> Vec<Job> {
        let is_all_lazy = self.jobs.iter().all(Job::is_lazy);
        let (mut writes, mut flushes) = (Vec::new(), Vec::new());
        for job in std::mem::take(&mut self.jobs) {
            match job {
                Job::Write { token: None, entry: Entry::End { .. } } => self.ends.push(job),
                Job::Write { .. } => writes.push(job),
                Job::Flush(_) => flushes.push(job),
            }
        }
        let is_late = self.until.is_none_or(|until| until <= now);
        if stopping || is_late || is_all_lazy || !flushes.is_empty() || self.ends.len() >= MAX_ENDS {
            writes.append(&mut self.ends);
        }
        if self.ends.is_empty() {
            self.until = None;
        }
        writes.append(&mut flushes);
        writes
    }
}

impl Job {
    /// Nobody waits for it.
    const fn is_lazy(&self) -> bool {
        matches!(self, Self::Write { token: None, .. })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::DeliveryEnd;

    fn end(id: i64) -> Job {
        let end = Entry::End { ids: vec![id], how: DeliveryEnd::Delivered, reason: None, at: UtcMs::now() };
        Job::Write { token: None, entry: end }
    }

    /// Somebody waits for it. What it says is nothing to this.
    fn awaited() -> Job {
        let Job::Write { entry, .. } = end(0) else { unreachable!() };
        Job::Write { token: Some(Token { life: 1, number: 1 }), entry }
    }

    /// The ids of the ends, `0` for what is awaited, `-1` for a flush.
    fn shown(jobs: &[Job]) -> Vec<i64> {
        let id = |job: &Job| match job {
            Job::Write { entry: Entry::End { ids, .. }, .. } => *ids.first().unwrap(),
            Job::Write { .. } => 0,
            Job::Flush(_) => -1,
        };
        jobs.iter().map(id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn ends_wait_for_others_of_their_kind_and_never_long() {
        let (give, mut unread) = mpsc::channel(MAX_WAITING);
        let mut desk = Desk::default();
        let begun = Instant::now();
        give.try_send(end(1)).unwrap();
        give.try_send(awaited()).unwrap();
        desk.gather(&mut unread).await;
        assert_eq!(shown(&desk.due(Instant::now(), false)), [0], "an end makes a commit longer that is waited for");

        give.try_send(end(2)).unwrap();
        desk.gather(&mut unread).await;
        assert_eq!(shown(&desk.due(Instant::now(), false)), [1, 2]);
        assert_eq!(begun.elapsed(), LAZY_WITHIN, "and all of them within the time of the first");

        give.try_send(end(3)).unwrap();
        give.try_send(awaited()).unwrap();
        desk.gather(&mut unread).await;
        assert_eq!(shown(&desk.due(Instant::now() + LAZY_WITHIN, false)), [0, 3], "what is late goes along");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_everything_waits_for_ends_too() {
        let (give, mut unread) = mpsc::channel(MAX_WAITING);
        let mut desk = Desk::default();
        for job in [end(1), Job::Flush(oneshot::channel().0), awaited()] {
            give.try_send(job).unwrap();
        }
        desk.gather(&mut unread).await;
        assert_eq!(shown(&desk.due(Instant::now(), false)), [0, 1, -1]);

        give.try_send(end(2)).unwrap();
        give.try_send(awaited()).unwrap();
        desk.gather(&mut unread).await;
        assert_eq!(shown(&desk.due(Instant::now(), true)), [0, 2], "nothing is left behind at the end");
        assert!(desk.ends.is_empty() && desk.until.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_that_wait_have_a_bound() {
        let (give, mut unread) = mpsc::channel(MAX_WAITING);
        let mut desk = Desk::default();
        for id in 1..=i64::try_from(MAX_ENDS).unwrap() {
            give.try_send(end(id)).unwrap();
        }
        give.try_send(awaited()).unwrap();
        desk.gather(&mut unread).await;
        assert_eq!(desk.due(Instant::now(), false).len(), MAX_ENDS + 1);
    }
}
