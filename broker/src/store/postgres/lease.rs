//! Who may write: one broker for each database, as the data directory's lock says on SQLite.
//!
//! **Contract.** The lease is an advisory lock that the writer's session holds; the server gives it back with the
//! session, however that ended. A broker that lost its session takes the lock again, and then looks whether the
//! database is as it left it: the same store, at the epoch of this very broker. If not, another broker has lived
//! here meanwhile. Then this one is *fenced*, for good: nothing it knows is sure any more, and it has to end.
//!
//! What commits while the lease is lost? Nothing: writing needs the session that holds it. A lock that left the session
//! (a pooler between hands sessions around, somebody unlocked) and a database that was replaced under it are noticed
//! when the keeper asks next: [`Lease::confirm`].

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::store::column::StoreId;
use crate::store::error::StoreError;
use crate::store::schema::meta;

/// The advisory lock's number. The server keeps these apart by database, so one number serves all.
const LEASE_KEY: i64 = 0x636c_6d65_7368_0001;
/// How long a start, or a return, waits for the lock: a session whose broker was killed is gone within milliseconds,
/// and one that is not after this belongs to somebody alive, or to a machine that went away without a word.
pub(super) const LEASE_WAIT: Duration = Duration::from_secs(5);
const LEASE_POLL: Duration = Duration::from_millis(20);

/// A broker's right to write to a database.
pub(in crate::store) struct Lease {
    store: StoreId,
    /// The epochs that are ours: one, or two while one is being raised whose commit may be in doubt.
    own: Mutex<RangeInclusive<i64>>,
    /// Why the lease is lost, once it is.
    lost: watch::Sender<Option<String>>,
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = Bool)]
    taken: bool,
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = Text)]
    holder: String,
}

impl Lease {
    /// The lease on a database that was found so, whose lock is held already.
    pub(super) fn new(store: StoreId, epoch: i64) -> Self {
        Self { store, own: Mutex::new(epoch..=epoch), lost: watch::Sender::new(None) }
    }

    pub(in crate::store) fn store(&self) -> &StoreId {
        &self.store
    }

    /// This broker is about to commit a higher epoch.
    pub(in crate::store) fn raising(&self, epoch: i64) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        *own = *own.start()..=epoch.max(*own.end());
    }

    /// It is committed.
    pub(in crate::store) fn raised(&self, epoch: i64) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        *own = epoch.max(*own.start())..=*own.end();
    }

    /// Why it is lost for good; `None` while it is not.
    pub(super) fn is_lost(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    /// Waits until it is lost for good.
    pub(in crate::store) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        let reason = lost.wait_for(Option::is_some).await.map(|reason| reason.clone());
        match reason {
            Ok(Some(reason)) => reason,
            // The sender is ours: it cannot go while we are borrowed.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Takes the lock for a new session of the same broker, and looks whether somebody was here.
    pub(super) async fn take_again(&self, connection: &mut AsyncPgConnection) -> Result<(), String> {
        let held = take(connection, LEASE_WAIT).await.map_err(|error| error.to_string())?;
        let found = identity(connection).await.map_err(|error| error.to_string())?;
        self.compare(&found)?;
        // Perhaps our own last session, which the server has not yet given up. Time will tell.
        held.map_err(|holder| format!("the lease on the database is held by another session ({holder})"))
    }

    /// Looks whether the writer's session still has the lock, and the database is as this broker left it. A lock that is
    /// gone and free is taken again; one that somebody else has fences, as a database does that is another.
    pub(super) async fn confirm(&self, connection: &mut AsyncPgConnection) -> Result<(), StoreError> {
        let fenced = |reason| StoreError::Fenced { reason };
        // In one transaction, so that both answers are of one session, whatever is between.
        let mut transaction = connection.build_transaction();
        let asked = transaction.run(async |connection| {
            let found = identity(connection).await?;
            Ok::<_, diesel::result::Error>((found, is_held(connection).await?))
        });
        let (found, held) = asked.await?;
        self.compare(&found).map_err(fenced)?;
        if held {
            return Ok(());
        }
        // Our session lives, so its lock is nobody's remains: who has it now is another.
        if let Err(holder) = take(connection, Duration::ZERO).await? {
            let reason = format!("the lease on the database left this broker's session, and {holder} has it");
            return Err(fenced(self.lose(reason)));
        }
        tracing::warn!(
            "the lease on the database had left this broker's session, and was taken again: \
             nothing may be between that hands sessions around, and nobody may unlock it"
        );
        self.compare(&identity(connection).await?).map_err(fenced)
    }

    /// Whether a database that was found so is still ours; else it is lost, and why.
    fn compare(&self, (store, epoch): &(StoreId, i64)) -> Result<(), String> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if *store == self.store && own.contains(epoch) {
            return Ok(());
        }
        Err(self.lose(format!(
            "another broker has lived on the database: it is store {store} at epoch {epoch}, and this broker is \
             epoch {} of {}",
            own.end(),
            self.store
        )))
    }

    /// Loses it for good.
    fn lose(&self, reason: String) -> String {
        tracing::error!(reason, "the lease on the database is lost");
        self.lost.send_replace(Some(reason.clone()));
        reason
    }
}

/// Which store the database is, and at which epoch.
async fn identity(connection: &mut AsyncPgConnection) -> QueryResult<(StoreId, i64)> {
    meta::table.select((meta::store_id, meta::epoch)).first(connection).await
}

/// Whether this session has the lock.
async fn is_held(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    let answer: Taken = diesel::sql_query(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() \
         AND locktype = 'advisory' AND granted AND objsubid = 1 \
         AND (classid::bigint << 32) | objid::bigint = $1) AS taken",
    )
    .bind::<BigInt, _>(LEASE_KEY)
    .get_result(connection)
    .await?;
    Ok(answer.taken)
}

/// Takes the lock for this session, waiting at most `wait`; else says who has it.
pub(super) async fn take(connection: &mut AsyncPgConnection, wait: Duration) -> QueryResult<Result<(), String>> {
    let until = Instant::now() + wait;
    loop {
        let answer: Taken = diesel::sql_query("SELECT pg_try_advisory_lock($1) AS taken")
            .bind::<BigInt, _>(LEASE_KEY)
            .get_result(connection)
            .await?;
        if answer.taken {
            return Ok(Ok(()));
        }
        if Instant::now() >= until {
            return holder(connection).await.map(Err);
        }
        sleep(LEASE_POLL).await;
    }
}

/// The session that holds the lock, as far as the server shows it to us.
async fn holder(connection: &mut AsyncPgConnection) -> QueryResult<String> {
    let found: Option<Holder> = diesel::sql_query(
        "SELECT concat('session ', pid, ' from ' || host(client_addr), ', ' || nullif(application_name, '')) AS holder \
         FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND datname = current_database() \
         AND (classid::bigint << 32) | objid::bigint = $1",
    )
    .bind::<BigInt, _>(LEASE_KEY)
    .get_result(connection)
    .await
    .optional()?;
    Ok(found.map_or_else(|| "one that is ending".to_owned(), |found| found.holder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn an_epoch_in_doubt_counts_as_ours_until_it_is_sure() {
        let lease = Lease::new(StoreId::new(), 4);
        let own = || lease.own.lock().unwrap().clone();
        lease.raising(5);
        assert_eq!(own(), 4..=5);
        // The next one begins before the first was told that it is done.
        lease.raising(6);
        lease.raised(5);
        assert_eq!(own(), 5..=6);
        lease.raised(6);
        assert_eq!(own(), 6..=6);
    }
}
