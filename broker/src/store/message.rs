//! Messages and their deliveries: what was accepted, for whom, and what came of it.
//!
//! **Contract.** Both are written by [`Store::write_batch`]. A delivery is pending until it ends, once: delivered,
//! expired or dropped. The order of a mailbox is the message's number, which the broker gives.

use std::borrow::Cow;

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::SmallInt;
use diesel_async::RunQueryDsl;

use super::column::{Document, MemberId, MeshId, MessageId, ParseColumnError, UtcMs, storable, without_nul};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{delivery, message};

/// Where a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = SmallInt)]
pub enum DeliveryState {
    /// It waits, or is on its way.
    Pending,
    /// Its recipient has it.
    Delivered,
    /// Its time was over.
    Expired,
    /// It was given up, for the reason in its row.
    Dropped,
}

/// How a delivery ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryEnd {
    /// Its recipient has it.
    Delivered,
    /// Its time was over.
    Expired,
    /// It was given up.
    Dropped,
}

impl From<DeliveryEnd> for DeliveryState {
    fn from(end: DeliveryEnd) -> Self {
        match end {
            DeliveryEnd::Delivered => Self::Delivered,
            DeliveryEnd::Expired => Self::Expired,
            DeliveryEnd::Dropped => Self::Dropped,
        }
    }
}

impl DeliveryState {
    const ALL: [(i16, Self); 4] = [(0, Self::Pending), (1, Self::Delivered), (2, Self::Expired), (3, Self::Dropped)];

    /// The number that rows have for it. Borrowed, as the driver wants to borrow what it sends.
    const fn number(self) -> &'static i16 {
        match self {
            Self::Pending => &0,
            Self::Delivered => &1,
            Self::Expired => &2,
            Self::Dropped => &3,
        }
    }
}

impl<DB> ToSql<SmallInt, DB> for DeliveryState
where
    DB: Backend,
    i16: ToSql<SmallInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.number().to_sql(out)
    }
}

impl<DB> FromSql<SmallInt, DB> for DeliveryState
where
    DB: Backend,
    i16: FromSql<SmallInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        let number = i16::from_sql(bytes)?;
        let found = Self::ALL.into_iter().find(|(known, _)| *known == number);
        Ok(found.ok_or_else(|| ParseColumnError::new("state of a delivery", &number.to_string()))?.1)
    }
}

/// A message to keep. A NUL in its texts is stored as U+FFFD.
#[derive(Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its number, of [`Store::number`]: its place in the order.
    pub seq: i64,
    /// Its identifier.
    pub id: MessageId,
    /// The key that sent it, a session's or a member's, 64 hex digits; or `system`.
    pub sender: String,
    /// Whose key that is.
    pub sender_member: Option<MemberId>,
    /// What the sender's client calls its session.
    pub sender_session_id: Option<String>,
    /// The sender's own name for it. Of several with the same one, of one member and session id, the first is kept.
    pub client_id: Option<String>,
    /// Tells whether a repetition is one.
    pub digest: Option<String>,
    /// What it was sent to.
    pub target: String,
    /// How urgent it is.
    pub priority: i16,
    /// The body's nonce.
    pub nonce: String,
    /// The body.
    pub ciphertext: String,
    /// What else goes along.
    pub extra: Option<Document>,
    /// What the sender was answered, for when it asks again.
    pub ack: Document,
    /// When it was accepted.
    pub created_at: UtcMs,
    /// From then on it is not delivered any more.
    pub expires_at: UtcMs,
}

/// A delivery of a message that is kept with it.
#[derive(Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its number, of [`Store::number`].
    pub id: i64,
    /// The key of the session or the member it is for.
    pub mailbox: String,
    /// Whether that is a member's.
    pub of_member: bool,
    /// What it counts for in its mailbox.
    pub bytes: i32,
    /// The message's key for this recipient.
    pub wrapped_key: Option<String>,
}

