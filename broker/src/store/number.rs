//! The numbers of messages and deliveries: one counter for both, rising across starts.

use std::sync::atomic::{AtomicI64, Ordering};

use diesel::dsl::max;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::error::StoreError;
use super::pool::Store;
use super::schema::{delivery, message};

/// The last number that was given.
#[derive(Default)]
pub(super) struct Numbers(AtomicI64);

impl Store {
    /// The next number, higher than every one that was stored or given before.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.inner.numbers.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Goes on behind the highest number that is stored.
    pub(super) async fn count_on(&self) -> Result<(), StoreError> {
        let highest = snapshot!(self, "read the last number", |conn| {
            let messages: Option<i64> = message::table.select(max(message::seq)).first(conn).await?;
            let deliveries: Option<i64> = delivery::table.select(max(delivery::id)).first(conn).await?;
            Ok(messages.max(deliveries).unwrap_or_default())
        })?;
        self.inner.numbers.0.fetch_max(highest, Ordering::Relaxed);
        Ok(())
    }
}
