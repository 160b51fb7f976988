//! What happened to services: the transitions of their state, in the order they were recorded.
//!
//! Order is the row's own rising number, since clocks go back and several events share a millisecond.

use std::collections::BTreeSet;

use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use super::column::{DeploymentId, EventId, MeshId, UtcMs, storable};
use super::error::StoreError;
use super::pool::Store;
use super::schema::service_event;

/// Events that are kept of a service; older ones go when newer ones come.
pub const MAX_EVENTS_PER_SERVICE: i64 = 1_000;
/// Events that are kept of a mesh whose services come and go under ever new names.
pub const MAX_EVENTS_PER_MESH: i64 = 50_000;
/// Events that are recorded in one transaction.
pub const MAX_EVENT_BATCH: usize = 1_024;

/// A recorded transition of a service.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = service_event)]
pub struct ServiceEvent {
    /// Its place in the order of events.
    pub seq: i64,
    /// Its identifier.
    pub id: EventId,
    /// The mesh.
    pub mesh_id: MeshId,
    /// The service.
    pub service: String,
    /// The deployment it concerned.
    pub deployment: Option<DeploymentId>,
    /// The state before; `None` for the first.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: String,
    /// Why.
    pub cause: String,
    /// When it happened.
    pub at: UtcMs,
}

/// A transition to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewServiceEvent {
    /// The mesh.
    pub mesh_id: MeshId,
    /// The service.
    pub service: String,
    /// The deployment it concerned.
    pub deployment: Option<DeploymentId>,
    /// The state before.
    pub from_state: Option<String>,
    /// The state after.
    pub to_state: String,
    /// Why; a NUL in it is stored as U+FFFD.
    pub cause: String,
    /// When it happened.
    pub at: UtcMs,
}

#[derive(Insertable)]
#[diesel(table_name = service_event)]
struct Row {
    id: EventId,
    mesh_id: MeshId,
    service: String,
    deployment: Option<DeploymentId>,
    from_state: Option<String>,
    to_state: String,
    cause: String,
    at: UtcMs,
}

impl From<NewServiceEvent> for Row {
    fn from(new: NewServiceEvent) -> Self {
        Self {
            id: EventId::new(),
            mesh_id: new.mesh_id,
            service: new.service,
            deployment: new.deployment,
            from_state: new.from_state,
            to_state: new.to_state,
            // Words of a program may be in it: what cannot be stored costs a character, not the batch.
            cause: new.cause.replace('\0', "\u{fffd}"),
            at: new.at,
        }
    }
}

impl Store {
    /// Records one transition.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn append_event(&self, event: NewServiceEvent) -> Result<(), StoreError> {
        self.append_events(vec![event]).await
    }

    /// Records transitions in their order, all or none, at the cost of one commit; then lets go of
    /// what their services have beyond [`MAX_EVENTS_PER_SERVICE`].
    ///
    /// # Errors
    /// [`StoreError::Limit`] for more than [`MAX_EVENT_BATCH`] at once.
    pub async fn append_events(&self, events: Vec<NewServiceEvent>) -> Result<(), StoreError> {
        if events.len() > MAX_EVENT_BATCH {
            let max = u64::try_from(MAX_EVENT_BATCH).unwrap_or(u64::MAX);
            return Err(StoreError::Limit { name: "MAX_EVENT_BATCH", max });
        }
        if events.is_empty() {
            return Ok(());
        }
        for event in &events {
            storable([("service", event.service.as_str()), ("to_state", &event.to_state)])?;
            storable(event.from_state.iter().map(|text| ("from_state", text.as_str())))?;
        }
        writing!(self, "record what happened to services", |conn| {
            let mut touched = BTreeSet::new();
            for row in events.into_iter().map(Row::from) {
                touched.insert((row.mesh_id.clone(), row.service.clone()));
                diesel::insert_into(service_event::table).values(row).execute(conn).await?;
            }
            for (mesh, name) in touched {
                let last_to_go: Option<i64> = service_event::table
                    .filter(service_event::mesh_id.eq(&mesh))
                    .filter(service_event::service.eq(&name))
                    .order(service_event::seq.desc())
                    .select(service_event::seq)
                    .offset(MAX_EVENTS_PER_SERVICE)
                    .first(conn)
                    .await
                    .optional()?;
                let Some(seq) = last_to_go else { continue };
                diesel::delete(service_event::table)
                    .filter(service_event::mesh_id.eq(&mesh))
                    .filter(service_event::service.eq(&name))
                    .filter(service_event::seq.le(seq))
                    .execute(conn)
                    .await?;
            }
            Ok(())
        })
    }

    /// The first `limit` events of a service behind the one with this number, the oldest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn events_after(
        &self,
        mesh: &MeshId,
        service: &str,
        seq: i64,
        limit: u32,
    ) -> Result<Vec<ServiceEvent>, StoreError> {
        storable([("service", service)])?;
        let (mesh, service) = (mesh.clone(), service.to_owned());
        let limit = i64::from(limit).min(MAX_EVENTS_PER_SERVICE);
        reading!(self, "list the events of a service", |conn| {
            Ok(service_event::table
                .filter(service_event::mesh_id.eq(mesh))
                .filter(service_event::service.eq(service))
                .filter(service_event::seq.gt(seq))
                .order(service_event::seq.asc())
                .select(ServiceEvent::as_select())
                .limit(limit)
                .load(conn)
                .await?)
        })
    }

    /// The last `limit` events of a service, the newest first.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn events(&self, mesh: &MeshId, service: &str, limit: u32) -> Result<Vec<ServiceEvent>, StoreError> {
        storable([("service", service)])?;
        let (mesh, service) = (mesh.clone(), service.to_owned());
        let limit = i64::from(limit).min(MAX_EVENTS_PER_SERVICE);
        reading!(self, "list the events of a service", |conn| {
            Ok(service_event::table
                .filter(service_event::mesh_id.eq(mesh))
                .filter(service_event::service.eq(service))
                .order(service_event::seq.desc())
                .select(ServiceEvent::as_select())
                .limit(limit)
                .load(conn)
                .await?)
        })
    }
}
