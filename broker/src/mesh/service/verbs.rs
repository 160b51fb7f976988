//! What a person does with a service that is there: update, rollback, restart, stop, start.
//!
//! A rollback brings the earlier deployment itself back, under its own id: what it was sealed for, its exact version and
//! its tools are those it had, and going back again goes further back.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use protocol::link::{Failure, Source};
use protocol::sealed::SealedConfig;

use super::actor::ServiceActor;
use super::messages::{Change, DeployRequest, Manage, News, Refused, Share, Teller};
use super::orders::{Accepted, Beginning, failed, in_turn};
use super::record::{self, Recorded};
use super::state::Event;
use crate::mesh::MeshContext;
use crate::mesh::scope::Principal;
use crate::runners::{Link, Placed};
use crate::store::{Comeback, Deployment, Desired, Document, StoreError, StoredTrial, UtcMs};

/// How long a deployment that replaced another one is on trial, from when it was ready.
const TRIAL: Duration = Duration::from_secs(30);

impl Handler<Manage> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, Manage { by, change, teller }: Manage, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.may_manage(&by) {
            return self.refuse(refused, ctx);
        }
        match change {
            Change::Update(sealed) => self.update(by, sealed, teller, ctx),
            Change::Rollback(to) => self.roll_back(to, teller, ctx),
            Change::Restart => self.set_desired(Desired::Running, true, teller, ctx),
            Change::Start => self.set_desired(Desired::Running, false, teller, ctx),
            Change::Stop => self.set_desired(Desired::Stopped, false, teller, ctx),
        }
    }
}

impl Handler<Share> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, Share { by, scope }: Share, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.may_manage(&by) {
            return self.refuse(refused, ctx);
        }
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let document = match Document::of(&scope) {
            Ok(document) => document,
            Err(error) => return self.refuse(Refused::Internal(error.to_string()), ctx),
        };
        let written = async move { store.set_scope(&mesh, &name, document, UtcMs::now()).await };
        let done = written.into_actor(self).map(move |written, me, ctx| {
            written.map_err(internal)?;
            let Some(about) = &mut me.about else { return Ok(()) };
            let before = about.clone();
            about.scope = scope;
            // Nobody is told of what is not the case yet.
            me.show(ctx);
            if me.about.as_ref().is_some_and(|about| about.scope != before.scope) {
                me.announce_scope(&before, &by.display_name);
            }
            Ok(())
        });
        in_turn(done, ctx)
    }
}

impl ServiceActor {
    /// The same once more, of which the exact version is to be found out again; with other secrets it stays that version.
    fn update(
        &mut self,
        by: Principal,
        sealed: Option<Box<SealedConfig>>,
        teller: Teller,
        ctx: &mut Context<Self>,
    ) -> Accepted {
        let newest = self.state.pending().or(self.state.active());
        let Some(spec) = newest.and_then(|id| self.specs.get(id)) else {
            return self.refuse(Refused::NotFound(self.cell.name.clone()), ctx);
        };
        let description = self.about.as_ref().map(|about| about.description.clone()).unwrap_or_default();
        let request = DeployRequest {
            by,
            source: spec.source.clone(),
            // A file does not change: what is to be another one is deployed.
            version: spec.version.clone().filter(|_| sealed.is_some() || matches!(spec.source, Source::Zip { .. })),
            args: spec.args.clone(),
            env: spec.env.clone(),
            sealed: sealed.or_else(|| spec.sealed.clone()),
            vault_refs: self.vault_refs.get(&spec.deployment).cloned().unwrap_or_default(),
            runtime: spec.runtime,
            limits: spec.limits,
            policy: spec.policy,
            scope: None,
            description,
            runner: None,
        };
        self.begin(Beginning { request, teller, takes_over: false }, ctx)
    }

    fn roll_back(&mut self, to: Option<String>, teller: Teller, ctx: &mut Context<Self>) -> Accepted {
        let (mesh, name) = (Arc::clone(&self.mesh), self.cell.name.clone());
        let active = self.state.active().map(str::to_owned).unwrap_or_default();
        // What rests is written down as ended: it does not run for the time until the earlier one does, nor if that fails.
        let rested = self.state.rest_as_end().and_then(|rest| record::end(&rest).ok());
        let found = async move {
            let kept = mesh.store.deployments(&mesh.id, &name).await.map_err(internal)?;
            let chosen = chosen(&kept, &active, to.as_deref()).map_err(Refused::Cannot)?;
            point_back(&mesh, &name, chosen, None, rested).await.map_err(Refused::Internal)
        };
        let done = found.into_actor(self).map(|found, me, ctx| {
            teller(&News::Building(None));
            me.returns(found?, None, Some(teller), ctx);
            Ok(())
        });
        in_turn(done, ctx)
    }

    /// An earlier deployment is pending in the store.
    fn returns(&mut self, recorded: Recorded, to: Option<Placed>, teller: Option<Teller>, ctx: &mut Context<Self>) {
        self.interrupt_stops("a rollback started it again");
        self.look_before_an_order(ctx);
        let id = recorded.spec.deployment.clone();
        self.deploys.entry(id.clone()).or_default().extend(teller);
        self.tools.insert(id.clone(), recorded.tools.into());
        self.vault_refs.insert(id.clone(), recorded.vault_refs);
        self.specs.insert(id.clone(), recorded.spec);
        self.moving = None;
        if let Some(to) = to {
            self.sets_out(id.clone(), to);
        }
        self.happened(Event::Returned(id), ctx);
    }

