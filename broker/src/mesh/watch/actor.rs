//! The life of one watch: it waits, looks, and has what follows written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use supervision::{ExitReason, Life};
use tokio::sync::oneshot;

use super::directory::{Cell, Seen};
use super::fetch::Validator;
use super::look::Looked;
use super::record::{self, Record};
use super::state::{Commit, Look, State, Step, Stored, next_place};
use crate::mesh::MeshContext;
use crate::mesh::actor::{CommitWatch, NotTaken, Settled, Told};
use crate::mesh::clock::Clock;
use crate::metrics::{Limit, LookEnd};
use crate::store::UtcMs;

/// A watch that was made a moment ago looks at once; one that was there before, at its own place in time.
const NEW_FOR_MS: i64 = 10_000;
/// What is stored is read again after this, when it could not be read.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// The longest that is slept at once.
const MAX_SLEEP_MS: i64 = 24 * 3_600_000;

/// The child of the set `watches`.
pub(super) async fn run(mesh: Arc<MeshContext>, cell: Arc<Cell>, life: Life) -> ExitReason {
    let living = live(&mesh, &cell, &life);
    tokio::select! {
        ended = living => ended,
        () = life.stopping() => ExitReason::Shutdown,
    }
}

async fn live(mesh: &Arc<MeshContext>, cell: &Arc<Cell>, life: &Life) -> ExitReason {
    let watch = match Watch::begin(mesh, cell, life).await {
        Ok(Some(watch)) => watch,
        // Removed: whoever did it stops this, too.
        Ok(None) => return std::future::pending().await,
        Err(reason) => return ExitReason::Error(reason),
    };
    match watch.go().await {
        Ok(()) => std::future::pending().await,
        Err(reason) => ExitReason::Error(reason),
    }
}

struct Watch<'a> {
    mesh: &'a Arc<MeshContext>,
    cell: &'a Arc<Cell>,
    life: &'a Life,
    record: Record,
    state: State,
    clock: Clock,
    validator: Option<Validator>,
    /// When the look that comes next was due.
    due: i64,
}

impl<'a> Watch<'a> {
    async fn begin(mesh: &'a Arc<MeshContext>, cell: &'a Arc<Cell>, life: &'a Life) -> Result<Option<Self>, String> {
        // What an earlier life had given to be written is written, or never will be.
        mesh.scribe.flush().await;
        let row = mesh.store.watch(&mesh.id, &cell.row.id).await.map_err(|error| error.to_string())?;
        let Some(row) = row else { return Ok(None) };
        let row = record::at_least(row, mesh.lookout.min_interval_ms);
        let record = record::read(&row, &mesh.at_rest)?;
        let clock = Clock::new();
        let now = clock.now().as_ms();
        let young = now - row.created_at.as_ms() < NEW_FOR_MS && row.version == 0;
        let first = if young { now } else { next_place(&record.rules, now, rand::random()) };
        let state = State::new(record.rules.clone(), record::committed(&row), first);
        life.fact("mode", row.mode.clone());
        life.fact("interval_ms", row.interval_ms);
        Ok(Some(Self { mesh, cell, life, record, state, clock, validator: None, due: first }))
    }

