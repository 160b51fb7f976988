//! Services: what should run in a mesh, under which name, and who may call it.
//!
//! **Contract.** A service points at up to two deployments: the *active* one serves, the *pending* one
//! is on its way to replace it. What moves these pointers is in `switch.rs`.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use diesel::deserialize::FromSqlRow;
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde::{Deserialize, Serialize};

use super::column::{DeploymentId, Document, MemberId, MeshId, ParseColumnError, UtcMs, storable, text_column};
use super::deployment::Deployment;
use super::error::StoreError;
use super::event::MAX_EVENTS_PER_MESH;
use super::pool::Store;
use super::schema::{deployment, service, service_event};
use super::switch::no_trial;

/// What a person wants of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, AsExpression, FromSqlRow)]
#[serde(rename_all = "snake_case")]
#[diesel(sql_type = Text)]
pub enum Desired {
    /// It should serve.
    Running,
    /// It should rest, and be there to start again.
    Stopped,
}

impl Desired {
    /// The word for it, on wires and in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }
}

impl FromStr for Desired {
    type Err = ParseColumnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Running, Self::Stopped]
            .into_iter()
            .find(|desired| desired.as_str() == text)
            .ok_or_else(|| ParseColumnError::new("desired state", text))
    }
}

impl fmt::Display for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

text_column!(Desired);

/// A service of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = service)]
#[diesel(primary_key(mesh_id, name))]
#[diesel(treat_none_as_null = true)]
pub struct Service {
    /// The mesh it belongs to.
    pub mesh_id: MeshId,
    /// Its name, unique in its mesh.
    pub name: String,
    /// What a person wants of it.
    pub desired: Desired,
    /// The deployment that serves.
    pub active_deployment: Option<DeploymentId>,
    /// The deployment that is to replace it.
    pub pending_deployment: Option<DeploymentId>,
    /// Who may call it.
    pub scope: Document,
    /// Who deployed it last.
    pub deployed_by: MemberId,
    /// The runner it was put on.
    pub runner: Option<String>,
    /// What it is, for people.
    pub description: String,
    /// When it was first deployed.
    pub created_at: UtcMs,
    /// When this row last changed.
    pub updated_at: UtcMs,
    /// The runner where the pending deployment comes up, where that is not the service's own.
    pub moving_to: Option<String>,
    /// The deployment that comes back when the active one dies on trial.
    pub trial_before: Option<DeploymentId>,
    /// When the active one's trial ends.
    pub trial_ends_at: Option<UtcMs>,
}

/// A service with the deployments it points at, all read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWithDeployments {
    /// The service.
    pub service: Service,
    /// The deployment that serves.
    pub active: Option<Deployment>,
    /// The deployment that is to replace it.
    pub pending: Option<Deployment>,
}

