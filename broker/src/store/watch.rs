//! Watches, and what happened to them.
//!
//! **Contract.** What a watch saw changes by [`super::Entry::Watch`] alone: with the version that it was believed to have,
//! and in one transaction with the message that says so. A watch and its history go when it is removed, and with its member.

use std::borrow::Cow;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{MemberId, MeshId, MessageId, UtcMs, storable, without_nul};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{member, watch, watch_change};

/// Watches of a member.
pub const MAX_WATCHES_PER_MEMBER: i64 = 100;
/// What happened to a watch is kept up to so many.
pub const MAX_WATCH_CHANGES: i64 = 100;
/// The name of the first.
const WATCHES_PER_MEMBER: &str = "watches_per_member";

/// A watch.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = watch)]
pub struct Watch {
    /// The mesh.
    pub mesh_id: MeshId,
    /// `w_` and eight hex digits; unique in its mesh.
    pub id: String,
    /// Whose it is.
    pub member_id: MemberId,
    /// What is looked at.
    pub url: String,
    /// What of it.
    pub mode: String,
    /// Which part of its JSON.
    pub extract: Option<String>,
    /// How often, ms.
    pub interval_ms: i64,
    /// When its owner is told.
    pub notify: String,
    /// The headers that are sent: a JSON object, sealed.
    pub headers_sealed: Option<String>,
    /// What its owner calls it.
    pub label: Option<String>,
    /// How urgent what it says is.
    pub priority: i16,
    /// Failures in a row after which its owner is told.
    pub fail_after: i32,
    /// Looks at which a new value has to be there.
    pub settle: i32,
    /// Rises with whatever happens to it.
    pub version: i64,
    /// The last value as it is shown.
    pub value: Option<String>,
    /// The last value's hash.
    pub hash: Option<String>,
    /// Its owner was told that it fails.
    pub failing: bool,
    /// When it was made.
    pub created_at: UtcMs,
}

/// Something that happened to a watch.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = watch_change)]
pub struct WatchChange {
    /// The version that it made.
    pub number: i64,
    /// `first`, `changed`, `failed` or `recovered`.
    pub kind: String,
    /// What it was before.
    pub old_value: Option<String>,
    /// What it is from then on; of a failure the reason.
    pub new_value: Option<String>,
    /// The message that said so.
    pub message_id: Option<MessageId>,
    /// When.
    pub at: UtcMs,
}

/// Something that happens to a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchCommit {
    /// Which.
    pub watch: String,
    /// The version that it is believed to have; with another one nothing is written.
    pub expected: i64,
    /// The value from then on, as it is shown. A NUL in it is stored as U+FFFD.
    pub value: Option<String>,
    /// Its hash.
    pub hash: Option<String>,
    /// Whether its owner was told that it fails.
    pub failing: bool,
    /// What happened, for the history.
    pub kind: &'static str,
    /// What it was before.
    pub old_value: Option<String>,
    /// What it is from then on; of a failure the reason.
    pub new_value: Option<String>,
    /// When.
    pub at: UtcMs,
}

/// A history's row as it is written.
#[derive(Insertable)]
#[diesel(table_name = watch_change)]
pub(super) struct ChangeRow<'a> {
    mesh_id: &'a MeshId,
    watch_id: &'a str,
    pub(super) number: i64,
    kind: &'a str,
    old_value: Option<Cow<'a, str>>,
    new_value: Option<Cow<'a, str>>,
    message_id: Option<&'a MessageId>,
    at: UtcMs,
}

impl WatchCommit {
    pub(super) fn row<'a>(&'a self, mesh: &'a MeshId, message: Option<&'a MessageId>) -> ChangeRow<'a> {
        ChangeRow {
            mesh_id: mesh,
            watch_id: &self.watch,
            number: self.expected.saturating_add(1),
            kind: self.kind,
            old_value: self.old_value.as_deref().map(without_nul),
            new_value: self.new_value.as_deref().map(without_nul),
            message_id: message,
            at: self.at,
        }
    }

    pub(super) fn value(&self) -> Option<Cow<'_, str>> {
        self.value.as_deref().map(without_nul)
    }
}

