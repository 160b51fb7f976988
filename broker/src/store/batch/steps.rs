//! Carries a batch out. Hellos, sessions and repetitions are a few statements each, the same ones on both backends:
//! on SQLite they wait on the connection's own thread, on PostgreSQL for the server.

use diesel::prelude::*;

use super::bulk;
use super::plan::{Plan, Presence};
use super::{Entry, Hello, HelloVerdict, Verdict};
use crate::store::column::{Document, MeshId, MessageId, UtcMs};
use crate::store::error::StoreError;
use crate::store::message::MessageRow;
use crate::store::replay::{HELLO_WINDOW_MS, digest};
use crate::store::schema::{message, replay, session, watch, watch_change};
use crate::store::session::Session;
use crate::store::watch::{MAX_WATCH_CHANGES, WatchCommit};

/// The key that a repetition collides on.
macro_rules! said_key {
    () => {
        (message::sender_member, message::sender_session_id, message::client_id)
    };
}
pub(super) use said_key;

/// The steps on a backend: what its functions begin with, how its answers are waited for.
macro_rules! steps_on {
    ($bulk:ident, $connection:ty, [$($async:tt)?], [$($wait:tt)*]) => {
        /// Writes all entries, inside the caller's transaction, and answers each in its place.
        pub(in super::super) $($async)? fn write(
            connection: &mut $connection,
            mesh: &MeshId,
            entries: &[Entry],
            now: UtcMs,
        ) -> Result<Vec<Verdict>, StoreError> {
            let Plan { mut verdicts, presence, hellos, watches, places, mut rows } = Plan::of(mesh, entries);
            if hellos {
                forget_sign_ins(connection, now)$($wait)*?;
            }
            for (place, step) in presence {
                match step {
                    Presence::Hello(hello) => {
                        verdicts.set(place, Verdict::Hello(enter(connection, *hello, now)$($wait)*?));
                    }
                    Presence::Session(session) => put(connection, &session)$($wait)*?,
                }
            }
            for (place, commit, word) in watches {
                let message = word.map(|(message, _)| &message.id);
                match (happened(connection, mesh, commit, message)$($wait)*?, word) {
                    (false, _) => verdicts.set(place, Verdict::Superseded),
                    (true, Some(word)) => rows.add(mesh, word),
                    (true, None) => {}
                }
            }
            for refused in bulk::$bulk::write(connection, rows)$($wait)*? {
                let said = said_before(connection, &refused)$($wait)*?;
                verdicts.set(places.of(refused.seq), said);
            }
            Ok(verdicts.into_list())
        }

        /// Writes what happened to a watch, if it is there as it was believed to be.
        $($async)? fn happened(
            connection: &mut $connection,
            mesh: &MeshId,
            commit: &WatchCommit,
            message: Option<&MessageId>,
        ) -> Result<bool, StoreError> {
            let row = commit.row(mesh, message);
            let this = watch::table
                .find((mesh, &commit.watch))
                .filter(watch::version.eq(commit.expected));
            let state = (
                watch::version.eq(row.number),
                watch::value.eq(commit.value()),
                watch::hash.eq(&commit.hash),
                watch::failing.eq(commit.failing),
            );
            if diesel::update(this).set(state).execute(connection)$($wait)*? == 0 {
                return Ok(false);
            }
            diesel::insert_into(watch_change::table).values(&row).execute(connection)$($wait)*?;
            let old = watch_change::table
                .filter(watch_change::mesh_id.eq(mesh))
                .filter(watch_change::watch_id.eq(&commit.watch))
                .filter(watch_change::number.le(row.number.saturating_sub(MAX_WATCH_CHANGES)));
            diesel::delete(old).execute(connection)$($wait)*?;
            Ok(true)
        }

        /// Lets go of the sign-ins that are refused for their age by now.
        $($async)? fn forget_sign_ins(connection: &mut $connection, now: UtcMs) -> Result<(), StoreError> {
            diesel::delete(replay::table).filter(replay::expires_at.le(now)).execute(connection)$($wait)*?;
            Ok(())
        }

        /// Writes a session that says hello, if its sign-in is new and its key nobody else's.
        $($async)? fn enter(
            connection: &mut $connection,
            hello: Hello,
            now: UtcMs,
        ) -> Result<HelloVerdict, StoreError> {
            let Hello { replay_key, session: mut row } = hello;
            let this = session::table.find((&row.mesh_id, &row.pubkey)).select(Session::as_select());
            let before: Option<Session> = this.first(connection)$($wait)*.optional()?;
            if before.as_ref().is_some_and(|before| before.member_id != row.member_id) {
                return Ok(HelloVerdict::Taken);
            }
            let sign_in = (replay::key.eq(digest(&replay_key)), replay::expires_at.eq(now.plus_ms(HELLO_WINDOW_MS)));
            let sign_in = diesel::insert_into(replay::table).values(sign_in).on_conflict_do_nothing();
            if sign_in.execute(connection)$($wait)*? == 0 {
                return Ok(HelloVerdict::Replayed);
            }
            let of_id: Option<Session> = session::table
                .filter(session::mesh_id.eq(&row.mesh_id))
                .filter(session::member_id.eq(&row.member_id))
                .filter(session::session_id.eq(&row.session_id))
                .filter(session::pubkey.ne(&row.pubkey))
                .order((session::last_seen_at.desc(), session::pubkey.asc()))
                .select(Session::as_select())
                .first(connection)
                $($wait)*
                .optional()?;
            if let Some(before) = &before {
                row.first_seen_at = before.first_seen_at;
            }
            put(connection, &row)$($wait)*?;
            Ok(HelloVerdict::Entered { before: before.map(Box::new), of_id: of_id.map(Box::new) })
        }

        /// Writes a session's row.
        $($async)? fn put(connection: &mut $connection, row: &Session) -> Result<(), StoreError> {
            diesel::insert_into(session::table)
                .values(row)
                .on_conflict((session::mesh_id, session::pubkey))
                .do_update()
                .set(row)
                .execute(connection)
                $($wait)*?;
            Ok(())
        }

        /// What is stored in place of a message that was refused.
        $($async)? fn said_before(
            connection: &mut $connection,
            refused: &MessageRow<'_>,
        ) -> Result<Verdict, StoreError> {
            let first = message::table
                .filter(message::sender_member.eq(refused.sender_member))
                .filter(message::sender_session_id.eq(refused.sender_session_id.as_deref()))
                .filter(message::client_id.eq(refused.client_id.as_deref()))
                .select((message::id, message::digest, message::ack));
            let (id, digest, ack): (MessageId, Option<String>, Document) = first.first(connection)$($wait)*?;
            Ok(Verdict::Duplicate { id, digest: digest.unwrap_or_default(), ack })
        }
    };
}

pub(super) mod on_sqlite {
    use super::*;

    steps_on!(on_sqlite, SqliteConnection, [], []);
}

pub(super) mod on_postgres {
    use diesel_async::{AsyncPgConnection, RunQueryDsl};

    use super::*;

    steps_on!(on_postgres, AsyncPgConnection, [async], [.await]);
}