impl Store {
    /// All services of a mesh with their deployments, by name.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn services_with_deployments(&self, mesh: &MeshId) -> Result<Vec<ServiceWithDeployments>, StoreError> {
        let mesh = mesh.clone();
        snapshot!(self, "list the services", |conn| {
            let services: Vec<Service> = service::table
                .filter(service::mesh_id.eq(&mesh))
                .order(service::name.asc())
                .select(Service::as_select())
                .load(conn)
                .await?;
            let deployments: Vec<Deployment> = deployment::table
                .filter(deployment::mesh_id.eq(&mesh))
                .filter(deployment::id.eq_any(pointed_at(&services)))
                .select(Deployment::as_select())
                .load(conn)
                .await?;
            Ok(joined(services, deployments))
        })
    }

    /// One service with its deployments.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn service_with_deployments(
        &self,
        mesh: &MeshId,
        name: &str,
    ) -> Result<Option<ServiceWithDeployments>, StoreError> {
        storable([("service", name)])?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        snapshot!(self, "find a service", |conn| {
            let services: Vec<Service> =
                service::table.find((&mesh, name)).select(Service::as_select()).load(conn).await?;
            let deployments: Vec<Deployment> = deployment::table
                .filter(deployment::mesh_id.eq(&mesh))
                .filter(deployment::id.eq_any(pointed_at(&services)))
                .select(Deployment::as_select())
                .load(conn)
                .await?;
            Ok(joined(services, deployments).pop())
        })
    }

    /// Says what a person wants of a service. One that is to rest has nothing pending; how its active deployment ended
    /// counts no more for one that is to run.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a service.
    pub async fn set_desired(&self, mesh: &MeshId, name: &str, desired: Desired, now: UtcMs) -> Result<(), StoreError> {
        storable([("service", name)])?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        writing!(self, "set the desired state of a service", |conn| {
            let this = service::table.find((&mesh, &name));
            let row: Option<Service> = this.select(Service::as_select()).first(conn).await.optional()?;
            let Some(row) = row else { return Err(StoreError::not_found("service", name)) };
            match (desired, row.active_deployment) {
                (Desired::Stopped, _) => {
                    let nothing =
                        (service::pending_deployment.eq(None::<DeploymentId>), service::moving_to.eq(None::<String>));
                    diesel::update(service::table.find((&mesh, &name))).set(nothing).execute(conn).await?;
                }
                (Desired::Running, Some(active)) => {
                    let this = deployment::table.find(active).filter(deployment::mesh_id.eq(&mesh));
                    diesel::update(this).set(deployment::ended.eq(None::<Document>)).execute(conn).await?;
                }
                (Desired::Running, None) => {}
            }
            diesel::update(service::table.find((&mesh, &name)))
                .set((service::desired.eq(desired), no_trial(), service::updated_at.eq(now)))
                .execute(conn)
                .await?;
            Ok(())
        })
    }

    /// Says who may call a service from now on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a service.
    pub async fn set_scope(&self, mesh: &MeshId, name: &str, scope: Document, now: UtcMs) -> Result<(), StoreError> {
        storable([("service", name)])?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        writing!(self, "set the scope of a service", |conn| {
            let changed = diesel::update(service::table.find((&mesh, &name)))
                .set((service::scope.eq(scope), service::updated_at.eq(now)))
                .execute(conn)
                .await?;
            if changed == 0 { Err(StoreError::not_found("service", name)) } else { Ok(()) }
        })
    }

    /// Removes a service, its deployments and with them its sealed secrets. Its events stay for those
    /// who ask what became of it; the mesh's oldest events beyond [`MAX_EVENTS_PER_MESH`] go here,
    /// since only names that come and go can add up to more. Says whether there was one.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn remove_service(&self, mesh: &MeshId, name: &str) -> Result<bool, StoreError> {
        storable([("service", name)])?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        writing!(self, "remove a service", |conn| {
            let removed = diesel::delete(service::table.find((&mesh, &name))).execute(conn).await?;
            let last_to_go: Option<i64> = service_event::table
                .filter(service_event::mesh_id.eq(&mesh))
                .order(service_event::seq.desc())
                .select(service_event::seq)
                .offset(MAX_EVENTS_PER_MESH)
                .first(conn)
                .await
                .optional()?;
            if let Some(seq) = last_to_go {
                diesel::delete(service_event::table)
                    .filter(service_event::mesh_id.eq(&mesh))
                    .filter(service_event::seq.le(seq))
                    .execute(conn)
                    .await?;
            }
            Ok(removed == 1)
        })
    }
}

fn pointed_at(services: &[Service]) -> Vec<DeploymentId> {
    services
        .iter()
        .flat_map(|service| [&service.active_deployment, &service.pending_deployment])
        .flatten()
        .cloned()
        .collect()
}

fn joined(services: Vec<Service>, deployments: Vec<Deployment>) -> Vec<ServiceWithDeployments> {
    let by_id: HashMap<DeploymentId, Deployment> =
        deployments.into_iter().map(|deployment| (deployment.id.clone(), deployment)).collect();
    let find = |id: &Option<DeploymentId>| id.as_ref().and_then(|id| by_id.get(id)).cloned();
    services
        .into_iter()
        .map(|service| ServiceWithDeployments {
            active: find(&service.active_deployment),
            pending: find(&service.pending_deployment),
            service,
        })
        .collect()
}