impl Store {
    /// Keeps a new watch.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when its member has as many as it may; [`StoreError::Taken`] when the id is in use;
    /// [`StoreError::NotFound`] when its member is none any more.
    pub async fn add_watch(&self, row: Watch) -> Result<(), StoreError> {
        let said = [("url", row.url.as_str()), ("notify_on", &row.notify)];
        let may_be = [("extract", row.extract.as_deref()), ("label", row.label.as_deref())];
        storable(said.into_iter().chain(may_be.into_iter().filter_map(|(field, text)| Some((field, text?)))))?;
        writing!(self, "keep a watch", |conn| {
            let owner = member::table.find(&row.member_id).filter(member::removed_at.is_null()).select(member::id);
            let owner: Option<MemberId> = owner.first(conn).await.optional()?;
            if owner.is_none() {
                return Err(StoreError::not_found("member", &row.member_id));
            }
            let own = watch::table.filter(watch::mesh_id.eq(&row.mesh_id)).filter(watch::member_id.eq(&row.member_id));
            let present: i64 = own.count().get_result(conn).await?;
            if present >= MAX_WATCHES_PER_MEMBER {
                let max = u64::try_from(MAX_WATCHES_PER_MEMBER).unwrap_or_default();
                return Err(StoreError::Limit { name: WATCHES_PER_MEMBER, max });
            }
            let insert = diesel::insert_into(watch::table).values(&row);
            if insert.on_conflict((watch::mesh_id, watch::id)).do_nothing().execute(conn).await? == 0 {
                return Err(StoreError::taken("watch", &row.id));
            }
            Ok(())
        })
    }

    /// The watches of a mesh, in the order of their making.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn watches(&self, mesh: &MeshId) -> Result<Vec<Watch>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the watches", |conn| {
            let own = watch::table.filter(watch::mesh_id.eq(mesh));
            Ok(own.order((watch::created_at.asc(), watch::id.asc())).select(Watch::as_select()).load(conn).await?)
        })
    }

    /// A watch.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn watch(&self, mesh: &MeshId, id: &str) -> Result<Option<Watch>, StoreError> {
        storable([("watchId", id)])?;
        let (mesh, id) = (mesh.clone(), id.to_owned());
        reading!(self, "find a watch", |conn| {
            Ok(watch::table.find((mesh, id)).select(Watch::as_select()).first(conn).await.optional()?)
        })
    }

    /// Forgets a watch and its history; false when it is not this member's, or not there.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_watch(&self, mesh: &MeshId, member: &MemberId, id: &str) -> Result<bool, StoreError> {
        storable([("watchId", id)])?;
        let (mesh, member, id) = (mesh.clone(), member.clone(), id.to_owned());
        writing!(self, "remove a watch", |conn| {
            let this = watch::table.find((&mesh, &id)).filter(watch::member_id.eq(&member));
            Ok(diesel::delete(this).execute(conn).await? == 1)
        })
    }

    /// The last things that happened to a watch, the oldest of them first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn watch_changes(&self, mesh: &MeshId, id: &str, limit: u32) -> Result<Vec<WatchChange>, StoreError> {
        storable([("watchId", id)])?;
        let (mesh, id) = (mesh.clone(), id.to_owned());
        reading!(self, "read a watch's history", |conn| {
            let own = watch_change::table.filter(watch_change::mesh_id.eq(mesh)).filter(watch_change::watch_id.eq(id));
            let last = own.order(watch_change::number.desc()).limit(i64::from(limit));
            let mut changes: Vec<WatchChange> = last.select(WatchChange::as_select()).load(conn).await?;
            changes.reverse();
            Ok(changes)
        })
    }
}
