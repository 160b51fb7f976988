//! Sign-ins that were seen: what makes one good for a single use, across restarts.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use sha2::{Digest, Sha256};

use super::column::UtcMs;
use super::error::StoreError;
use super::pool::Store;
use super::schema::replay;

/// How long a sign-in is remembered, in ms. Its timestamp may be off by 60 s either way, so after
/// twice that it is refused for its age.
pub const HELLO_WINDOW_MS: i64 = 120_000;

/// Whether a sign-in was seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It is new, and is remembered from now on.
    First,
    /// It was used within the window.
    Again,
}

/// What is kept of a sign-in: a digest has one size, whatever the peer put into its hello.
pub(super) fn digest(key: &str) -> String {
    hex::encode(Sha256::digest(key.as_bytes()))
}

impl Store {
    /// Remembers a sign-in, durably, and says whether it was there already. Of several at once with
    /// the same key exactly one is the first.
    ///
    /// # Errors
    /// When the database refuses; the sign-in must then be refused too.
    pub async fn seen_hello(&self, key: &str, now: UtcMs) -> Result<Sighting, StoreError> {
        let key = digest(key);
        writing!(self, "remember a sign-in", |conn| {
            diesel::delete(replay::table).filter(replay::expires_at.le(now)).execute(conn).await?;
            let added = diesel::insert_into(replay::table)
                .values((replay::key.eq(key), replay::expires_at.eq(now.plus_ms(HELLO_WINDOW_MS))))
                .on_conflict_do_nothing()
                .execute(conn)
                .await?;
            Ok(if added == 1 { Sighting::First } else { Sighting::Again })
        })
    }
}
