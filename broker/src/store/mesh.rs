//! Meshes: what everything else is keyed by.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{MemberId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::member::{Member, Role};
use super::pool::Store;
use super::schema::{member, mesh};

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
}

/// What a new mesh needs.
#[derive(Debug, Clone)]
pub struct NewMesh {
    /// Its short name.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// The owner's public key, 64 hex digits.
    pub owner_pubkey: String,
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
            id: MeshId::new(),
            slug: new.slug,
            name: new.name,
            owner_pubkey: new.owner_pubkey.clone(),
            created_at: now,
        };
        let owner = Member {
            id: MemberId::new(),
            mesh_id: mesh.id.clone(),
            pubkey: new.owner_pubkey,
            display_name: new.owner_name,
            role: Role::Owner,
            // The owner's key is the root: nobody certifies it.
            certificate: None,
            created_at: now,
            removed_at: None,
        };
        Self { mesh, owner }
    }
}

impl Store {
    /// Makes a mesh and its owner, both or neither.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when the slug is in use.
    pub async fn create_mesh_with_owner(&self, new: NewMesh, now: UtcMs) -> Result<Founded, StoreError> {
        storable([
            ("slug", new.slug.as_str()),
            ("name", &new.name),
            ("owner_pubkey", &new.owner_pubkey),
            ("owner_name", &new.owner_name),
        ])?;
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
