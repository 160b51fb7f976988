//! Restricted groups: who is in them is a signed list, and of each group the latest is kept.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{Document, MeshId, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::group_list;

/// Groups of a mesh that may have a list.
pub const MAX_GROUP_LISTS_PER_MESH: i64 = 1_000;

/// The latest signed list of a group, or the signed word that it is open again.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = group_list)]
pub struct GroupList {
    /// The mesh.
    pub mesh_id: MeshId,
    /// The group's name.
    pub name: String,
    /// The statement's serial.
    pub serial: i64,
    /// The statement.
    pub statement: Document,
}

impl Store {
    /// Keeps a statement about a group in place of the one before.
    ///
    /// # Errors
    /// [`StoreError::Superseded`] unless `serial` is higher than that of the one before; [`StoreError::Limit`] beyond
    /// [`MAX_GROUP_LISTS_PER_MESH`].
    pub async fn put_group_list(
        &self,
        mesh: &MeshId,
        name: &str,
        serial: i64,
        statement: Document,
    ) -> Result<(), StoreError> {
        storable([("group", name)])?;
        let row = GroupList { mesh_id: mesh.clone(), name: name.to_owned(), serial, statement };
        writing!(self, "keep the list of a group", |conn| {
            let this = group_list::table.find((&row.mesh_id, &row.name));
            let before: Option<i64> = this.select(group_list::serial).first(conn).await.optional()?;
            if before.is_some_and(|before| serial <= before) {
                return Err(StoreError::superseded("list", row.name));
            }
            if before.is_none() {
                let lists = group_list::table.filter(group_list::mesh_id.eq(&row.mesh_id));
                within_limit(lists.count().get_result(conn).await?)?;
            }
            diesel::insert_into(group_list::table)
                .values(&row)
                .on_conflict((group_list::mesh_id, group_list::name))
                .do_update()
                .set((group_list::serial.eq(row.serial), group_list::statement.eq(&row.statement)))
                .execute(conn)
                .await?;
            Ok(())
        })
    }

    /// The latest lists of a mesh's groups, by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn group_lists(&self, mesh: &MeshId) -> Result<Vec<GroupList>, StoreError> {
        let mesh = mesh.clone();
        reading!(self, "list the lists of groups", |conn| {
            Ok(group_list::table
                .filter(group_list::mesh_id.eq(mesh))
                .order(group_list::name.asc())
                .select(GroupList::as_select())
                .load(conn)
                .await?)
        })
    }
}

fn within_limit(lists: i64) -> Result<(), StoreError> {
    if lists < MAX_GROUP_LISTS_PER_MESH {
        return Ok(());
    }
    let max = u64::try_from(MAX_GROUP_LISTS_PER_MESH).unwrap_or(u64::MAX);
    Err(StoreError::Limit { name: "MAX_GROUP_LISTS_PER_MESH", max })
}
