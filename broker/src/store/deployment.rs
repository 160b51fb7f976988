//! Deployments: what was asked to run, with which settings and sealed secrets, and what came of it.
//!
//! A deployment's request never changes once it is written; only what was learnt about it does
//! (its exact version, its tools, that it was ready). The last [`MAX_DEPLOYMENTS_PER_SERVICE`] of a
//! service are kept to roll back to.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{DeploymentId, Document, FileId, MemberId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{deployment, file, member, service};
use super::service::{Desired, Service};

/// Deployments that are kept of a service, the active and the pending one beside them.
pub const MAX_DEPLOYMENTS_PER_SERVICE: i64 = 20;

/// A deployment of a service.
#[derive(Clone, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = deployment)]
pub struct Deployment {
    /// Its identifier.
    pub id: DeploymentId,
    /// The mesh it belongs to.
    pub mesh_id: MeshId,
    /// The service it is a deployment of.
    pub service: String,
    /// Where the program comes from.
    pub source: Document,
    /// The program's arguments: a list of text.
    pub args: Document,
    /// Limits and policy.
    pub config: Document,
    /// The environment, sealed at rest.
    pub env_sealed: Option<String>,
    /// The exact version, once it was resolved.
    pub version: Option<String>,
    /// The tools it offered when it was last ready.
    pub tools: Option<Document>,
    /// Whether it was ready once: what was never ready fails, what was may crash and come back.
    pub ever_ready: bool,
    /// How it ended for good, when it failed or crashed.
    pub ended: Option<Document>,
    /// Who deployed it.
    pub created_by: MemberId,
    /// When.
    pub created_at: UtcMs,
    /// The uploaded file that it is built from.
    pub file_id: Option<FileId>,
}

// Sealed or not, what belongs to secrets stays out of logs.
impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id.as_str())
            .field("service", &self.service)
            .field("version", &self.version)
            .field("ever_ready", &self.ever_ready)
            .finish_non_exhaustive()
    }
}

/// Which of a service's two places a new deployment takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// It waits to become active; the active one goes on.
    Pending,
    /// It is active at once, and none is pending.
    Active,
}

/// What a deployment needs.
#[derive(Clone)]
pub struct NewDeployment {
    /// Its identifier, chosen by the caller because `env_sealed` is bound to it.
    pub id: DeploymentId,
    /// The mesh.
    pub mesh_id: MeshId,
    /// The service, which is made where there is none of that name.
    pub service: String,
    /// Where the program comes from.
    pub source: Document,
    /// The program's arguments.
    pub args: Document,
    /// Limits and policy.
    pub config: Document,
    /// The environment, sealed at rest.
    pub env_sealed: Option<String>,
    /// The exact version, where it is known already.
    pub version: Option<String>,
    /// Who deploys.
    pub created_by: MemberId,
    /// Who may call the service from now on.
    pub scope: Document,
    /// What the service is, for people.
    pub description: String,
    /// The runner it is put on; `None` keeps the one it has.
    pub runner: Option<String>,
    /// The runner where it comes up, where the service goes from its own to another.
    pub moving_to: Option<String>,
    /// Which place it takes.
    pub slot: Slot,
    /// Whether scope, description and deployer are from now on as they are here, rather than as they were.
    pub takes_over: bool,
    /// The uploaded file that it is built from, which stays as long as this is kept.
    pub file_id: Option<FileId>,
}

impl NewDeployment {
    fn storable(&self) -> Result<(), StoreError> {
        let given = [
            ("env_sealed", &self.env_sealed),
            ("version", &self.version),
            ("runner", &self.runner),
            ("moving_to", &self.moving_to),
        ];
        let given = given.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)));
        storable(given.chain([("service", self.service.as_str()), ("description", &self.description)]))
    }

    fn into_rows(self, now: UtcMs) -> (Service, Deployment) {
        let (active, pending) = match self.slot {
            Slot::Active => (Some(self.id.clone()), None),
            Slot::Pending => (None, Some(self.id.clone())),
        };
        let service = Service {
            mesh_id: self.mesh_id.clone(),
            name: self.service.clone(),
            desired: Desired::Running,
            active_deployment: active,
            pending_deployment: pending,
            scope: self.scope,
            deployed_by: self.created_by.clone(),
            runner: self.runner,
            description: self.description,
            created_at: now,
            updated_at: now,
            moving_to: self.moving_to,
            trial_before: None,
            trial_ends_at: None,
        };
        let deployment = Deployment {
            id: self.id,
            mesh_id: self.mesh_id,
            service: self.service,
            source: self.source,
            args: self.args,
            config: self.config,
            env_sealed: self.env_sealed,
            version: self.version,
            tools: None,
            ever_ready: false,
            ended: None,
            created_by: self.created_by,
            created_at: now,
            file_id: self.file_id,
        };
        (service, deployment)
    }
}

/// The service row after a deployment of it: what is asked now over what was there.
fn redeployed(old: Option<Service>, asked: Service, takes_over: bool) -> Service {
    let Some(old) = old else { return asked };
    let asked = if takes_over {
        asked
    } else {
        Service { scope: old.scope, description: old.description, deployed_by: old.deployed_by, ..asked }
    };
    Service {
        active_deployment: asked.active_deployment.or(old.active_deployment),
        runner: asked.runner.or(old.runner),
        created_at: old.created_at,
        ..asked
    }
}

fn within_quota(services: i64, max_services: u32) -> Result<(), StoreError> {
    if services < i64::from(max_services) {
        return Ok(());
    }
    Err(StoreError::Limit { name: "MAX_SERVICES_PER_MESH", max: max_services.into() })
}