/// A message as it is kept.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = message)]
pub struct StoredMessage {
    /// Its number: its place in the order.
    pub seq: i64,
    /// Its identifier.
    pub id: MessageId,
    /// The mesh.
    pub mesh_id: MeshId,
    /// The key that sent it, or `system`.
    pub sender: String,
    /// Whose key that is.
    pub sender_member: Option<MemberId>,
    /// What the sender's client calls its session.
    pub sender_session_id: Option<String>,
    /// The sender's own name for it.
    pub client_id: Option<String>,
    /// Tells whether a repetition is one.
    pub digest: Option<String>,
    /// What it was sent to.
    pub target: String,
    /// How urgent it is.
    pub priority: i16,
    /// The body's nonce; empty once the body was forgotten.
    pub nonce: String,
    /// The body; empty once it was forgotten.
    pub ciphertext: String,
    /// What else goes along.
    pub extra: Option<Document>,
    /// What the sender was answered.
    pub ack: Document,
    /// When it was accepted.
    pub created_at: UtcMs,
    /// From then on it is not delivered any more.
    pub expires_at: UtcMs,
}

/// A message without its body.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = message)]
pub struct MessageHead {
    /// Its number: its place in the order.
    pub seq: i64,
    /// Its identifier.
    pub id: MessageId,
    /// The key that sent it, or `system`.
    pub sender: String,
    /// Whose key that is.
    pub sender_member: Option<MemberId>,
    /// What the sender's client calls its session.
    pub sender_session_id: Option<String>,
    /// The sender's own name for it.
    pub client_id: Option<String>,
    /// What it was sent to.
    pub target: String,
    /// How urgent it is.
    pub priority: i16,
    /// When it was accepted.
    pub created_at: UtcMs,
    /// From then on it is not delivered any more.
    pub expires_at: UtcMs,
}

/// A delivery as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = delivery)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// The message's.
    pub message_seq: i64,
    /// The key of the session or the member it is for.
    pub mailbox: String,
    /// Whether that is a member's.
    pub of_member: bool,
    /// Where it is.
    pub state: DeliveryState,
    /// Why it was dropped.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<UtcMs>,
}

/// A message's row as it is written.
#[derive(Insertable)]
#[diesel(table_name = message)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct MessageRow<'a> {
    pub(super) seq: i64,
    pub(super) id: &'a MessageId,
    pub(super) mesh_id: &'a MeshId,
    pub(super) sender: Cow<'a, str>,
    pub(super) sender_member: Option<&'a MemberId>,
    pub(super) sender_session_id: Option<Cow<'a, str>>,
    pub(super) client_id: Option<Cow<'a, str>>,
    pub(super) digest: Option<Cow<'a, str>>,
    pub(super) target: Cow<'a, str>,
    pub(super) priority: i16,
    pub(super) nonce: Cow<'a, str>,
    pub(super) ciphertext: Cow<'a, str>,
    pub(super) extra: Option<&'a Document>,
    pub(super) ack: &'a Document,
    pub(super) created_at: UtcMs,
    pub(super) expires_at: UtcMs,
    pub(super) first_delivery: i64,
    pub(super) last_delivery: i64,
}

/// A delivery's row as it is written.
#[derive(Insertable)]
#[diesel(table_name = delivery)]
#[diesel(treat_none_as_default_value = false)]
pub(super) struct NewDeliveryRow<'a> {
    pub(super) id: i64,
    pub(super) message_seq: i64,
    pub(super) mesh_id: &'a MeshId,
    pub(super) mailbox: Cow<'a, str>,
    pub(super) of_member: bool,
    pub(super) priority: i16,
    pub(super) bytes: i32,
    pub(super) wrapped_key: Option<Cow<'a, str>>,
    pub(super) state: DeliveryState,
}