    fn set_desired(&mut self, desired: Desired, anew: bool, teller: Teller, ctx: &mut Context<Self>) -> Accepted {
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let written = async move { store.set_desired(&mesh, &name, desired, UtcMs::now()).await };
        let done = written.into_actor(self).map(move |written, me, ctx| {
            written.map_err(internal)?;
            me.look_before_an_order(ctx);
            match desired {
                Desired::Running => me.runs_again(anew, teller, ctx),
                Desired::Stopped => me.rests(teller, ctx),
            }
            Ok(())
        });
        in_turn(done, ctx)
    }

    fn runs_again(&mut self, anew: bool, teller: Teller, ctx: &mut Context<Self>) {
        self.interrupt_stops("it was started again meanwhile");
        if let Some(active) = self.state.active() {
            teller(&News::Building(None));
            self.deploys.entry(active.to_owned()).or_default().push(teller);
        }
        self.happened(Event::Started { anew }, ctx);
    }

    fn rests(&mut self, teller: Teller, ctx: &mut Context<Self>) {
        self.stops.push(teller);
        self.happened(Event::Stopped, ctx);
        if !self.link.as_deref().is_some_and(Link::is_up) {
            self.interrupt_stops(
                "it is to rest, but its runner is not connected: what still runs there stops when it returns",
            );
        }
    }

    pub(super) fn interrupt_stops(&mut self, reason: &str) {
        self.stops.drain(..).for_each(|tell| tell(&failed(reason)));
    }

    /// What replaced another one has so long to show that it lives.
    pub(super) fn try_out(&self, deployment: &str, ctx: &mut Context<Self>) {
        if self.state.on_trial() == Some(deployment) {
            let id = deployment.to_owned();
            ctx.run_later(TRIAL, move |me, ctx| me.happened(Event::Stable(id), ctx));
        }
    }

    /// The trial that the pending deployment has ahead of it when it becomes the active one.
    pub(super) fn trial_from(&self, now: UtcMs) -> Option<StoredTrial> {
        let before = self.state.before_switch()?.parse().ok()?;
        Some(StoredTrial { before, ends_at: now.plus_ms(i64::try_from(TRIAL.as_millis()).unwrap_or(i64::MAX)) })
    }

    /// Goes on with a trial that an earlier broker began, for what is left of it.
    pub(super) fn resume_trial(&self, ends_at: Option<UtcMs>, ctx: &mut Context<Self>) {
        if let (Some(id), Some(ends_at)) = (self.state.on_trial().map(str::to_owned), ends_at) {
            let left = u64::try_from(ends_at.as_ms().saturating_sub(UtcMs::now().as_ms())).unwrap_or_default();
            // A clock that was set back does not make it longer.
            let left = Duration::from_millis(left).min(TRIAL);
            ctx.run_later(left, move |me, ctx| me.happened(Event::Stable(id), ctx));
        }
    }

    /// A deployment died on trial: the one before it comes back.
    pub(super) fn died(&mut self, deployment: &str, back: &str, failure: &Failure, ctx: &mut Context<Self>) {
        let cause = format!("died within {TRIAL:?} of ready: the deployment before it comes back: {}", failure.reason);
        self.note(cause);
        if self.ordered {
            // Somebody has said since what is to be.
            return;
        }
        self.comes_back = Some((back.to_owned(), failure.reason.clone()));
        let (mesh, name, back) = (Arc::clone(&self.mesh), self.cell.name.clone(), back.to_owned());
        // Where it ran, if the one that died had taken it elsewhere.
        let to = self.was_on(deployment);
        let runner = to.as_ref().map(|to| to.name().to_owned());
        let found = async move {
            let id = back.parse().map_err(|error| format!("{error}"))?;
            let row = mesh.store.deployment(&mesh.id, &id).await.map_err(|error| error.to_string())?;
            point_back(&mesh, &name, &row.ok_or("it is not kept any more")?, runner, None).await
        };
        ctx.wait(found.into_actor(self).map(|found, me, ctx| match found {
            Ok(recorded) => me.returns(recorded, to, None, ctx),
            Err(error) => tracing::error!(service = me.cell.name, error, "the deployment before cannot come back"),
        }));
    }
}

fn internal(error: StoreError) -> Refused {
    Refused::Internal(error.to_string())
}

/// Makes an earlier deployment the pending one, if it can be read.
async fn point_back(
    mesh: &MeshContext,
    name: &str,
    row: &Deployment,
    moving_to: Option<String>,
    rested: Option<Document>,
) -> Result<Recorded, String> {
    let recorded = record::open(mesh, row)?;
    let back = Comeback { to: row.id.clone(), moving_to, rested };
    let pointed = mesh.store.bring_back(&mesh.id, name, back, UtcMs::now()).await;
    pointed.map(|()| recorded).map_err(|error| error.to_string())
}

/// Which of the kept deployments (the newest first) a rollback is to: the named one, else the last before the active one
/// that was ready once.
fn chosen<'a>(kept: &'a [Deployment], active: &str, to: Option<&str>) -> Result<&'a Deployment, String> {
    match to {
        Some(to) if to == active => Err(format!("the deployment {to} is the active one")),
        Some(to) => kept.iter().find(|row| row.id.as_str() == to).ok_or_else(|| {
            let known: Vec<_> = kept.iter().map(|row| row.id.as_str()).filter(|id| *id != active).collect();
            format!("no deployment `{to}` of this service is kept; those that are: {}", known.join(", "))
        }),
        None => {
            let mut earlier = kept.iter().skip_while(|row| row.id.as_str() != active).skip(1);
            earlier.find(|row| row.ever_ready).ok_or_else(|| "there is no earlier deployment that ever ran".to_owned())
        }
    }
}
