//! Entries of members' vaults. What is in them is sealed by the member, and once more by [`crate::vault`].
//!
//! **Contract.** A member has its own entries and no way to another's: every operation names mesh and member. The version
//! of what is signed only rises under one key, for as long as there is an entry. The entries of a member that is removed
//! go with it.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{MemberId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{member, vault_entry};

/// Entries of a member in one mesh.
pub const MAX_VAULT_ENTRIES_PER_MEMBER: usize = 500;
/// The limit's name.
pub const VAULT_ENTRIES_LIMIT: &str = "vault_entries";

/// An entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = vault_entry, treat_none_as_null = true)]
pub struct StoredEntry {
    /// The mesh it belongs to.
    pub mesh_id: MeshId,
    /// Whose it is.
    pub member_id: MemberId,
    /// What that member calls it.
    pub key: String,
    /// `env` or `file`.
    pub entry_type: String,
    /// Of a file: where a process finds it.
    pub mount_path: Option<String>,
    /// In the member's words.
    pub description: Option<String>,
    /// Of a signed one; else 0.
    pub version: i64,
    /// The boxes, sealed at rest.
    pub sealed: String,
    /// Of the value.
    pub bytes: i64,
    /// When it came.
    pub updated_at: UtcMs,
}

/// An entry without what is sealed in it.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = vault_entry)]
pub struct EntryHead {
    /// What its member calls it.
    pub key: String,
    /// `env` or `file`.
    pub entry_type: String,
    /// Of a file: where a process finds it.
    pub mount_path: Option<String>,
    /// In the member's words.
    pub description: Option<String>,
    /// Of a signed one; else 0.
    pub version: i64,
    /// Of the value.
    pub bytes: i64,
    /// When it came.
    pub updated_at: UtcMs,
}

/// The entries of one member, as a query.
macro_rules! own {
    ($mesh:expr, $member:expr) => {
        vault_entry::table.filter(vault_entry::mesh_id.eq($mesh)).filter(vault_entry::member_id.eq($member))
    };
}

impl Store {
    /// Keeps an entry, in place of the one under its key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a present member; [`StoreError::Limit`] when it has
    /// [`MAX_VAULT_ENTRIES_PER_MEMBER`]; [`StoreError::Superseded`] for a version that is not above that of the signed
    /// ones before.
    pub async fn put_vault_entry(&self, row: StoredEntry) -> Result<(), StoreError> {
        storable([("key", row.key.as_str()), ("sealed", &row.sealed)])?;
        storable(row.mount_path.iter().map(|text| ("mount_path", text.as_str())))?;
        storable(row.description.iter().map(|text| ("description", text.as_str())))?;
        writing!(self, "keep an entry of a vault", |conn| {
            let this_member = member::table.find(&row.member_id).filter(member::mesh_id.eq(&row.mesh_id));
            let present: i64 = this_member.filter(member::removed_at.is_null()).count().get_result(conn).await?;
            if present == 0 {
                return Err(StoreError::not_found("member", row.member_id));
            }
            let this = own!(&row.mesh_id, &row.member_id).filter(vault_entry::key.eq(&row.key));
            let least: Option<i64> = this.select(vault_entry::least).first(conn).await.optional()?;
            if row.version > 0 && least.is_some_and(|least| row.version <= least) {
                return Err(StoreError::superseded("entry", row.key));
            }
            if least.is_none() {
                let count: i64 = own!(&row.mesh_id, &row.member_id).count().get_result(conn).await?;
                let max = u64::try_from(MAX_VAULT_ENTRIES_PER_MEMBER).unwrap_or(u64::MAX);
                if u64::try_from(count).unwrap_or(u64::MAX) >= max {
                    return Err(StoreError::Limit { name: VAULT_ENTRIES_LIMIT, max });
                }
            }
            let least = row.version.max(least.unwrap_or_default());
            let values = (&row, vault_entry::least.eq(least));
            let key = (vault_entry::mesh_id, vault_entry::member_id, vault_entry::key);
            let kept = diesel::insert_into(vault_entry::table).values(values).on_conflict(key).do_update().set(values);
            kept.execute(conn).await?;
            Ok(())
        })
    }

    /// What a member's vault has, by key.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn vault_entries(&self, mesh: &MeshId, member: &MemberId) -> Result<Vec<EntryHead>, StoreError> {
        let (mesh, member) = (mesh.clone(), member.clone());
        reading!(self, "list a vault", |conn| {
            let own = own!(mesh, member).order(vault_entry::key.asc());
            Ok(own.select(EntryHead::as_select()).load(conn).await?)
        })
    }

    /// An entry of a member's vault.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn vault_entry(
        &self,
        mesh: &MeshId,
        member: &MemberId,
        key: &str,
    ) -> Result<Option<StoredEntry>, StoreError> {
        storable([("key", key)])?;
        let (mesh, member, key) = (mesh.clone(), member.clone(), key.to_owned());
        reading!(self, "find an entry of a vault", |conn| {
            let this = own!(mesh, member).filter(vault_entry::key.eq(key));
            Ok(this.select(StoredEntry::as_select()).first(conn).await.optional()?)
        })
    }

    /// Forgets an entry. Says whether there was one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_vault_entry(&self, mesh: &MeshId, member: &MemberId, key: &str) -> Result<bool, StoreError> {
        storable([("key", key)])?;
        let (mesh, member, key) = (mesh.clone(), member.clone(), key.to_owned());
        writing!(self, "remove an entry of a vault", |conn| {
            let this = own!(&mesh, &member).filter(vault_entry::key.eq(&key));
            Ok(diesel::delete(this).execute(conn).await? == 1)
        })
    }
}
