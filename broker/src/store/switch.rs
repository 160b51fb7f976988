//! The pointers of a service: which deployment serves, which one is on its way, and on which runner.
//!
//! **Contract.** [`Store::set_active`] is the switch; it takes only the deployment that is pending, so one that comes
//! ready after it was superseded changes nothing. A pending deployment that comes up on another runner takes the service
//! there with the switch, and not before.

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{DeploymentId, Document, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::{deployment, service};
use super::service::{Desired, Service};

/// The trial of a deployment that replaced another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTrial {
    /// The one that comes back if this one dies.
    pub before: DeploymentId,
    /// When it is over.
    pub ends_at: UtcMs,
}

/// An earlier deployment that is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comeback {
    /// Which.
    pub to: DeploymentId,
    /// The runner where it comes up, where that is not the service's own.
    pub moving_to: Option<String>,
    /// What is kept as the end of the active one, of a service that rested: it does not run for the time until then.
    pub rested: Option<Document>,
}

/// The columns that say that nothing is on trial.
pub(super) fn no_trial() -> (
    diesel::dsl::Eq<service::trial_before, Option<DeploymentId>>,
    diesel::dsl::Eq<service::trial_ends_at, Option<UtcMs>>,
) {
    (service::trial_before.eq(None), service::trial_ends_at.eq(None))
}

impl Store {
    /// The switch: the pending deployment becomes the active one, on trial where that is said, and the runner where it
    /// came up the service's own. Says which was active before. Done twice, it answers the second time that this very
    /// deployment was active.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a service; [`StoreError::Superseded`] when the deployment
    /// is neither pending nor active.
    pub async fn set_active(
        &self,
        mesh: &MeshId,
        name: &str,
        id: &DeploymentId,
        trial: Option<StoredTrial>,
        now: UtcMs,
    ) -> Result<Option<DeploymentId>, StoreError> {
        storable([("service", name)])?;
        let (mesh, name, id) = (mesh.clone(), name.to_owned(), id.clone());
        writing!(self, "switch a service", |conn| {
            let row: Option<Service> =
                service::table.find((&mesh, &name)).select(Service::as_select()).first(conn).await.optional()?;
            let Some(row) = row else {
                return Err(StoreError::not_found("service", name));
            };
            if row.pending_deployment.as_ref() != Some(&id) {
                if row.active_deployment.as_ref() == Some(&id) {
                    return Ok(Some(id));
                }
                return Err(StoreError::superseded("deployment", name));
            }
            let (before, ends_at) = trial.map(|trial| (trial.before, trial.ends_at)).unzip();
            diesel::update(service::table.find((&mesh, &name)))
                .set((
                    service::active_deployment.eq(&id),
                    service::pending_deployment.eq(None::<DeploymentId>),
                    service::runner.eq(row.moving_to.or(row.runner)),
                    service::moving_to.eq(None::<String>),
                    service::trial_before.eq(before),
                    service::trial_ends_at.eq(ends_at),
                    service::updated_at.eq(now),
                ))
                .execute(conn)
                .await?;
            Ok(row.active_deployment)
        })
    }

    /// Makes an earlier deployment of this service the pending one: by that the service is wanted to run, nothing is on
    /// trial, and how that deployment ended before counts no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a service, or when the deployment is not one of its own.
    pub async fn bring_back(&self, mesh: &MeshId, name: &str, back: Comeback, now: UtcMs) -> Result<(), StoreError> {
        let moving_to = back.moving_to.iter().map(|runner| ("moving_to", runner.as_str()));
        storable(moving_to.chain([("service", name)]))?;
        let (mesh, name) = (mesh.clone(), name.to_owned());
        writing!(self, "point a service at an earlier deployment", |conn| {
            let own = deployment::table
                .find(&back.to)
                .filter(deployment::mesh_id.eq(&mesh))
                .filter(deployment::service.eq(&name));
            let found = diesel::update(own).set(deployment::ended.eq(None::<Document>)).execute(conn).await?;
            if found == 0 {
                return Err(StoreError::not_found("deployment", back.to));
            }
            let this = service::table.find((&mesh, &name));
            let row: Option<Service> = this.select(Service::as_select()).first(conn).await.optional()?;
            let Some(row) = row else { return Err(StoreError::not_found("service", name)) };
            if let (Some(rested), Some(active)) = (back.rested, row.active_deployment) {
                let active = deployment::table.find(active).filter(deployment::mesh_id.eq(&mesh));
                diesel::update(active).set(deployment::ended.eq(rested)).execute(conn).await?;
            }
            diesel::update(service::table.find((&mesh, &name)))
                .set((
                    service::pending_deployment.eq(back.to),
                    service::moving_to.eq(back.moving_to),
                    service::desired.eq(Desired::Running),
                    no_trial(),
                    service::updated_at.eq(now),
                ))
                .execute(conn)
                .await?;
            Ok(())
        })
    }

    /// Gives up a pending deployment, if it still is that one: what was written since stays.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn drop_pending(
        &self,
        mesh: &MeshId,
        name: &str,
        id: &DeploymentId,
        now: UtcMs,
    ) -> Result<(), StoreError> {
        storable([("service", name)])?;
        let (mesh, name, id) = (mesh.clone(), name.to_owned(), id.clone());
        writing!(self, "give up a pending deployment", |conn| {
            let this = service::table.find((&mesh, &name)).filter(service::pending_deployment.eq(&id));
            diesel::update(this)
                .set((
                    service::pending_deployment.eq(None::<DeploymentId>),
                    service::moving_to.eq(None::<String>),
                    service::updated_at.eq(now),
                ))
                .execute(conn)
                .await?;
            Ok(())
        })
    }

    /// Gives a service to another runner, with all that is wanted of it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a service.
    pub async fn set_runner(&self, mesh: &MeshId, name: &str, runner: &str, now: UtcMs) -> Result<(), StoreError> {
        storable([("service", name), ("runner", runner)])?;
        let (mesh, name, runner) = (mesh.clone(), name.to_owned(), runner.to_owned());
        writing!(self, "give a service to another runner", |conn| {
            let changed = diesel::update(service::table.find((&mesh, &name)))
                .set((service::runner.eq(runner), service::moving_to.eq(None::<String>), service::updated_at.eq(now)))
                .execute(conn)
                .await?;
            if changed == 0 { Err(StoreError::not_found("service", name)) } else { Ok(()) }
        })
    }
}