impl NewMessage {
    pub(super) fn row<'a>(&'a self, mesh: &'a MeshId, to: &[NewDelivery]) -> MessageRow<'a> {
        let numbers = || to.iter().map(|delivery| delivery.id);
        let word = |text: &'a Option<String>| text.as_deref().map(without_nul);
        MessageRow {
            seq: self.seq,
            id: &self.id,
            mesh_id: mesh,
            sender: without_nul(&self.sender),
            sender_member: self.sender_member.as_ref(),
            sender_session_id: word(&self.sender_session_id),
            client_id: word(&self.client_id),
            digest: word(&self.digest),
            target: without_nul(&self.target),
            priority: self.priority,
            nonce: without_nul(&self.nonce),
            ciphertext: without_nul(&self.ciphertext),
            extra: self.extra.as_ref(),
            ack: &self.ack,
            created_at: self.created_at,
            expires_at: self.expires_at,
            first_delivery: numbers().min().unwrap_or_default(),
            last_delivery: numbers().max().unwrap_or_default(),
        }
    }
}

impl NewDelivery {
    pub(super) fn row<'a>(&'a self, message: &NewMessage, mesh: &'a MeshId) -> NewDeliveryRow<'a> {
        NewDeliveryRow {
            id: self.id,
            message_seq: message.seq,
            mesh_id: mesh,
            mailbox: without_nul(&self.mailbox),
            of_member: self.of_member,
            priority: message.priority,
            bytes: self.bytes,
            wrapped_key: self.wrapped_key.as_deref().map(without_nul),
            state: DeliveryState::Pending,
        }
    }
}

// What people write to each other stays out of logs, sealed or not.
macro_rules! without_body {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    )*};
}
without_body! {
    NewMessage { seq, id, sender, target, priority, created_at, expires_at }
    StoredMessage { seq, id, sender, target, priority, created_at, expires_at }
    NewDelivery { id, mailbox, of_member, bytes }
}

/// What is stored under a sender's own name for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The message.
    pub id: MessageId,
    /// Tells whether a repetition is one.
    pub digest: String,
    /// What the sender was answered.
    pub ack: Document,
}

/// A delivery is the message's beside it, found by its number: numbers of one message are given together. What says whose
/// it is stands there as a difference, which no planner takes for a way to the rows: there is no index for that way.
#[diesel::dsl::auto_type]
pub(super) fn its_own() -> _ {
    let is_its = (delivery::message_seq - message::seq).eq(0_i64);
    delivery::id.between(message::first_delivery, message::last_delivery).and(is_its)
}

impl Store {
    /// What a member's session has said under this name of its own.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn said(&self, by: &MemberId, session_id: &str, client_id: &str) -> Result<Option<Said>, StoreError> {
        storable([("sessionId", session_id), ("id", client_id)])?;
        let (by, session_id, client_id) = (by.clone(), session_id.to_owned(), client_id.to_owned());
        reading!(self, "find what was said", |conn| {
            let row: Option<(MessageId, Option<String>, Document)> = message::table
                .filter(message::sender_member.eq(by))
                .filter(message::sender_session_id.eq(session_id))
                .filter(message::client_id.eq(client_id))
                .select((message::id, message::digest, message::ack))
                .first(conn)
                .await
                .optional()?;
            Ok(row.map(|(id, digest, ack)| Said { id, digest: digest.unwrap_or_default(), ack }))
        })
    }

    /// A message of a mesh without its body, and its deliveries in the order of their numbers.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn message_status(
        &self,
        mesh: &MeshId,
        id: &MessageId,
    ) -> Result<Option<(MessageHead, Vec<DeliveryRow>)>, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        snapshot!(self, "find a message", |conn| {
            let this = message::table.filter(message::id.eq(id)).filter(message::mesh_id.eq(mesh));
            let columns = (MessageHead::as_select(), message::first_delivery, message::last_delivery);
            let found: Option<(MessageHead, i64, i64)> = this.select(columns).first(conn).await.optional()?;
            let Some((head, first, last)) = found else { return Ok(None) };
            let rows = delivery::table
                .filter(delivery::id.between(first, last))
                .filter(delivery::message_seq.eq(head.seq))
                .order(delivery::id.asc())
                .select(DeliveryRow::as_select())
                .load(conn)
                .await?;
            Ok(Some((head, rows)))
        })
    }
}