/// Those of the oldest deployments that their service does not point at.
fn unused(oldest: Vec<DeploymentId>, service: &Service) -> Vec<DeploymentId> {
    let used = [&service.active_deployment, &service.pending_deployment];
    oldest.into_iter().filter(|id| !used.contains(&&Some(id.clone()))).collect()
}

impl Store {
    /// Records a deployment and points its service at it, both or neither. A new service counts
    /// against `max_services`, the mesh's `MAX_SERVICES_PER_MESH`; another deployment of one that
    /// exists does not. The desired state becomes running.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the deployer is no present member of the mesh, or the file is none of it;
    /// [`StoreError::Limit`] when the mesh is full; [`StoreError::Taken`] when the identifier is used.
    pub async fn deploy(&self, new: NewDeployment, max_services: u32, now: UtcMs) -> Result<Deployment, StoreError> {
        new.storable()?;
        let takes_over = new.takes_over;
        let (asked, row) = new.into_rows(now);
        writing!(self, "record a deployment", |conn| {
            let members: i64 = member::table
                .find(&row.created_by)
                .filter(member::mesh_id.eq(&row.mesh_id))
                .filter(member::removed_at.is_null())
                .count()
                .get_result(conn)
                .await?;
            if members == 0 {
                return Err(StoreError::not_found("member", row.created_by));
            }
            if let Some(id) = &row.file_id {
                let files: i64 =
                    file::table.find(id).filter(file::mesh_id.eq(&row.mesh_id)).count().get_result(conn).await?;
                if files == 0 {
                    return Err(StoreError::not_found("file", id));
                }
            }
            let old: Option<Service> = service::table
                .find((&row.mesh_id, &row.service))
                .select(Service::as_select())
                .first(conn)
                .await
                .optional()?;
            if old.is_none() {
                let services: i64 =
                    service::table.filter(service::mesh_id.eq(&row.mesh_id)).count().get_result(conn).await?;
                within_quota(services, max_services)?;
            }
            let wanted = redeployed(old, asked, takes_over);
            diesel::insert_into(service::table)
                .values(&wanted)
                .on_conflict((service::mesh_id, service::name))
                .do_update()
                .set(&wanted)
                .execute(conn)
                .await?;
            let added =
                diesel::insert_into(deployment::table).values(&row).on_conflict_do_nothing().execute(conn).await?;
            if added == 0 {
                return Err(StoreError::taken("deployment", row.id));
            }
            let beyond: Vec<DeploymentId> = deployment::table
                .filter(deployment::mesh_id.eq(&row.mesh_id))
                .filter(deployment::service.eq(&row.service))
                .order((deployment::created_at.desc(), deployment::id.desc()))
                .select(deployment::id)
                .offset(MAX_DEPLOYMENTS_PER_SERVICE)
                .load(conn)
                .await?;
            let unused = unused(beyond, &wanted);
            diesel::delete(deployment::table.filter(deployment::id.eq_any(unused))).execute(conn).await?;
            Ok(row)
        })
    }

    /// A deployment of a mesh, by its identifier.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn deployment(&self, mesh: &MeshId, id: &DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        reading!(self, "find a deployment", |conn| {
            Ok(deployment::table
                .find(id)
                .filter(deployment::mesh_id.eq(mesh))
                .select(Deployment::as_select())
                .first(conn)
                .await
                .optional()?)
        })
    }

    /// The kept deployments of a service, the newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn deployments(&self, mesh: &MeshId, name: &str) -> Result<Vec<Deployment>, StoreError> {
        storable([("service", name)])?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        reading!(self, "list the deployments of a service", |conn| {
            Ok(deployment::table
                .filter(deployment::mesh_id.eq(mesh))
                .filter(deployment::service.eq(name))
                .order((deployment::created_at.desc(), deployment::id.desc()))
                .select(Deployment::as_select())
                .load(conn)
                .await?)
        })
    }

    /// Records what was learnt when a deployment became ready.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the mesh has no such deployment (it was removed meanwhile).
    pub async fn record_ready(
        &self,
        mesh: &MeshId,
        id: &DeploymentId,
        version: Option<String>,
        tools: Document,
    ) -> Result<(), StoreError> {
        storable(version.iter().map(|text| ("version", text.as_str())))?;
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "record that a deployment is ready", |conn| {
            let this = deployment::table.find(&id).filter(deployment::mesh_id.eq(&mesh));
            let changed = diesel::update(this)
                .set((deployment::ever_ready.eq(true), deployment::tools.eq(tools)))
                .execute(conn)
                .await?;
            if changed == 0 {
                return Err(StoreError::not_found("deployment", id));
            }
            if let Some(version) = version {
                let this = deployment::table.find(&id).filter(deployment::mesh_id.eq(&mesh));
                diesel::update(this).set(deployment::version.eq(version)).execute(conn).await?;
            }
            Ok(())
        })
    }

    /// Records how a deployment ended for good, or with `None` that it runs again after all.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a deployment that this mesh does not have.
    pub async fn record_end(
        &self,
        mesh: &MeshId,
        id: &DeploymentId,
        ended: Option<Document>,
    ) -> Result<(), StoreError> {
        let (mesh, id) = (mesh.clone(), id.clone());
        writing!(self, "record how a deployment ended", |conn| {
            let this = deployment::table.find(&id).filter(deployment::mesh_id.eq(&mesh));
            let changed = diesel::update(this).set(deployment::ended.eq(ended)).execute(conn).await?;
            if changed == 0 { Err(StoreError::not_found("deployment", id)) } else { Ok(()) }
        })
    }
}
