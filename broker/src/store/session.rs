//! Sessions: the keys that members were here under, and what was last known of them.
//!
//! A row is written by [`Store::write_batch`] and read here. It outlives its session, because whoever returns under
//! its key, or goes on under another one, is given back what it was.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::column::{Document, MemberId, MeshId, ParseColumnError, UtcMs, storable, text_column, without_nul};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{delivery, session};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum SessionKind {
    /// A peer.
    Session,
    /// A server of one service's tools; no peer.
    Proxy,
    /// A command; no peer.
    Cli,
}

impl SessionKind {
    /// The word for it, on wires and in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Proxy => "proxy",
            Self::Cli => "cli",
        }
    }
}

impl FromStr for SessionKind {
    type Err = ParseColumnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Session, Self::Proxy, Self::Cli]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseColumnError::new("kind of session", text))
    }
}

impl fmt::Display for SessionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_column!(SessionKind);

/// A session of a member. A NUL in its texts is stored as U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = session)]
#[diesel(primary_key(mesh_id, pubkey))]
#[diesel(treat_none_as_null = true)]
#[diesel(treat_none_as_default_value = false)]
pub struct Session {
    /// The mesh.
    pub mesh_id: MeshId,
    /// Its public key, 64 hex digits: the address that others see.
    pub pubkey: String,
    /// Whose it is.
    pub member_id: MemberId,
    /// What its client calls it; another key may go on under it.
    pub session_id: String,
    /// What it is for.
    pub kind: SessionKind,
    /// What it is called.
    pub display_name: String,
    /// What it says it does.
    pub summary: Option<String>,
    /// The groups it joined, with its roles there.
    pub groups: Document,
    /// What it says about itself.
    pub profile: Option<Document>,
    /// What it counts.
    pub stats: Option<Document>,
    /// Whether others see it.
    pub visible: bool,
    /// Whether it is here, or may come back without a word: to find who was here when a broker ended.
    pub present: bool,
    /// What else its hello said.
    pub about: Document,
    /// When it first came.
    pub first_seen_at: UtcMs,
    /// When it was last here.
    pub last_seen_at: UtcMs,
}

impl Session {
    /// As every backend can store it.
    pub(super) fn stored(self) -> Self {
        Self {
            pubkey: without_nul(&self.pubkey).into_owned(),
            session_id: without_nul(&self.session_id).into_owned(),
            display_name: without_nul(&self.display_name).into_owned(),
            summary: self.summary.map(|words| without_nul(&words).into_owned()),
            ..self
        }
    }
}

impl Store {
    /// The sessions that were here at `since` or later, the newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn sessions(&self, mesh: &MeshId, since: UtcMs, limit: u32) -> Result<Vec<Session>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the sessions", |conn| {
            Ok(session::table
                .filter(session::mesh_id.eq(mesh))
                .filter(session::last_seen_at.ge(since))
                .order((session::last_seen_at.desc(), session::pubkey.asc()))
                .select(Session::as_select())
                .limit(i64::from(limit))
                .load(conn)
                .await?)
        })
    }

    /// The sessions that are here, or were when the last broker ended, by key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn present_sessions(&self, mesh: &MeshId) -> Result<Vec<Session>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the sessions that are here", |conn| {
            Ok(session::table
                .filter(session::mesh_id.eq(mesh))
                .filter(session::present.eq(true))
                .order(session::pubkey.asc())
                .select(Session::as_select())
                .load(conn)
                .await?)
        })
    }

    /// The session of that key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn session(&self, mesh: &MeshId, pubkey: &str) -> Result<Option<Session>, StoreError> {
        storable([("pubkey", pubkey)])?;
        let (mesh, pubkey) = (mesh.clone(), pubkey.to_owned());
        reading!(self, "find a session", |conn| {
            let this = session::table.find((mesh, pubkey));
            Ok(this.select(Session::as_select()).first(conn).await.optional()?)
        })
    }

    /// Forgets up to `limit` sessions, the oldest first, that are not here, were last here before `before`, and have no
    /// mail waiting. Says how many.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn prune_sessions(&self, mesh: &MeshId, before: UtcMs, limit: u32) -> Result<usize, StoreError> {
        let mesh = mesh.clone();
        let limit = i64::from(limit.min(super::MAX_SWEPT_AT_ONCE));
        writing!(self, "forget old sessions", |conn| {
            let mail = delivery::table
                .filter(delivery::mesh_id.eq(session::mesh_id))
                .filter(delivery::mailbox.eq(session::pubkey))
                .filter(delivery::ended_at.is_null())
                .select(delivery::id)
                .single_value();
            let old: Vec<String> = session::table
                .filter(session::mesh_id.eq(&mesh))
                .filter(session::last_seen_at.lt(before))
                .filter(session::present.eq(false))
                .filter(mail.is_null())
                .order(session::last_seen_at.asc())
                .select(session::pubkey)
                .limit(limit)
                .load(conn)
                .await?;
            if old.is_empty() {
                return Ok(0);
            }
            let these = session::table.filter(session::mesh_id.eq(&mesh)).filter(session::pubkey.eq_any(old));
            Ok(diesel::delete(these).execute(conn).await?)
        })
    }
}
