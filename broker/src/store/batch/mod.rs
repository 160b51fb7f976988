//! What happens to people and messages in a moment, written at the cost of one commit.
//!
//! **Contract.** [`Store::write_batch`] writes all entries of a batch or none, and answers each in its place. Their
//! effects come in this order: hellos and sessions as they stand, then watches, then messages with their deliveries, then ends; so a
//! delivery may end in the batch that it came in. A text that no backend takes as it is costs a character, not the
//! batch: others' entries are in it.
//!
//! | file | holds |
//! |---|---|
//! | `plan` | the entries of a batch, sorted by what is done with them; touches nothing |
//! | `steps` | carries them out: hellos, sessions, watches and repetitions by the same statements on both backends |
//! | `bulk` | messages, deliveries and ends: many rows, each backend in its own best way |

mod bulk;
mod plan;
mod steps;

use std::sync::Arc;

use super::column::{Document, MeshId, MessageId, UtcMs};
use super::error::StoreError;
use super::message::{DeliveryEnd, NewDelivery, NewMessage};
use super::pool::{Pool, Store};
use super::postgres::judged;
use super::session::Session;
use super::sqlite::Connection;
use super::watch::WatchCommit;

/// Entries that are written in one transaction.
pub const MAX_BATCH_ENTRIES: usize = 4_096;

/// A session that says hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the sign-in is known by: it is good once. See [`super::HELLO_WINDOW_MS`].
    pub replay_key: String,
    /// The session as it is from now on. When it was here before, it keeps when it first came.
    pub session: Session,
}

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A session comes.
    Hello(Box<Hello>),
    /// A session is now so: the whole row.
    Session(Box<Session>),
    /// A message was accepted, for these.
    Message(Box<NewMessage>, Vec<NewDelivery>),
    /// Something happened to a watch, and its owner is told, or not: both, or neither.
    Watch(Box<WatchCommit>, Option<(Box<NewMessage>, Vec<NewDelivery>)>),
    /// Deliveries ended. Those that have ended already stay as they are.
    End {
        /// Their numbers.
        ids: Vec<i64>,
        /// How they ended.
        how: DeliveryEnd,
        /// Why, where that is not plain.
        reason: Option<String>,
        /// When.
        at: UtcMs,
    },
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Done,
    /// What became of a hello.
    Hello(HelloVerdict),
    /// The message and its deliveries are written; a watch, with what it says.
    Stored,
    /// The watch is gone, or not as it was believed to be: nothing of it is written.
    Superseded,
    /// The sender said it before, under the same name: nothing of it is written. What is stored:
    Duplicate {
        /// The first one.
        id: MessageId,
        /// Its digest.
        digest: String,
        /// What its sender was answered.
        ack: Document,
    },
}

/// What became of a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelloVerdict {
    /// The session is written.
    Entered {
        /// The row as it was.
        before: Option<Box<Session>>,
        /// The latest row of the same member and session id under another key.
        of_id: Option<Box<Session>>,
    },
    /// The sign-in was used before. Nothing is written.
    Replayed,
    /// The key is another member's. Nothing is written.
    Taken,
}

impl Store {
    /// Writes all entries, or none, and answers each in its place. They are borrowed: whoever gave them still has them when
    /// nothing was written, and lets go of them where they were made.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for more than [`MAX_BATCH_ENTRIES`]; else when the database refuses. Then nothing is
    /// written.
    pub async fn write_batch(
        &self,
        mesh: &MeshId,
        entries: &Arc<[Entry]>,
        now: UtcMs,
    ) -> Result<Vec<Verdict>, StoreError> {
        if entries.len() > MAX_BATCH_ENTRIES {
            let max = u64::try_from(MAX_BATCH_ENTRIES).unwrap_or(u64::MAX);
            return Err(StoreError::Limit { name: "MAX_BATCH_ENTRIES", max });
        }
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (inner, mesh, entries) = (Arc::clone(&self.inner), mesh.clone(), Arc::clone(entries));
        self.run("write a batch", async move {
            match &inner.pool {
                Pool::Sqlite(pool) => on_sqlite(&mut *pool.writer().await?, mesh, entries, now).await,
                Pool::Postgres(pool) => {
                    let mut connection = pool.writer().await?;
                    let mut transaction = connection.build_transaction();
                    let answer = transaction
                        .run(async move |connection| steps::on_postgres::write(connection, &mesh, &entries, now).await)
                        .await;
                    judged(&mut connection, answer)
                }
            }
        })
        .await
    }
}

/// The whole batch in one change of threads, where `writing!` makes two of each statement.
async fn on_sqlite(
    connection: &mut Connection,
    mesh: MeshId,
    entries: Arc<[Entry]>,
    now: UtcMs,
) -> Result<Vec<Verdict>, StoreError> {
    let batch = connection.spawn_blocking(move |connection| {
        // Its own error passes through as a value: the driver's type cannot carry it.
        Ok(connection.immediate_transaction(|connection| steps::on_sqlite::write(connection, &mesh, &entries, now)))
    });
    batch.await?
}
