//! Members: the keys that belong to a mesh.
//!
//! A removed member keeps its row, because deployments and statements name it, but it is no member:
//! [`Store::member_by_pubkey`], which sign-in rests on, does not find it, and it is not added again.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::column::{MemberId, MeshId, ParseColumnError, UtcMs, storable, text_column};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{member, mesh};

/// What a member may do in its mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum Role {
    /// Holds the root key.
    Owner,
    /// Certifies members and manages what is not its own.
    Admin,
    /// Everybody else.
    Member,
}

impl Role {
    /// The word for it, on wires and in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

impl FromStr for Role {
    type Err = ParseColumnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Owner, Self::Admin, Self::Member]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ParseColumnError::new("role", text))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_column!(Role);

/// A member of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = member)]
pub struct Member {
    /// Its identifier.
    pub id: MemberId,
    /// The mesh it belongs to.
    pub mesh_id: MeshId,
    /// Its public key, 64 hex digits.
    pub pubkey: String,
    /// What it is called.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// The signed statement that makes it a member; the owner needs none.
    pub certificate: Option<String>,
    /// When it joined.
    pub created_at: UtcMs,
    /// When it was removed; then it is no member any more.
    pub removed_at: Option<UtcMs>,
}

/// What a new member needs.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// The mesh to join.
    pub mesh_id: MeshId,
    /// Its public key, 64 hex digits.
    pub pubkey: String,
    /// What it is called.
    pub display_name: String,
    /// What it may do.
    pub role: Role,
    /// The signed statement that makes it a member.
    pub certificate: Option<String>,
}

impl Store {
    /// Adds a member.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a mesh; [`StoreError::Taken`] when the key is or was a
    /// member's.
    pub async fn add_member(&self, new: NewMember, now: UtcMs) -> Result<Member, StoreError> {
        storable([("pubkey", new.pubkey.as_str()), ("display_name", &new.display_name)])?;
        storable(new.certificate.iter().map(|text| ("certificate", text.as_str())))?;
        writing!(self, "add a member", |conn| {
            let meshes: i64 = mesh::table.find(&new.mesh_id).count().get_result(conn).await?;
            if meshes == 0 {
                return Err(StoreError::not_found("mesh", new.mesh_id));
            }
            let row = Member {
                id: MemberId::new(),
                mesh_id: new.mesh_id,
                pubkey: new.pubkey,
                display_name: new.display_name,
                role: new.role,
                certificate: new.certificate,
                created_at: now,
                removed_at: None,
            };
            let added = diesel::insert_into(member::table).values(&row).on_conflict_do_nothing().execute(conn).await?;
            if added == 0 {
                return Err(StoreError::taken("member", row.pubkey));
            }
            Ok(row)
        })
    }

    /// The present member with that key; `None` also for one that was removed.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn member_by_pubkey(&self, mesh: &MeshId, pubkey: &str) -> Result<Option<Member>, StoreError> {
        storable([("pubkey", pubkey)])?;
        let (mesh, pubkey) = (mesh.clone(), pubkey.to_owned());
        reading!(self, "find a member", |conn| {
            Ok(member::table
                .filter(member::mesh_id.eq(mesh))
                .filter(member::pubkey.eq(pubkey))
                .filter(member::removed_at.is_null())
                .select(Member::as_select())
                .first(conn)
                .await
                .optional()?)
        })
    }

    /// The member of that identifier, removed or not: for showing who did something.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn member_by_id(&self, mesh: &MeshId, id: &MemberId) -> Result<Option<Member>, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        reading!(self, "find a member", |conn| {
            Ok(member::table
                .filter(member::mesh_id.eq(mesh))
                .filter(member::id.eq(id))
                .select(Member::as_select())
                .first(conn)
                .await
                .optional()?)
        })
    }

    /// The present members of a mesh, in the order they joined.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn list_members(&self, mesh: &MeshId) -> Result<Vec<Member>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the members", |conn| {
            Ok(member::table
                .filter(member::mesh_id.eq(mesh))
                .filter(member::removed_at.is_null())
                .order((member::created_at.asc(), member::id.asc()))
                .select(Member::as_select())
                .load(conn)
                .await?)
        })
    }

    /// Removes a member. Says whether it was one until now.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_member(&self, mesh: &MeshId, id: &MemberId, now: UtcMs) -> Result<bool, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "remove a member", |conn| {
            let removed = diesel::update(member::table)
                .filter(member::mesh_id.eq(mesh))
                .filter(member::id.eq(id))
                .filter(member::removed_at.is_null())
                .set(member::removed_at.eq(now))
                .execute(conn)
                .await?;
            Ok(removed == 1)
        })
    }
}
