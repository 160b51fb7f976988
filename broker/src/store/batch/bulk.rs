//! Messages, deliveries and ends: many rows at once, on each backend in the way that costs it least.
//!
//! SQLite answers a prepared statement within microseconds: so each row runs one of its own. PostgreSQL's answers take
//! a journey each: so many rows go in one statement. They go as one array a column, for then its text is the same
//! however many they are, and it is parsed once in a connection's life.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;

use super::plan::{End, Rows};
use super::steps::said_key;
use crate::store::message::{DeliveryState, MessageRow, NewDeliveryRow};
use crate::store::schema::{delivery, message};

/// Rows that one statement takes: what it takes along stays far from what PostgreSQL reads at once.
const ROWS_PER_STATEMENT: usize = 512;

/// The deliveries whose messages went in.
fn wanted<'a>(mut deliveries: Vec<NewDeliveryRow<'a>>, refused: &[MessageRow<'_>]) -> Vec<NewDeliveryRow<'a>> {
    if !refused.is_empty() {
        let refused: HashSet<i64> = refused.iter().map(|message| message.seq).collect();
        deliveries.retain(|delivery| !refused.contains(&delivery.message_seq));
    }
    deliveries
}

/// The rows of each statement.
fn chunks<T>(rows: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let chunk: Vec<T> = rows.by_ref().take(ROWS_PER_STATEMENT).collect();
        (!chunk.is_empty()).then_some(chunk)
    })
}

pub(super) mod on_sqlite {
    use diesel::result::{DatabaseErrorKind, Error};

    use super::*;

    /// Writes messages, the deliveries of those that went in, and then ends deliveries. Gives back the messages that
    /// collided with one that their sender said before.
    pub(in super::super) fn write<'a>(
        connection: &mut SqliteConnection,
        rows: Rows<'a>,
    ) -> QueryResult<Vec<MessageRow<'a>>> {
        let refused = messages(connection, rows.messages)?;
        deliveries(connection, wanted(rows.deliveries, &refused))?;
        ends(connection, rows.ends)?;
        Ok(refused)
    }

    /// Without `ON CONFLICT`, since the query builder writes out anew each time what has one. A row that is refused
    /// takes nothing else along: SQLite undoes that statement alone.
    fn messages<'a>(connection: &mut SqliteConnection, rows: Vec<MessageRow<'a>>) -> QueryResult<Vec<MessageRow<'a>>> {
        let mut refused = Vec::new();
        for row in rows {
            match diesel::insert_into(message::table).values(&row).execute(connection) {
                Ok(_) => {}
                // A collision of another kind is told by whoever looks for what was said before.
                Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => refused.push(row),
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    fn deliveries(connection: &mut SqliteConnection, rows: Vec<NewDeliveryRow<'_>>) -> QueryResult<()> {
        for row in rows {
            diesel::insert_into(delivery::table).values(row).execute(connection)?;
        }
        Ok(())
    }

    /// Many at a time: of an update the query builder never keeps what it prepared.
    fn ends(connection: &mut SqliteConnection, ends: BTreeMap<End, Vec<i64>>) -> QueryResult<()> {
        for (end, ids) in ends {
            for ids in chunks(ids) {
                let these =
                    delivery::table.filter(delivery::id.eq_any(ids)).filter(delivery::state.eq(DeliveryState::Pending));
                let state =
                    (delivery::state.eq(end.state), delivery::reason.eq(&end.reason), delivery::ended_at.eq(end.at));
                diesel::update(these).set(state).execute(connection)?;
            }
        }
        Ok(())
    }
}

pub(super) mod on_postgres {
    use diesel::dsl::SqlTypeOf;
    use diesel::sql_types::{Array, SingleValue};
    use diesel_async::{AsyncPgConnection, RunQueryDsl};

    use super::*;

    diesel::define_sql_function! {
        /// A row for each value; of several arrays beside each other a row for each place.
        fn unnest<ST: SingleValue>(values: Array<ST>) -> ST;
    }

    /// An insert of these rows' values, column by column.
    macro_rules! insert_columns {
        ($table:ident, $rows:expr, $($column:ident),* $(,)?) => {
            diesel::insert_into($table::table)
                .values(diesel::select(($(
                    unnest::<SqlTypeOf<$table::$column>, _>($rows.iter().map(|row| &row.$column).collect::<Vec<_>>()),
                )*)))
                .into_columns(($($table::$column,)*))
        };
    }

    /// Does what it does [on SQLite](super::on_sqlite::write).
    pub(in super::super) async fn write<'a>(
        connection: &mut AsyncPgConnection,
        rows: Rows<'a>,
    ) -> QueryResult<Vec<MessageRow<'a>>> {
        let mut refused = Vec::new();
        for chunk in chunks(rows.messages) {
            refused.extend(messages(connection, chunk).await?);
        }
        for chunk in chunks(wanted(rows.deliveries, &refused)) {
            deliveries(connection, chunk).await?;
        }
        ends(connection, rows.ends).await?;
        Ok(refused)
    }

    async fn messages<'a>(
        connection: &mut AsyncPgConnection,
        rows: Vec<MessageRow<'a>>,
    ) -> QueryResult<Vec<MessageRow<'a>>> {
        let insert = insert_columns!(
            message,
            rows,
            seq,
            id,
            mesh_id,
            sender,
            sender_member,
            sender_session_id,
            client_id,
            digest,
            target,
            priority,
            nonce,
            ciphertext,
            extra,
            ack,
            created_at,
            expires_at,
            first_delivery,
            last_delivery,
        );
        let insert = insert.on_conflict(said_key!()).do_nothing().returning(message::seq);
        let written: Vec<i64> = insert.get_results(connection).await?;
        if written.len() == rows.len() {
            return Ok(Vec::new());
        }
        let written: HashSet<i64> = written.into_iter().collect();
        Ok(rows.into_iter().filter(|row| !written.contains(&row.seq)).collect())
    }

    async fn deliveries(connection: &mut AsyncPgConnection, rows: Vec<NewDeliveryRow<'_>>) -> QueryResult<()> {
        let insert = insert_columns!(
            delivery,
            rows,
            id,
            message_seq,
            mesh_id,
            mailbox,
            of_member,
            priority,
            bytes,
            wrapped_key,
            state,
        );
        insert.execute(connection).await.map(drop)
    }

    async fn ends(connection: &mut AsyncPgConnection, ends: BTreeMap<End, Vec<i64>>) -> QueryResult<()> {
        for (end, ids) in ends {
            // One value, however many there are. By their state: `ended_at IS NULL` would let the planner walk through all that
            // waits, in place of the few that are named.
            let these =
                delivery::table.filter(delivery::id.eq_any(ids)).filter(delivery::state.eq(DeliveryState::Pending));
            let state = (delivery::state.eq(end.state), delivery::reason.eq(end.reason), delivery::ended_at.eq(end.at));
            diesel::update(these).set(state).execute(connection).await?;
        }
        Ok(())
    }
}
