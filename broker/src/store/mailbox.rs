//! Mailboxes: what waits for a session or a member, read in order.

use diesel::dsl::{count_star, sum};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{MeshId, UtcMs, storable};
use super::error::StoreError;
use super::message::{DeliveryState, StoredMessage};
use super::pool::Store;
use super::schema::{delivery, message};

/// Deliveries that are read at once.
pub const MAX_PENDING_READ: u32 = 10_000;

/// What waits in a mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxLoad {
    /// The key of the session or the member it belongs to.
    pub mailbox: String,
    /// Whether that is a member's.
    pub of_member: bool,
    /// How many deliveries wait.
    pub count: i64,
    /// What they count for together.
    pub bytes: i64,
}

/// A delivery that waits, with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The delivery's number.
    pub delivery: i64,
    /// The message.
    pub message: StoredMessage,
    /// The message's key for this recipient.
    pub wrapped_key: Option<String>,
}

impl Store {
    /// The mailboxes of a mesh in which something waits, by key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn mailboxes(&self, mesh: &MeshId) -> Result<Vec<MailboxLoad>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the mailboxes", |conn| {
            let loads: Vec<(String, bool, i64, Option<i64>)> = delivery::table
                .filter(delivery::mesh_id.eq(mesh))
                .filter(delivery::ended_at.is_null())
                .group_by((delivery::mailbox, delivery::of_member))
                .order((delivery::mailbox.asc(), delivery::of_member.asc()))
                .select((delivery::mailbox, delivery::of_member, count_star(), sum(delivery::bytes)))
                .load(conn)
                .await?;
            let load = |(mailbox, of_member, count, bytes): (String, bool, i64, Option<i64>)| MailboxLoad {
                mailbox,
                of_member,
                count,
                bytes: bytes.unwrap_or_default(),
            };
            Ok(loads.into_iter().map(load).collect())
        })
    }

    /// What waits in a mailbox at a priority behind the message `after`, in order: at most `limit` deliveries (and
    /// [`MAX_PENDING_READ`]), cut where they count for more than `max_bytes`, but at least one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn pending(
        &self,
        mesh: &MeshId,
        mailbox: &str,
        priority: i16,
        after: i64,
        limit: u32,
        max_bytes: u64,
    ) -> Result<Vec<Pending>, StoreError> {
        storable([("mailbox", mailbox)])?;
        let (mesh, mailbox) = (mesh.clone(), mailbox.to_owned());
        let limit = i64::from(limit.min(MAX_PENDING_READ));
        snapshot!(self, "read a mailbox", |conn| {
            let waiting = delivery::table
                .filter(delivery::mesh_id.eq(mesh))
                .filter(delivery::mailbox.eq(mailbox))
                .filter(delivery::priority.eq(priority))
                .filter(delivery::ended_at.is_null())
                .filter(delivery::message_seq.gt(after))
                .order(delivery::message_seq.asc());
            let sizes: Vec<i32> = waiting.clone().select(delivery::bytes).limit(limit).load(conn).await?;
            if sizes.is_empty() {
                return Ok(Vec::new());
            }
            let rows: Vec<(i64, Option<String>, StoredMessage)> = waiting
                .inner_join(message::table)
                .select((delivery::id, delivery::wrapped_key, StoredMessage::as_select()))
                .limit(fitting(&sizes, max_bytes))
                .load(conn)
                .await?;
            let pending = |(delivery, wrapped_key, message)| Pending { delivery, message, wrapped_key };
            Ok(rows.into_iter().map(pending).collect())
        })
    }

    /// Gives up what waits in a mailbox. Says which deliveries those were.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn drop_mailbox(
        &self,
        mesh: &MeshId,
        mailbox: &str,
        reason: &str,
        now: UtcMs,
    ) -> Result<Vec<i64>, StoreError> {
        storable([("mailbox", mailbox), ("reason", reason)])?;
        let (mesh, mailbox, reason) = (mesh.clone(), mailbox.to_owned(), reason.to_owned());
        writing!(self, "drop a mailbox", |conn| {
            let waiting = delivery::table
                .filter(delivery::mesh_id.eq(mesh))
                .filter(delivery::mailbox.eq(mailbox))
                .filter(delivery::ended_at.is_null());
            let mut dropped: Vec<i64> = diesel::update(waiting)
                .set((
                    delivery::state.eq(DeliveryState::Dropped),
                    delivery::reason.eq(reason),
                    delivery::ended_at.eq(now),
                ))
                .returning(delivery::id)
                .get_results(conn)
                .await?;
            dropped.sort_unstable();
            Ok(dropped)
        })
    }
}

/// How many of the first stay within `max_bytes` together; one always does.
fn fitting(sizes: &[i32], max_bytes: u64) -> i64 {
    let mut total = 0_u64;
    let fit = sizes.iter().take_while(|size| {
        total = total.saturating_add(u64::try_from(**size).unwrap_or(0));
        total <= max_bytes
    });
    // A count of rows that were read fits.
    i64::try_from(fit.count().max(1).min(sizes.len())).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_cut_by_bytes_but_never_to_nothing() {
        assert_eq!(fitting(&[10, 10, 10], 30), 3);
        assert_eq!(fitting(&[10, 10, 10], 29), 2);
        assert_eq!(fitting(&[10, 10], 0), 1);
        assert_eq!(fitting(&[], 0), 0);
        assert_eq!(fitting(&[i32::MAX; 3], u64::MAX), 3);
        assert_eq!(fitting(&[-1, 5], 5), 2);
    }
}
