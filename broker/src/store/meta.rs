//! The database's own facts: its epoch, and the text that tells a wrong key.

use std::sync::Arc;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::storable;
use super::error::StoreError;
use super::pool::{Pool, Store};
use super::schema::meta;

impl Store {
    /// Begins a broker's life: raises the epoch by one, durably, and says what it now is.
    /// Runners answer commands of lower epochs `fenced`.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn next_epoch(&self) -> Result<u64, StoreError> {
        let lease = Arc::clone(&self.inner);
        let epoch = writing!(self, "raise the epoch", |conn| {
            let epoch: i64 = diesel::update(meta::table)
                .set(meta::epoch.eq(meta::epoch + 1))
                .returning(meta::epoch)
                .get_result(conn)
                .await?;
            // Ahead of the commit: a connection that is lost in it leaves open which of the two it is.
            lease.pool.raising(epoch);
            Ok(epoch)
        })?;
        self.inner.pool.raised(epoch);
        u64::try_from(epoch).map_err(|_| StoreError::not_found("epoch", epoch))
    }

    /// Asks a reader and the writer for a sign of life. A lease that was lost, and a database that was replaced, are
    /// noticed here at the latest.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        self.list_meshes().await?;
        let inner = Arc::clone(&self.inner);
        let asked = self.run("ask for a sign of life", async move {
            match &inner.pool {
                Pool::Sqlite(pool) => {
                    let mut connection = pool.writer().await?;
                    let asked = connection.immediate_transaction(async move |conn| {
                        Ok::<_, StoreError>(meta::table.select(meta::epoch).first::<i64>(conn).await?)
                    });
                    asked.await.map(drop)
                }
                Pool::Postgres(pool) => pool.probe().await,
            }
        });
        asked.await
    }

    /// The text sealed under the at-rest key at its first use; `None` while nothing was ever sealed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn key_check(&self) -> Result<Option<String>, StoreError> {
        reading!(self, "read the key check", |conn| { Ok(meta::table.select(meta::key_check).first(conn).await?) })
    }

    /// Records the text sealed under the at-rest key, in place of an earlier one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn set_key_check(&self, sealed: String) -> Result<(), StoreError> {
        storable([("key_check", sealed.as_str())])?;
        writing!(self, "record the key check", |conn| {
            diesel::update(meta::table).set(meta::key_check.eq(sealed)).execute(conn).await?;
            Ok(())
        })
    }
}
