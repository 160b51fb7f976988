//! Deploys and undeploys: who may, what is written down, and who is told. They take turns: what happens during a write
//! waits behind it.

use actix::prelude::*;
use protocol::link::{Failure, ServiceSpec};
use protocol::wire::Scope;
use serde_json::json;

use super::actor::{About, ServiceActor};
use super::messages::{Deploy, News, Refused, Undeploy};
use super::record;
use super::state::Event;
use crate::mesh::scope::{Principal, Verb, may};
use crate::metrics::Limit;
use crate::runners::Link;
use crate::store::{Slot, StoreError, UtcMs};

impl Handler<Deploy> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, deploy: Deploy, ctx: &mut Self::Context) -> Self::Result {
        let link = match self.may_deploy(&deploy) {
            Ok(link) => link,
            Err(refused) => return self.refuse(refused, ctx),
        };
        let slot = if self.state.keeps_active() { Slot::Pending } else { Slot::Active };
        let scope = deploy.request.scope.clone().or_else(|| self.about.as_ref().map(|about| about.scope.clone()));
        let scope = scope.unwrap_or_default();
        let (row, spec) = match record::row(&self.mesh, &self.cell.name, &deploy.request, &scope, slot, link.name()) {
            Ok(both) => both,
            Err(words) => return self.refuse(Refused::Internal(words), ctx),
        };
        let (store, limit) = (self.mesh.store.clone(), self.mesh.max_services);
        let stored = async move { store.deploy(row, limit, UtcMs::now()).await };
        // Deploys and undeploys of one name take turns: what happens during the write waits behind it.
        let done = stored.into_actor(self).map(move |stored, me, ctx| match stored {
            Ok(_) => {
                me.deployed(spec, scope, link, deploy, ctx);
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
type Accepted = ResponseFuture<Result<(), Refused>>;

/// Runs `work` to its end before the next message is taken, and gives its result to the sender.
fn in_turn(
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
    /// What the deployment needs to be known, once the store holds it.
    fn deployed(&mut self, recorded: ServiceSpec, scope: Scope, link: Link, deploy: Deploy, ctx: &mut Context<Self>) {
        let Deploy { request, teller } = deploy;
        let created_at = self.about.as_ref().map_or_else(UtcMs::now, |about| about.created_at);
        self.about = Some(About {
            scope,
            deployed_by: request.by.member_id,
            deployed_by_name: request.by.display_name,
            description: request.description,
            created_at,
        });
        self.link = Some(link);
        for tell in self.undeploys.drain(..) {
            tell(&failed("a later deploy took the name over; what ran before is being stopped"));
        }
        teller(&News::Building(None));
        // What the runner holds is looked at before anything is said about the new one.
        self.look(ctx);
        let id = recorded.deployment.clone();
        self.deploys.entry(id.clone()).or_default().push(teller);
        self.specs.insert(id.clone(), recorded);
        self.happened(Event::Deployed(id), ctx);
    }

    fn may_deploy(&self, deploy: &Deploy) -> Result<Link, Refused> {
        if self.about.is_some() && self.state.active().is_some() {
            self.may_manage(&deploy.request.by)?;
        }
        // A service stays with its runner, also while that still stops it: two must never run it.
        self.link.as_ref().or_else(|| self.mesh.runners.place()).cloned().ok_or(Refused::NoRunner)
    }

    fn may_manage(&self, who: &Principal) -> Result<(), Refused> {
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
        self.happened(Event::Removed, ctx);
        if !self.link.as_ref().is_some_and(Link::is_up) {
            self.leave_behind(ctx);
        }
    }

    /// Ends without its runner: whatever that still holds belongs to nobody and is swept as a stray.
    pub(super) fn leave_behind(&mut self, ctx: &mut Context<Self>) {
        let reason = "forgotten, but its runner is not connected: what still runs there is stopped when it returns";
        self.undeploys.drain(..).for_each(|tell| tell(&failed(reason)));
        self.gone(ctx);
    }

    fn refuse(&mut self, refused: Refused, ctx: &mut Context<Self>) -> Accepted {
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

fn failed(reason: &str) -> News {
    News::Failed(Failure { reason: reason.to_owned(), log: Vec::new() })
}
