//! Everything that is sealed at rest, under another key.
//!
//! **Contract.** All of it or nothing, in one transaction that holds one value in memory at a time (of
//! watches all: their headers are short). Whoever adds a column
//! with a sealed text adds it here, to [`SealedAt`].

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{DeploymentId, MemberId, MeshId};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{deployment, meta, vault_entry, watch};

/// Where a sealed text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedAt {
    /// A deployment's secrets.
    Deployment {
        /// Its mesh.
        mesh: MeshId,
        /// It.
        id: DeploymentId,
    },
    /// An entry of a member's vault.
    VaultEntry {
        /// Its mesh.
        mesh: MeshId,
        /// Whose it is.
        member: MemberId,
        /// Its key.
        key: String,
        /// Its version.
        version: i64,
    },
    /// The headers of a watch.
    Watch {
        /// Its mesh.
        mesh: MeshId,
        /// It.
        id: String,
    },
}

impl Store {
    /// Which at-rest key it is: 1 at first, one more with each rotation.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn key_version(&self) -> Result<u64, StoreError> {
        let version: i64 = reading!(self, "read the key's version", |conn| {
            Ok(meta::table.select(meta::key_version).first(conn).await?)
        })?;
        u64::try_from(version).map_err(|_| StoreError::not_found("key version", version))
    }

    /// Replaces every sealed text by what `reseal` makes of it, and records the new key's `check` and version. How many
    /// texts there were.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when `reseal` cannot read one; then nothing is changed.
    pub async fn reseal<E: std::error::Error + Send + Sync + 'static>(
        &self,
        check: String,
        key_version: u64,
        reseal: impl Fn(&SealedAt, &str) -> Result<String, E> + Send + Sync + 'static,
    ) -> Result<u64, StoreError> {
        let key_version = i64::try_from(key_version).map_err(|_| StoreError::not_found("key version", key_version))?;
        let reseal = move |at: &SealedAt, sealed: &str| {
            reseal(at, sealed).map_err(|source| StoreError::Sealed { at: format!("{at:?}"), source: Box::new(source) })
        };
        writing!(self, "seal everything under another key", |conn| {
            let mut done = 0;
            let sealed = deployment::table.filter(deployment::env_sealed.is_not_null());
            let rows: Vec<(MeshId, DeploymentId)> =
                sealed.select((deployment::mesh_id, deployment::id)).load(conn).await?;
            for (mesh, id) in rows {
                let this = deployment::table.find(&id);
                let before: Option<String> = this.select(deployment::env_sealed).first(conn).await?;
                let Some(before) = before else { continue };
                let after = reseal(&SealedAt::Deployment { mesh, id: id.clone() }, &before)?;
                let change = diesel::update(deployment::table.find(&id)).set(deployment::env_sealed.eq(after));
                change.execute(conn).await?;
                done += 1;
            }
            let columns = (vault_entry::mesh_id, vault_entry::member_id, vault_entry::key, vault_entry::version);
            let rows: Vec<(MeshId, MemberId, String, i64)> = vault_entry::table.select(columns).load(conn).await?;
            for (mesh, member, key, version) in rows {
                let this = vault_entry::table.find((&mesh, &member, &key));
                let before: String = this.select(vault_entry::sealed).first(conn).await?;
                let at = SealedAt::VaultEntry { mesh: mesh.clone(), member: member.clone(), key: key.clone(), version };
                let after = reseal(&at, &before)?;
                let this = vault_entry::table.find((&mesh, &member, &key));
                diesel::update(this).set(vault_entry::sealed.eq(after)).execute(conn).await?;
                done += 1;
            }
            let rows: Vec<(MeshId, String, Option<String>)> = watch::table
                .filter(watch::headers_sealed.is_not_null())
                .select((watch::mesh_id, watch::id, watch::headers_sealed))
                .load(conn)
                .await?;
            for (mesh, id, before) in rows {
                let Some(before) = before else { continue };
                let after = reseal(&SealedAt::Watch { mesh: mesh.clone(), id: id.clone() }, &before)?;
                let this = watch::table.find((&mesh, &id));
                diesel::update(this).set(watch::headers_sealed.eq(after)).execute(conn).await?;
                done += 1;
            }
            let values = (meta::key_check.eq(check), meta::key_version.eq(key_version));
            diesel::update(meta::table).set(values).execute(conn).await?;
            Ok(done)
        })
    }
}
