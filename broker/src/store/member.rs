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
use super::schema::{member, mesh, vault_entry, watch};

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
    /// The signed statement that makes it a member.
    pub certificate: Option<String>,
    /// When it joined.
    pub created_at: UtcMs,
    /// When it was removed; then it is no member any more.
    pub removed_at: Option<UtcMs>,
    /// The highest serial of a statement about it; 0 before the first.
    pub serial: i64,
    /// The signed statement that removed it, as JSON.
    pub removal: Option<String>,
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

impl NewMember {
    pub(super) fn storable(&self) -> Result<(), StoreError> {
        storable([("pubkey", self.pubkey.as_str()), ("display_name", &self.display_name)])?;
        storable(self.certificate.iter().map(|text| ("certificate", text.as_str())))
    }

    pub(super) fn into_row(self, now: UtcMs) -> Member {
        Member {
            id: MemberId::new(),
            mesh_id: self.mesh_id,
            pubkey: self.pubkey,
            display_name: self.display_name,
            role: self.role,
            certificate: self.certificate,
            created_at: now,
            removed_at: None,
            serial: 0,
            removal: None,
        }
    }
}

impl Store {
    /// Adds a member.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a mesh; [`StoreError::Taken`] when the key is or was a
    /// member's.
    pub async fn add_member(&self, new: NewMember, now: UtcMs) -> Result<Member, StoreError> {
        new.storable()?;
        writing!(self, "add a member", |conn| {
            let meshes: i64 = mesh::table.find(&new.mesh_id).count().get_result(conn).await?;
            if meshes == 0 {
                return Err(StoreError::not_found("mesh", new.mesh_id));
            }
            let row = new.into_row(now);
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

    /// The members of a mesh and those that were, in the order they joined.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn list_all_members(&self, mesh: &MeshId) -> Result<Vec<Member>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the members", |conn| {
            Ok(member::table
                .filter(member::mesh_id.eq(mesh))
                .order((member::created_at.asc(), member::id.asc()))
                .select(Member::as_select())
                .load(conn)
                .await?)
        })
    }

    /// Records what a later statement says of a present member: its role, and the statement itself.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a present member; [`StoreError::Superseded`] unless `serial` is higher
    /// than that of every statement before.
    pub async fn set_member(
        &self,
        mesh: &MeshId,
        id: &MemberId,
        role: Role,
        certificate: Option<String>,
        serial: i64,
    ) -> Result<Member, StoreError> {
        storable(certificate.iter().map(|text| ("certificate", text.as_str())))?;
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "change a member", |conn| {
            let this = member::table.find(&id).filter(member::mesh_id.eq(&mesh));
            let found: Option<Member> = this.select(Member::as_select()).first(conn).await.optional()?;
            let Some(row) = found.filter(|row| row.removed_at.is_none()) else {
                return Err(StoreError::not_found("member", id));
            };
            if serial <= row.serial {
                return Err(StoreError::superseded("statement", id));
            }
            let row = Member { role, certificate, serial, ..row };
            diesel::update(member::table.find(&id))
                .set((
                    member::role.eq(row.role),
                    member::certificate.eq(&row.certificate),
                    member::serial.eq(row.serial),
                ))
                .execute(conn)
                .await?;
            Ok(row)
        })
    }

    /// Removes a member, and its vault with it. Says whether it was one until now. A signed `removal` is kept with its serial, also of one
    /// that was removed without; an unsigned one has no serial to keep.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] when there is a `removal` and `serial` is lower than that of a certificate before, or
    /// not higher than that of a removal before.
    pub async fn remove_member(
        &self,
        mesh: &MeshId,
        id: &MemberId,
        removal: Option<String>,
        serial: i64,
        now: UtcMs,
    ) -> Result<bool, StoreError> {
        storable(removal.iter().map(|text| ("removal", text.as_str())))?;
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "remove a member", |conn| {
            let this = member::table.find(&id).filter(member::mesh_id.eq(&mesh));
            let found: Option<Member> = this.select(Member::as_select()).first(conn).await.optional()?;
            let Some(row) = found else { return Ok(false) };
            // Of one serial a removal wins over a certificate, and the first removal over another.
            let least = if row.removal.is_some() { row.serial.saturating_add(1) } else { row.serial };
            if removal.is_some() && serial < least {
                return Err(StoreError::superseded("statement", id));
            }
            let serial = if removal.is_some() { serial } else { row.serial };
            diesel::update(member::table.find(&id))
                .set((
                    member::removed_at.eq(row.removed_at.unwrap_or(now)),
                    member::removal.eq(removal.or(row.removal)),
                    member::serial.eq(serial),
                ))
                .execute(conn)
                .await?;
            let vault =
                vault_entry::table.filter(vault_entry::mesh_id.eq(&mesh)).filter(vault_entry::member_id.eq(&id));
            diesel::delete(vault).execute(conn).await?;
            // Its watches end with it.
            let own = watch::table.filter(watch::mesh_id.eq(&mesh)).filter(watch::member_id.eq(&id));
            diesel::delete(own).execute(conn).await?;
            Ok(row.removed_at.is_none())
        })
    }
}
