//! What time does to messages: deliveries expire, bodies are forgotten, rows go.
//!
//! **Contract.** Each sweep does a bounded piece of work and says whether there may be more, so that no sweep holds up
//! those who wait to write. What makes a repetition known outlives the message by [`IDEMPOTENCY_KEPT_MS`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{Document, MemberId, MeshId, MessageId, UtcMs};
use super::error::StoreError;
use super::message::{DeliveryState, its_own};
use super::pool::Store;
use super::schema::{delivery, message};

/// How long a message stays known after it expired, in ms: 24 h.
pub const IDEMPOTENCY_KEPT_MS: i64 = 24 * 3_600_000;
/// Rows that one sweep changes at most, whatever it is asked for. SQLite binds no more than 32,766 values.
pub const MAX_SWEPT_AT_ONCE: u32 = 10_000;
/// How far behind the last sweep the next one looks, in ms: for messages that were committed while it ran.
const OVERLAP_MS: i64 = 3_600_000;

/// A delivery whose time was over.
#[derive(Debug, Clone, PartialEq, Eq, Queryable)]
pub struct Expired {
    /// The delivery's number.
    pub delivery: i64,
    /// The message's number.
    pub message_seq: i64,
    /// The message.
    pub message: MessageId,
    /// The key of the session or the member it was for.
    pub mailbox: String,
    /// Whether that is a member's.
    pub of_member: bool,
    /// What it counted for in its mailbox.
    pub bytes: i32,
    /// How urgent it was.
    pub priority: i16,
    /// The key that sent it, or `system`.
    pub sender: String,
    /// Whose key that is.
    pub sender_member: Option<MemberId>,
    /// What it was sent to.
    pub target: String,
}

/// Up to when each mesh has no pending delivery that is over: what was looked at is not looked at again.
#[derive(Default)]
pub(super) struct Swept(Mutex<HashMap<MeshId, UtcMs>>);

impl Swept {
    /// From when on a sweep at `now` has to look.
    fn since(&self, mesh: &MeshId, now: UtcMs) -> UtcMs {
        let swept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match swept.get(mesh) {
            Some(until) if *until <= now => until.plus_ms(-OVERLAP_MS),
            // Never swept, or the clock went back: then what it said before says nothing.
            Some(_) | None => UtcMs::from_ms(i64::MIN),
        }
    }

    fn until(&self, mesh: &MeshId, now: UtcMs) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(mesh.clone(), now);
    }
}