    /// Until the watch is gone.
    async fn go(mut self) -> Result<(), String> {
        self.show(None);
        let mut step = self.state.tick(self.now());
        loop {
            step = match step {
                Step::Wait(until) => {
                    let wait = until.saturating_sub(self.now()).clamp(0, MAX_SLEEP_MS);
                    tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or_default())).await;
                    self.due = until;
                    self.state.tick(self.now())
                }
                Step::Look => Box::pin(self.look()).await,
                Step::Commit(commit) => match Box::pin(self.commit(&commit)).await {
                    Some(stored) => self.state.stored(stored, self.now()),
                    None => return Ok(()),
                },
            };
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().as_ms()
    }

    async fn look(&mut self) -> Step {
        let mesh = Arc::clone(self.mesh);
        let host = self.record.plan.host();
        let turn = mesh.lookout.fetcher.turns.take(self.cell.row.member_id.as_str(), &host).await;
        let Some(turn) = turn else {
            mesh.metrics.limits.count(Limit::WatchLooks);
            mesh.metrics.watches.ended(LookEnd::Skipped, None);
            return self.state.looked(Look::Skipped, self.now(), rand::random());
        };
        let began = Instant::now();
        mesh.metrics.watches.began(self.now().saturating_sub(self.due));
        let known = self.validator.as_ref().filter(|_| self.state.knows());
        let looked = self.record.plan.look(&mesh.lookout.fetcher, known).await;
        drop(turn);
        let Looked { look, validator, hold_ms, .. } = looked;
        mesh.metrics.watches.ended(end_of(&look), Some(began));
        if matches!(look, Look::Skipped) {
            mesh.metrics.limits.count(Limit::WatchLooks);
        }
        if !matches!(look, Look::Failed { .. } | Look::Skipped) {
            self.validator = validator;
        }
        let now = self.clock.now();
        let before = self.state.trouble().0;
        let step = self.state.looked(look, now.as_ms(), rand::random());
        let step = match hold_ms {
            Some(ms) => self.state.hold(now.as_ms(), ms),
            None => step,
        };
        let after = self.state.trouble().0;
        if before != after {
            self.life.fact("failures", after);
        }
        self.show(Some(now));
        step
    }

    /// Has a commit written, and says what became of it; `None` when the watch is gone.
    async fn commit(&mut self, commit: &Commit) -> Option<Stored> {
        let at = self.clock.now();
        let row = &self.cell.row;
        let told = match commit.told {
            true => Some(Told {
                to: self.mesh.members.now().key_of(&row.member_id)?,
                event: record::event(commit.kind),
                data: record::event_data(row, commit, at),
                priority: self.record.priority,
            }),
            false => None,
        };
        let (answer, answered) = oneshot::channel();
        let (cell, after) = (Arc::clone(self.cell), commit.after.clone());
        let shown = Box::new(move || cell.show(|seen| Seen { committed: after, ..seen.clone() }));
        let given = CommitWatch { commit: record::commit(&row.id, commit, at), told, shown, answer };
        let settled = match self.mesh.presence.tell(given) {
            Ok(()) => answered.await.ok(),
            Err(error) => Some(Settled::NotTaken(NotTaken::Refused(error.to_string()))),
        };
        let stored = match settled {
            Some(Settled::Stored) => Some(Stored::Done),
            Some(Settled::NotTaken(why)) => {
                tracing::debug!(
                    mesh = self.mesh.slug,
                    watch = row.id,
                    ?why,
                    "not taken; decided again at the next look"
                );
                Some(Stored::NotNow)
            }
            Some(Settled::Superseded) | None => self.read_again().await.map(Stored::Reread),
        };
        if stored == Some(Stored::Done) && commit.told {
            self.mesh.metrics.watches.words.increment(1);
        }
        stored
    }

    /// What is stored, once everything that was given before is settled.
    async fn read_again(&self) -> Option<super::state::Committed> {
        loop {
            self.mesh.scribe.flush().await;
            match self.mesh.store.watch(&self.mesh.id, &self.cell.row.id).await {
                Ok(row) => return row.as_ref().map(record::committed),
                Err(error) => {
                    tracing::warn!(mesh = self.mesh.slug, watch = self.cell.row.id, %error, "cannot be read");
                    tokio::time::sleep(READ_AGAIN).await;
                }
            }
        }
    }

    fn show(&self, looked: Option<UtcMs>) {
        let (failures, last_error) = self.state.trouble();
        let last_error = last_error.map(str::to_owned);
        let header_names = self.record.header_names.clone();
        let committed = self.state.committed().clone();
        self.cell.show(|seen| Seen {
            committed,
            header_names,
            last_look: looked.or(seen.last_look),
            failures,
            last_error,
        });
    }
}

fn end_of(look: &Look) -> LookEnd {
    match look {
        Look::Seen(_) => LookEnd::Seen,
        Look::Unchanged => LookEnd::Unchanged,
        Look::Failed { .. } => LookEnd::Failed,
        Look::Skipped => LookEnd::Skipped,
    }
}
