//! Hellos, sessions and repetitions: each a few statements, the same ones on both backends.

use std::future::Future;

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::{Hello, HelloVerdict, Verdict};
use crate::store::column::{Document, MessageId, UtcMs};
use crate::store::error::StoreError;
use crate::store::message::StoredMessage;
use crate::store::replay::{HELLO_WINDOW_MS, digest};
use crate::store::schema::{message, replay, session};
use crate::store::session::Session;
use crate::store::sqlite::Connection as SqliteWriter;

/// What a connection does for a batch.
pub(super) trait Steps {
    /// Lets go of the sign-ins that are refused for their age by now.
    fn forget_sign_ins(&mut self, now: UtcMs) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes a session that says hello, if its sign-in is new and its key nobody else's.
    fn enter(&mut self, hello: Hello, now: UtcMs) -> impl Future<Output = Result<HelloVerdict, StoreError>> + Send;

    /// Writes a session's row.
    fn put(&mut self, row: &Session) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// What is stored in place of a message that was refused.
    fn said_before(&mut self, refused: &StoredMessage) -> impl Future<Output = Result<Verdict, StoreError>> + Send;
}

/// The key that a repetition collides on.
macro_rules! said_key {
    () => {
        (message::sender_member, message::sender_session_id, message::client_id)
    };
}
pub(super) use said_key;

macro_rules! steps_on {
    ($($connection:ty),*) => {$(
        impl Steps for $connection {
            async fn forget_sign_ins(&mut self, now: UtcMs) -> Result<(), StoreError> {
                diesel::delete(replay::table).filter(replay::expires_at.le(now)).execute(self).await?;
                Ok(())
            }

            async fn enter(&mut self, hello: Hello, now: UtcMs) -> Result<HelloVerdict, StoreError> {
                let Hello { replay_key, session: mut row } = hello;
                let this = session::table.find((&row.mesh_id, &row.pubkey)).select(Session::as_select());
                let before: Option<Session> = this.first(self).await.optional()?;
                if before.as_ref().is_some_and(|before| before.member_id != row.member_id) {
                    return Ok(HelloVerdict::Taken);
                }
                let sign_in = (replay::key.eq(digest(&replay_key)), replay::expires_at.eq(now.plus_ms(HELLO_WINDOW_MS)));
                let sign_in = diesel::insert_into(replay::table).values(sign_in).on_conflict_do_nothing();
                if sign_in.execute(self).await? == 0 {
                    return Ok(HelloVerdict::Replayed);
                }
                let of_id: Option<Session> = session::table
                    .filter(session::mesh_id.eq(&row.mesh_id))
                    .filter(session::member_id.eq(&row.member_id))
                    .filter(session::session_id.eq(&row.session_id))
                    .filter(session::pubkey.ne(&row.pubkey))
                    .order((session::last_seen_at.desc(), session::pubkey.asc()))
                    .select(Session::as_select())
                    .first(self)
                    .await
                    .optional()?;
                if let Some(before) = &before {
                    row.first_seen_at = before.first_seen_at;
                }
                self.put(&row).await?;
                Ok(HelloVerdict::Entered { before: before.map(Box::new), of_id: of_id.map(Box::new) })
            }

            async fn put(&mut self, row: &Session) -> Result<(), StoreError> {
                diesel::insert_into(session::table)
                    .values(row)
                    .on_conflict((session::mesh_id, session::pubkey))
                    .do_update()
                    .set(row)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn said_before(&mut self, refused: &StoredMessage) -> Result<Verdict, StoreError> {
                let first = message::table
                    .filter(message::sender_member.eq(&refused.sender_member))
                    .filter(message::sender_session_id.eq(&refused.sender_session_id))
                    .filter(message::client_id.eq(&refused.client_id))
                    .select((message::id, message::digest, message::ack));
                let (id, digest, ack): (MessageId, Option<String>, Document) = first.first(self).await?;
                Ok(Verdict::Duplicate { id, digest: digest.unwrap_or_default(), ack })
            }
        }
    )*};
}
steps_on!(AsyncPgConnection, SqliteWriter);
