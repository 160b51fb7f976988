//! Files that members uploaded: what is known of them. The bytes are the business of [`crate::files`].
//!
//! **Contract.** A row is there only while its mesh, and its member's half of it, have room for it. What a kept deployment
//! is built from is not removed, by nobody and by no age.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{Document, FileId, MemberId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{deployment, file};

/// Files of a mesh.
pub const MAX_FILES_PER_MESH: usize = 1_000;
/// Bytes of all files of a mesh.
pub const MAX_FILE_BYTES_PER_MESH: u64 = 1024 * 1024 * 1024;
/// A member's half of them.
pub const MAX_FILE_BYTES_PER_MEMBER: u64 = MAX_FILE_BYTES_PER_MESH / 2;

/// The names of the limits, in the order of the constants above.
pub const FILE_LIMITS: [&str; 3] = ["files_per_mesh", "file_bytes_per_mesh", "file_bytes_per_member"];

/// A file that somebody uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = file)]
pub struct StoredFile {
    /// Its identifier.
    pub id: FileId,
    /// The mesh it belongs to.
    pub mesh_id: MeshId,
    /// Who uploaded it.
    pub member_id: MemberId,
    /// What that member called it.
    pub name: String,
    /// Of its bytes, 64 hex digits.
    pub sha256: String,
    /// How many they are.
    pub bytes: i64,
    /// What it is filed under: a list of text.
    pub tags: Document,
    /// Whether it stays until somebody deletes it.
    pub persistent: bool,
    /// When it came.
    pub created_at: UtcMs,
}

/// What became of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRemoval {
    /// It is gone.
    Removed,
    /// There was none.
    Missing,
    /// A kept deployment of this service is built from it.
    Named(String),
}

/// Whether a member's file of `bytes` fits beside those that are there.
fn fits(present: &[(MemberId, i64)], member: &MemberId, bytes: i64) -> Result<(), StoreError> {
    let sum = |of: &dyn Fn(&MemberId) -> bool| {
        let own = present.iter().filter(|(owner, _)| of(owner)).map(|(_, bytes)| *bytes);
        u64::try_from(own.fold(bytes, i64::saturating_add)).unwrap_or(u64::MAX)
    };
    let [files, mesh_bytes, member_bytes] = FILE_LIMITS;
    let count = u64::try_from(MAX_FILES_PER_MESH).unwrap_or(u64::MAX);
    let refused = [
        (present.len() >= MAX_FILES_PER_MESH, files, count),
        (sum(&|_| true) > MAX_FILE_BYTES_PER_MESH, mesh_bytes, MAX_FILE_BYTES_PER_MESH),
        (sum(&|owner| owner == member) > MAX_FILE_BYTES_PER_MEMBER, member_bytes, MAX_FILE_BYTES_PER_MEMBER),
    ];
    match refused.into_iter().find(|(over, ..)| *over) {
        Some((_, name, max)) => Err(StoreError::Limit { name, max }),
        None => Ok(()),
    }
}

impl Store {
    /// Whether a file of `bytes` has room now; it is asked again when the file is there.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when it has none.
    pub async fn room_for_file(&self, mesh: &MeshId, member: &MemberId, bytes: i64) -> Result<(), StoreError> {
        let (mesh, member) = (mesh.clone(), member.clone());
        reading!(self, "look for a file's room", |conn| {
            let own = file::table.filter(file::mesh_id.eq(&mesh));
            let present: Vec<(MemberId, i64)> = own.select((file::member_id, file::bytes)).load(conn).await?;
            fits(&present, &member, bytes)
        })
    }

    /// Records a file whose bytes are there.
    ///
    /// # Errors
    /// [`StoreError::Limit`] when it has no room.
    pub async fn add_file(&self, row: StoredFile) -> Result<(), StoreError> {
        storable([("name", row.name.as_str()), ("sha256", &row.sha256)])?;
        writing!(self, "record a file", |conn| {
            let own = file::table.filter(file::mesh_id.eq(&row.mesh_id));
            let present: Vec<(MemberId, i64)> = own.select((file::member_id, file::bytes)).load(conn).await?;
            fits(&present, &row.member_id, row.bytes)?;
            diesel::insert_into(file::table).values(&row).execute(conn).await?;
            Ok(())
        })
    }

    /// A file of a mesh.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn file(&self, mesh: &MeshId, id: &FileId) -> Result<Option<StoredFile>, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        reading!(self, "find a file", |conn| {
            let this = file::table.find(id).filter(file::mesh_id.eq(mesh));
            Ok(this.select(StoredFile::as_select()).first(conn).await.optional()?)
        })
    }

    /// A file of whichever mesh.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn file_of_any_mesh(&self, id: &FileId) -> Result<Option<StoredFile>, StoreError> {
        let id = id.clone();
        reading!(self, "find a file by its id", |conn| {
            Ok(file::table.find(id).select(StoredFile::as_select()).first(conn).await.optional()?)
        })
    }

    /// The files of a mesh, the newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn files(&self, mesh: &MeshId) -> Result<Vec<StoredFile>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the files", |conn| {
            let own = file::table.filter(file::mesh_id.eq(mesh));
            Ok(own.order((file::created_at.desc(), file::id.desc())).select(StoredFile::as_select()).load(conn).await?)
        })
    }

    /// The files of every mesh.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn all_files(&self) -> Result<Vec<StoredFile>, StoreError> {
        reading!(self, "list all files", |conn| { Ok(file::table.select(StoredFile::as_select()).load(conn).await?) })
    }

    /// Forgets a file, unless a kept deployment is built from it.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_file(&self, mesh: &MeshId, id: &FileId) -> Result<FileRemoval, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "remove a file", |conn| {
            let named = deployment::table.filter(deployment::file_id.eq(&id)).select(deployment::service);
            let named: Option<String> = named.first(conn).await.optional()?;
            if let Some(service) = named {
                return Ok(FileRemoval::Named(service));
            }
            let this = file::table.find(&id).filter(file::mesh_id.eq(&mesh));
            let removed = diesel::delete(this).execute(conn).await?;
            Ok(if removed == 1 { FileRemoval::Removed } else { FileRemoval::Missing })
        })
    }

    /// Forgets the files that came before `before`, are not to stay and no kept deployment is built from; says which.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn expire_files(&self, before: UtcMs) -> Result<Vec<(MeshId, FileId)>, StoreError> {
        writing!(self, "let old files go", |conn| {
            let old = file::table.filter(file::persistent.eq(false)).filter(file::created_at.le(before));
            let old: Vec<(MeshId, FileId)> = old.select((file::mesh_id, file::id)).load(conn).await?;
            let named = deployment::table.filter(deployment::file_id.is_not_null()).select(deployment::file_id);
            let named: Vec<Option<FileId>> = named.load(conn).await?;
            let gone: Vec<_> = old.into_iter().filter(|(_, id)| !named.contains(&Some(id.clone()))).collect();
            let ids: Vec<FileId> = gone.iter().map(|(_, id)| id.clone()).collect();
            diesel::delete(file::table.filter(file::id.eq_any(ids))).execute(conn).await?;
            Ok(gone)
        })
    }
}
