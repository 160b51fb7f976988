//! Deploys and undeploys: who may, what is written down, and who is told. They take turns: what happens during a write
//! waits behind it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use protocol::link::{Failure, ServiceSpec};
use protocol::wire::Scope;
use serde_json::json;

use super::actor::{About, ServiceActor};
use super::messages::{Deploy, DeployRequest, News, Refused, Teller, Undeploy};
use super::moves::Placement;
use super::record;
use super::state::Event;
use crate::mesh::MeshContext;
use crate::mesh::scope::{Principal, Verb, may};
use crate::metrics::Limit;
use crate::runners::Link;
use crate::store::{NewDeployment, StoreError, UtcMs};

/// How often, and with which pauses, the store is asked whether a deployment is there after all.
const READ_BACK: u32 = 5;
const READ_BACK_PAUSE: Duration = Duration::from_millis(500);

/// A deployment that is about to be written down.
pub(super) struct Beginning {
    pub(super) request: DeployRequest,
    pub(super) teller: Teller,
    /// The service is the requester's from now on, and shared as the request says.
    pub(super) takes_over: bool,
}

impl Handler<Deploy> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, deploy: Deploy, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.may_deploy(&deploy.request.by) {
            return self.refuse(refused, ctx);
        }
        let Deploy { request, teller } = deploy;
        self.begin(Beginning { request, teller, takes_over: true }, ctx)
    }
}

impl Handler<Undeploy> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, undeploy: Undeploy, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.may_manage(&undeploy.by) {
            return self.refuse(refused, ctx);
        }
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let removed = async move { store.remove_service(&mesh, &name).await };
        let done = removed.into_actor(self).map(move |removed, me, ctx| match removed {
            Ok(_) => {
                me.undeployed(undeploy, ctx);
                Ok(())
            }
            Err(error) => Err(Refused::Internal(error.to_string())),
        });
        in_turn(done, ctx)
    }
}

/// Whether a request was taken in. Awaited apart from the actor, since some answers are an actor's last act.
pub(super) type Accepted = ResponseFuture<Result<(), Refused>>;

/// Runs `work` to its end before the next message is taken, and gives its result to the sender.
pub(super) fn in_turn(
    work: impl ActorFuture<ServiceActor, Output = Result<(), Refused>> + 'static,
    ctx: &mut Context<ServiceActor>,
) -> Accepted {
    let (done, result) = tokio::sync::oneshot::channel();
    ctx.wait(work.map(move |value, _, _| {
        // A sender that no longer waits has its answer through the teller.
        let _ = done.send(value);
    }));
    Box::pin(async move {
        let ended = |_| Err(Refused::Internal("the broker's part for this service ended first".to_owned()));
        result.await.unwrap_or_else(ended)
    })
}

impl ServiceActor {
    /// Writes a deployment down and takes it in. Deploys, undeploys and changes of one name take turns: what happens
    /// during the write waits behind it.
    pub(super) fn begin(&mut self, beginning: Beginning, ctx: &mut Context<Self>) -> Accepted {
        let placement = match self.placed(beginning.request.runner.as_deref()) {
            Ok(placement) => placement,
            Err(refused) => return self.refuse(refused, ctx),
        };
        // Of one that is being undeployed nothing is inherited, least of all whom it was shared with.
        let before = self.about.as_ref().filter(|_| !self.state.is_removed()).map(|about| about.scope.clone());
        let scope = beginning.request.scope.clone().or(before).unwrap_or_default();
        let place = record::Place {
            slot: placement.slot,
            runner: placement.on.name(),
            moves: placement.moves,
            takes_over: beginning.takes_over,
        };
        let (row, spec) = match record::row(&self.mesh, &self.cell.name, &beginning.request, &scope, place) {
            Ok(both) => both,
            Err(words) => return self.refuse(Refused::Internal(words), ctx),
        };
        let stored = written(Arc::clone(&self.mesh), row);
        let done = stored.into_actor(self).map(move |stored, me, ctx| match stored {
            Ok(()) => {
                me.deployed(spec, scope, placement, beginning, ctx);
                Ok(())
            }
            Err(error) => {
                me.leave_if_empty(ctx);
                Err(match error {
                    StoreError::Limit { .. } => {
                        me.mesh.metrics.limits.count(Limit::ServicesPerMesh);
                        Refused::Limit(error.to_string())
                    }
                    other => Refused::Internal(other.to_string()),
                })
            }
        });
        in_turn(done, ctx)
    }