impl Store {
    /// Ends up to `limit` pending deliveries (and [`MAX_SWEPT_AT_ONCE`]) whose message's time is over, the longest over
    /// first, and says which. Fewer than `limit`: there are no more.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn expire(&self, mesh: &MeshId, now: UtcMs, limit: u32) -> Result<Vec<Expired>, StoreError> {
        let limit = limit.min(MAX_SWEPT_AT_ONCE);
        let (of, since) = (mesh.clone(), self.inner.swept.since(mesh, now));
        let expired: Vec<Expired> = writing!(self, "expire deliveries", |conn| {
            let over: Vec<Expired> = message::table
                .inner_join(delivery::table.on(its_own()))
                .filter(message::expires_at.gt(since))
                .filter(message::expires_at.le(now))
                .filter(message::mesh_id.eq(of))
                // By their state: `ended_at IS NULL` would let SQLite walk through all that waits.
                .filter(delivery::state.eq(DeliveryState::Pending))
                .order((message::expires_at.asc(), message::seq.asc(), delivery::id.asc()))
                .select((
                    delivery::id,
                    message::seq,
                    message::id,
                    delivery::mailbox,
                    delivery::of_member,
                    delivery::bytes,
                    message::priority,
                    message::sender,
                    message::sender_member,
                    message::target,
                ))
                .limit(i64::from(limit))
                .load(conn)
                .await?;
            if over.is_empty() {
                return Ok(over);
            }
            let ids: Vec<i64> = over.iter().map(|expired| expired.delivery).collect();
            diesel::update(delivery::table.filter(delivery::id.eq_any(ids)))
                .set((delivery::state.eq(DeliveryState::Expired), delivery::ended_at.eq(now)))
                .execute(conn)
                .await?;
            Ok(over)
        })?;
        if u32::try_from(expired.len()).is_ok_and(|ended| ended < limit) {
            self.inner.swept.until(mesh, now);
        }
        Ok(expired)
    }

    /// Forgets up to `limit` messages that expired [`IDEMPOTENCY_KEPT_MS`] ago and wait for nobody. Says how many. The
    /// newest message stays whatever its age: its number is where the next start goes on.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn prune(&self, mesh: &MeshId, now: UtcMs, limit: u32) -> Result<usize, StoreError> {
        let mesh = mesh.clone();
        let limit = i64::from(limit.min(MAX_SWEPT_AT_ONCE));
        writing!(self, "forget old messages", |conn| {
            let newest: Option<i64> = message::table.select(max(message::seq)).first(conn).await?;
            let old: Vec<(i64, i64, i64)> = message::table
                .filter(message::expires_at.le(now.plus_ms(-IDEMPOTENCY_KEPT_MS)))
                .filter(message::mesh_id.eq(mesh))
                .filter(message::seq.ne(newest.unwrap_or_default()))
                .filter(waiting().is_null())
                .order(message::expires_at.asc())
                .select((message::seq, message::first_delivery, message::last_delivery))
                .limit(limit)
                .load(conn)
                .await?;
            if old.is_empty() {
                return Ok(0);
            }
            // Nothing, for one that is for nobody.
            let first = old.iter().map(|it| it.1).filter(|id| *id > 0).min();
            let last = old.iter().map(|it| it.2).max();
            let old: Vec<i64> = old.iter().map(|it| it.0).collect();
            // What became old together was said together: there is little of others between.
            let deliveries = delivery::table
                .filter(delivery::id.between(first.unwrap_or_default(), last.unwrap_or_default()))
                .filter(delivery::message_seq.eq_any(&old));
            diesel::delete(deliveries).execute(conn).await?;
            Ok(diesel::delete(message::table.filter(message::seq.eq_any(old))).execute(conn).await?)
        })
    }

    /// Empties the bodies of messages that wait for nobody: of up to `limit` messages (and [`MAX_SWEPT_AT_ONCE`]) with
    /// numbers from `from_seq` to `to_seq`. Says from which number to go on; `None` when that was the last.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn forget_bodies(
        &self,
        mesh: &MeshId,
        from_seq: i64,
        to_seq: i64,
        limit: u32,
    ) -> Result<Option<i64>, StoreError> {
        let mesh = mesh.clone();
        let limit = i64::from(limit.clamp(1, MAX_SWEPT_AT_ONCE));
        writing!(self, "forget the bodies of messages", |conn| {
            let seqs: Vec<i64> = message::table
                .filter(message::seq.between(from_seq, to_seq))
                .filter(message::mesh_id.eq(&mesh))
                .order(message::seq.asc())
                .select(message::seq)
                .limit(limit.saturating_add(1))
                .load(conn)
                .await?;
            // One more than was asked for says that there is more, and from where.
            let next = usize::try_from(limit).ok().and_then(|limit| seqs.get(limit)).copied();
            let last = next.map_or(to_seq, |next| next.saturating_sub(1));
            let bodies = message::table
                .filter(message::seq.between(from_seq, last))
                .filter(message::mesh_id.eq(&mesh))
                .filter(message::ciphertext.ne(""))
                .filter(waiting().is_null());
            diesel::update(bodies)
                .set((message::nonce.eq(""), message::ciphertext.eq(""), message::extra.eq(None::<Document>)))
                .execute(conn)
                .await?;
            Ok(next)
        })
    }
}

/// One of a message's pending deliveries. A value, not an `EXISTS`: PostgreSQL would read all deliveries to answer that for
/// many messages at once.
#[diesel::dsl::auto_type]
fn waiting() -> _ {
    delivery::table.filter(its_own()).filter(delivery::ended_at.is_null()).select(delivery::id).single_value()
}
