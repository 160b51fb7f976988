//! Meshes: what everything else is keyed by.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{MemberId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::member::{Member, Role};
use super::pool::Store;
use super::schema::{member, mesh};

/// How long a message is kept for its recipients, in ms, unless the mesh says otherwise: 7 days.
pub const DEFAULT_MESSAGE_TTL_MS: i64 = 604_800_000;

/// A mesh.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = mesh)]
pub struct Mesh {
    /// Its identifier.
    pub id: MeshId,
    /// Its short name, unique in this store.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The public key that is the root of trust of this mesh, 64 hex digits.
    pub owner_pubkey: String,
    /// When it was made.
    pub created_at: UtcMs,
    /// Whether every session has to be certified by its member.
    pub require_proofs: bool,
    /// How long a message is kept for its recipients, in ms.
    pub message_ttl_ms: i64,
    /// Whether a deploy may bring its secrets in clear.
    pub plain_env: bool,
}

/// What a new mesh needs.
#[derive(Debug, Clone)]
pub struct NewMesh {
    /// Its identifier, chosen by its owner so that statements about it can be signed ahead.
    pub id: MeshId,
    /// Its short name.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The public key that is its root of trust, 64 hex digits.
    pub owner_pubkey: String,
    /// The public key that its owner is a member by, 64 hex digits.
    pub member_pubkey: String,
    /// The root's statement that this member is the owner.
    pub certificate: Option<String>,
    /// What its owner is called.
    pub owner_name: String,
}

/// A mesh and its first member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// The mesh.
    pub mesh: Mesh,
    /// Its owner.
    pub owner: Member,
}

impl Founded {
    pub(super) fn new(new: NewMesh, now: UtcMs) -> Self {
        let mesh = Mesh {
            id: new.id,
            slug: new.slug,
            name: new.name,
            owner_pubkey: new.owner_pubkey,
            created_at: now,
            require_proofs: false,
            message_ttl_ms: DEFAULT_MESSAGE_TTL_MS,
            plain_env: true,
        };
        let owner = Member {
            id: MemberId::new(),
            mesh_id: mesh.id.clone(),
            pubkey: new.member_pubkey,
            display_name: new.owner_name,
            role: Role::Owner,
            certificate: new.certificate,
            created_at: now,
            removed_at: None,
            serial: 0,
            removal: None,
        };
        Self { mesh, owner }
    }
}

impl Store {
    /// Makes a mesh and its owner, both or neither.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the slug or the identifier is in use.
    pub async fn create_mesh_with_owner(&self, new: NewMesh, now: UtcMs) -> Result<Founded, StoreError> {
        storable([
            ("slug", new.slug.as_str()),
            ("name", &new.name),
            ("owner_pubkey", &new.owner_pubkey),
            ("member_pubkey", &new.member_pubkey),
            ("owner_name", &new.owner_name),
        ])?;
        storable(new.certificate.iter().map(|text| ("certificate", text.as_str())))?;
        writing!(self, "make a mesh", |conn| {
            let founded = Founded::new(new, now);
            let made =
                diesel::insert_into(mesh::table).values(&founded.mesh).on_conflict_do_nothing().execute(conn).await?;
            if made == 0 {
                return Err(StoreError::taken("mesh", founded.mesh.slug));
            }
            diesel::insert_into(member::table).values(&founded.owner).execute(conn).await?;
            Ok(founded)
        })
    }

    /// Changes what a mesh asks of its sessions and deploys and how long it keeps messages; `None` leaves it as it is.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a mesh.
    pub async fn set_mesh(
        &self,
        id: &MeshId,
        require_proofs: Option<bool>,
        message_ttl_ms: Option<i64>,
        plain_env: Option<bool>,
    ) -> Result<Mesh, StoreError> {
        let id = id.clone();
        writing!(self, "change a mesh", |conn| {
            let found = mesh::table.find(&id).select(Mesh::as_select()).first(conn).await.optional()?;
            let Some(mut row) = found else {
                return Err(StoreError::not_found("mesh", id));
            };
            row.require_proofs = require_proofs.unwrap_or(row.require_proofs);
            row.message_ttl_ms = message_ttl_ms.unwrap_or(row.message_ttl_ms);
            row.plain_env = plain_env.unwrap_or(row.plain_env);
            diesel::update(mesh::table.find(&id))
                .set((
                    mesh::require_proofs.eq(row.require_proofs),
                    mesh::message_ttl_ms.eq(row.message_ttl_ms),
                    mesh::plain_env.eq(row.plain_env),
                ))
                .execute(conn)
                .await?;
            Ok(row)
        })
    }

    /// The mesh of that short name.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn mesh_by_slug(&self, slug: &str) -> Result<Option<Mesh>, StoreError> {
        storable([("slug", slug)])?;
        let slug = slug.to_owned();
        reading!(self, "find a mesh", |conn| {
            Ok(mesh::table.filter(mesh::slug.eq(slug)).select(Mesh::as_select()).first(conn).await.optional()?)
        })
    }

    /// The mesh of that identifier.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn mesh_by_id(&self, id: &MeshId) -> Result<Option<Mesh>, StoreError> {
        let id = id.clone();
        reading!(self, "find a mesh", |conn| {
            Ok(mesh::table.find(id).select(Mesh::as_select()).first(conn).await.optional()?)
        })
    }

    /// All meshes, by short name.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn list_meshes(&self) -> Result<Vec<Mesh>, StoreError> {
        reading!(self, "list the meshes", |conn| {
            Ok(mesh::table.order(mesh::slug.asc()).select(Mesh::as_select()).load(conn).await?)
        })
    }
}