    /// What the deployment needs to be known, once the store holds it.
    fn deployed(
        &mut self,
        recorded: ServiceSpec,
        scope: Scope,
        placement: Placement,
        new: Beginning,
        ctx: &mut Context<Self>,
    ) {
        let Beginning { request, teller, takes_over } = new;
        let (shared, by) = (self.about.clone(), request.by.display_name.clone());
        let was_removed = self.state.is_removed();
        if was_removed {
            (self.about, self.served, self.comes_back) = (None, None, None);
        }
        let created_at = self.about.as_ref().map_or_else(UtcMs::now, |about| about.created_at);
        let before = self.about.take().filter(|_| !takes_over);
        self.about = before.or(Some(About {
            scope,
            deployed_by: request.by.member_id,
            deployed_by_name: request.by.display_name,
            description: request.description,
            created_at,
        }));
        let Placement { on, slot, moves } = placement;
        self.came_from = None;
        let goes = if moves {
            Some(on)
        } else {
            (self.link, self.moving) = (Some(on), None);
            None
        };
        for tell in self.undeploys.drain(..) {
            tell(&failed("a later deploy took the name over; what ran before is being stopped"));
        }
        self.interrupt_stops("a later deploy started it again");
        teller(&News::Building(None));
        // What the runner holds is looked at before anything is said about the new one.
        self.look_before_an_order(ctx);
        let id = recorded.deployment.clone();
        self.deploys.entry(id.clone()).or_default().push(teller);
        self.vault_refs.insert(id.clone(), request.vault_refs);
        self.specs.insert(id.clone(), recorded);
        if let Some(to) = goes {
            self.sets_out(id.clone(), to);
        }
        self.happened(Event::Deployed(id, slot), ctx);
        match shared {
            // Everybody was told that that one was undeployed.
            Some(shared) if was_removed => self.tools_gone(&shared),
            Some(shared) => self.announce_gone(&shared, &by),
            None => {}
        }
    }

    fn may_deploy(&self, who: &Principal) -> Result<(), Refused> {
        if self.about.is_some() && self.state.active().is_some() { self.may_manage(who) } else { Ok(()) }
    }

    pub(super) fn may_manage(&self, who: &Principal) -> Result<(), Refused> {
        let not_found = || Refused::NotFound(self.cell.name.clone());
        let about = self.about.as_ref().filter(|_| self.state.active().is_some()).ok_or_else(not_found)?;
        if may(who, Verb::Manage, &about.scope, &about.deployed_by) {
            return Ok(());
        }
        let sees = may(who, Verb::See, &about.scope, &about.deployed_by);
        Err(if sees { Refused::Forbidden } else { not_found() })
    }

    fn undeployed(&mut self, undeploy: Undeploy, ctx: &mut Context<Self>) {
        self.announce("mcp_undeployed", json!({ "name": self.cell.name, "by": undeploy.by.display_name }));
        self.undeploys.push(undeploy.teller);
        self.interrupt_stops("the service was undeployed meanwhile");
        self.happened(Event::Removed, ctx);
        if !self.link.as_deref().is_some_and(Link::is_up) {
            self.leave_behind(ctx);
        }
    }

    /// Ends without its runner: whatever that still holds belongs to nobody and is swept as a stray.
    pub(super) fn leave_behind(&mut self, ctx: &mut Context<Self>) {
        let reason = "forgotten, but its runner is not connected: what still runs there is stopped when it returns";
        self.undeploys.drain(..).for_each(|tell| tell(&failed(reason)));
        self.gone(ctx);
    }

    pub(super) fn refuse(&mut self, refused: Refused, ctx: &mut Context<Self>) -> Accepted {
        self.leave_if_empty(ctx);
        Box::pin(std::future::ready(Err(refused)))
    }

    /// A refused first deploy leaves no service behind.
    fn leave_if_empty(&mut self, ctx: &mut Context<Self>) {
        if self.state.active().is_none() && self.undeploys.is_empty() {
            self.gone(ctx);
        }
    }
}

/// Writes a deployment down. When the store does not say whether it did, it is asked again: what is there is not left to
/// come to light at the next start.
async fn written(mesh: Arc<MeshContext>, row: NewDeployment) -> Result<(), StoreError> {
    let id = row.id.clone();
    let error = match mesh.store.deploy(row, mesh.max_services, UtcMs::now()).await {
        Ok(_) => return Ok(()),
        Err(error @ (StoreError::Limit { .. } | StoreError::NotFound { .. } | StoreError::Taken { .. })) => {
            return Err(error);
        }
        Err(error) => error,
    };
    for _ in 0..READ_BACK {
        match mesh.store.deployment(&mesh.id, &id).await {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => break,
            Err(_) => tokio::time::sleep(READ_BACK_PAUSE).await,
        }
    }
    Err(error)
}

pub(super) fn failed(reason: &str) -> News {
    News::Failed(Failure { reason: reason.to_owned(), log: Vec::new() })
}
