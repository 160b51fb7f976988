//! Takes what happens to one service, asks the state, carries the steps out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use protocol::link::{FailCode, Failure, Outcome as LinkOutcome, ServiceReport, ServiceSpec, ServiceState, Tool};
use protocol::wire::Scope;
use serde_json::json;
use supervision::{ExitReason, Life, Supervised, supervised};

use super::desk::{Counter, Phase};
use super::messages::{Deploy, Ended, Look, News, Outcome, Refused, Teller, Undeploy};
use super::record;
use super::state::{Actual, Event, State, Step, Verdict};
use super::view::{ServiceCell, View};
use crate::mesh::MeshContext;
use crate::mesh::presence::{Announce, Audience};
use crate::mesh::scope::{Principal, Verb, may};
use crate::runners::{CommandReply, Link, NotUp, ServiceKey};
use crate::store::{Document, NewServiceEvent, ServiceWithDeployments, Slot, StoreError, UtcMs};

/// How often waiting calls are looked through for those whose time is up.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Pause before a step is tried again that failed for the system's reasons.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// The life of one deployed service, seen from the broker.
pub struct ServiceActor {
    mesh: Arc<MeshContext>,
    cell: Arc<ServiceCell>,
    life: Life,
    key: ServiceKey,
    state: State,
    specs: HashMap<String, ServiceSpec>,
    tools: HashMap<String, Arc<[Tool]>>,
    reports: HashMap<String, ServiceReport>,
    about: Option<About>,
    link: Option<Link>,
    deploys: HashMap<String, Vec<Teller>>,
    undeploys: Vec<Teller>,
    shown: Option<(ServiceState, String)>,
    open_for: Option<(String, usize)>,
}

/// What the service row says besides its deployments.
#[derive(Clone)]
struct About {
    scope: Scope,
    deployed_by: String,
    deployed_by_name: String,
    description: String,
    created_at: UtcMs,
}

supervised!(ServiceActor);

impl Supervised for ServiceActor {}

impl ServiceActor {
    pub(super) fn new(mesh: Arc<MeshContext>, cell: Arc<ServiceCell>, life: Life) -> Self {
        let key = ServiceKey::new(mesh.slug.clone(), cell.name.clone());
        Self {
            mesh,
            cell,
            life,
            key,
            state: State::default(),
            specs: HashMap::new(),
            tools: HashMap::new(),
            reports: HashMap::new(),
            about: None,
            link: None,
            deploys: HashMap::new(),
            undeploys: Vec::new(),
            shown: None,
            open_for: None,
        }
    }

    /// Takes the rows in, as the store has them after a start or a restart of this actor.
    fn recall(&mut self, stored: ServiceWithDeployments, deployer: String) -> Result<(), String> {
        let row = &stored.service;
        self.about = Some(About {
            scope: row.scope.read().map_err(|error| error.to_string())?,
            deployed_by: row.deployed_by.to_string(),
            deployed_by_name: deployer,
            description: row.description.clone(),
            created_at: row.created_at,
        });
        self.link = row.runner.as_deref().and_then(|name| self.mesh.runners.get(name)).cloned();
        for deployment in [&stored.active, &stored.pending].into_iter().flatten() {
            let recorded = record::open(&self.mesh, deployment)?;
            self.tools.insert(recorded.spec.deployment.clone(), recorded.tools.into());
            self.specs.insert(recorded.spec.deployment.clone(), recorded.spec);
        }
        let id = |deployment: &Option<crate::store::Deployment>| deployment.as_ref().map(|row| row.id.to_string());
        let over = [&stored.active, &stored.pending].into_iter().flatten().filter_map(record::ended).collect();
        self.state = State::stored(id(&stored.active), id(&stored.pending), over);
        Ok(())
    }

    /// One look at the board: level-triggered, so a look too many does no harm.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let event = match &self.link {
            Some(link) if link.is_up() => {
                let reports = link.reports(&self.key);
                let seen = reports.iter().map(|report| (report.deployment.clone(), Actual::from(report))).collect();
                self.take_facts(reports);
                Event::Seen(seen)
            }
            _ => Event::OutOfSight,
        };
        self.happened(event, ctx);
    }

    fn take_facts(&mut self, reports: Vec<ServiceReport>) {
        self.reports.clear();
        for report in reports {
            if let Some(tools) = &report.tools {
                self.tools.insert(report.deployment.clone(), tools.clone().into());
            }
            if let (Some(version), Some(spec)) = (&report.version, self.specs.get_mut(&report.deployment)) {
                spec.version = Some(version.clone());
            }
            if report.state == ServiceState::Building
                && let Some(tellers) = self.deploys.get(&report.deployment)
            {
                let news = News::Building(report.progress.clone());
                tellers.iter().for_each(|tell| tell(&news));
            }
            self.reports.insert(report.deployment.clone(), report);
        }
    }

    /// Every change goes through here: judge, show, and do the next thing.
    fn happened(&mut self, event: Event, ctx: &mut Context<Self>) {
        for (deployment, verdict) in self.state.on(event) {
            self.judged(&deployment, verdict, ctx);
        }
        self.show(ctx);
        if let Some(step) = self.state.next_step() {
            self.carry_out(step, ctx);
        }
    }

    fn judged(&mut self, deployment: &str, verdict: Verdict, ctx: &mut Context<Self>) {
        let news = match verdict {
            Verdict::Running => {
                let tools = self.tools.get(deployment).cloned().unwrap_or_default();
                self.record_ready(deployment, &tools, ctx);
                self.announce(
                    "mcp_deployed",
                    json!({
                        "name": self.cell.name,
                        "description": self.about.as_ref().map(|about| about.description.clone()),
                        "tool_count": tools.len(),
                        "deployed_by": self.about.as_ref().map(|about| about.deployed_by_name.clone()),
                        "scope": self.about.as_ref().map(|about| about.scope.clone()),
                        "tools": *tools,
                    }),
                );
                News::Running(tools)
            }
            Verdict::Failed(failure) => {
                self.forget_pending(ctx);
                News::Failed(failure)
            }
        };
        for tell in self.deploys.remove(deployment).unwrap_or_default() {
            tell(&news);
        }
    }

    fn carry_out(&mut self, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Load(id) => self.load(id, ctx),
            Step::Unload(id) => self.unload(id, ctx),
            Step::Commit(id) => self.commit(id, ctx),
            Step::Gone => self.gone(ctx),
        }
    }

    fn load(&mut self, id: String, ctx: &mut Context<Self>) {
        let (Some(link), Some(spec)) = (self.link.clone(), self.specs.get(&id).cloned()) else {
            let words = "nothing is known of this deployment any more".to_owned();
            return self.happened(Event::Refused(Step::Load(id), words), ctx);
        };
        let step = Step::Load(id);
        self.run(ctx, async move { outcome(step, link.load(spec).await) });
    }

    fn unload(&mut self, id: String, ctx: &mut Context<Self>) {
        let Some(link) = self.link.clone() else {
            return;
        };
        let (key, step) = (self.key.clone(), Step::Unload(id.clone()));
        self.run(ctx, async move { outcome(step, link.unload(&key, &id).await) });
    }

    fn commit(&mut self, id: String, ctx: &mut Context<Self>) {
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        self.run(ctx, async move {
            let Ok(deployment) = id.parse() else { return Outcome::Refused(Step::Commit(id), "no id".to_owned()) };
            match store.set_active(&mesh, &name, &deployment, UtcMs::now()).await {
                // Something newer is pending by now; this one is not wanted any more.
                Ok(_) | Err(StoreError::Superseded { .. }) => Outcome::Done(Step::Commit(id)),
                Err(error) => {
                    tracing::error!(service = name, %error, "the switch to a new deployment could not be stored");
                    Outcome::Again(Step::Commit(id), TRY_AGAIN)
                }
            }
        });
    }

    fn gone(&mut self, ctx: &mut Context<Self>) {
        for tell in self.undeploys.drain(..) {
            tell(&News::Stopped);
        }
        self.mesh.services.forget(&self.cell);
        self.life.exit(ExitReason::Normal);
        ctx.stop();
    }

    /// Carries a step out beside the mailbox and takes its end in.
    fn run(&self, ctx: &mut Context<Self>, work: impl Future<Output = Outcome> + 'static) {
        let me = ctx.address().downgrade();
        ctx.spawn(
            async move {
                let event = match work.await {
                    Outcome::Done(step) => Event::Done(step),
                    Outcome::Refused(step, words) => Event::Refused(step, words),
                    Outcome::Again(step, pause) => {
                        tokio::time::sleep(pause).await;
                        Event::Lost(step)
                    }
                };
                if let Some(me) = me.upgrade() {
                    // To ourselves and at most one at a time: within any bound.
                    me.do_send(Ended(event));
                }
            }
            .into_actor(self),
        );
    }

    // --- what others see ---

    fn show(&mut self, ctx: &mut Context<Self>) {
        let (state, cause) = self.state.shown();
        self.life.condition(Some(state.as_str()));
        self.show_facts();
        let before = self.shown.replace((state, cause.clone()));
        let before = before.map(|(state, _)| state);
        if before != Some(state) {
            self.changed(before, state, &cause);
            self.record_end(before, state, ctx);
        }
        self.cell.show(self.view(state, cause));
        self.set_desk(state);
    }

    fn show_facts(&self) {
        let Some(active) = self.state.active() else {
            return;
        };
        self.life.fact("deployment", active);
        if let Some(report) = self.reports.get(active) {
            self.life.fact("service_restarts", report.restarts_total);
            self.life.fact("in_flight", report.in_flight);
            self.life.fact("waiting", report.waiting);
        }
        if let Some(version) = self.specs.get(active).and_then(|spec| spec.version.clone()) {
            self.life.fact("version", version);
        }
        if let Some(failure) = self.state.failure() {
            self.life.fact("reason", failure.reason.clone());
        } else {
            self.life.clear_fact("reason");
        }
        match self.state.pending() {
            Some(pending) => self.life.fact("pending", pending),
            None => self.life.clear_fact("pending"),
        }
        self.life.fact("runner", self.link.as_ref().map(Link::name));
    }

    /// A transition: kept in the store, and told to those whom it concerns.
    fn changed(&self, from: Option<ServiceState>, to: ServiceState, cause: &str) {
        tracing::info!(mesh = self.mesh.slug, service = self.cell.name, from = from.map(tracing::field::display),
            %to, cause, "service");
        self.mesh.journal.write(NewServiceEvent {
            mesh_id: self.mesh.id.clone(),
            service: self.cell.name.clone(),
            deployment: self.state.active().and_then(|id| id.parse().ok()),
            from_state: from.map(|state| state.as_str().to_owned()),
            to_state: to.as_str().to_owned(),
            cause: cause.to_owned(),
            at: UtcMs::now(),
        });
        // What was crashed before this broker looked was told by the one that saw it happen.
        if to == ServiceState::Crashed && from.is_some_and(|from| from != ServiceState::Unreachable) {
            let restarts = self.state.active().and_then(|id| self.reports.get(id)).map(|report| report.restarts_total);
            let error = self.state.failure().map_or(cause, |failure| failure.reason.as_str());
            self.announce("mcp_crashed", json!({ "name": self.cell.name, "error": error, "restarts": restarts }));
        }
    }

    fn announce(&self, event: &'static str, data: serde_json::Value) {
        if let Some(about) = &self.about {
            let audience = Audience { scope: about.scope.clone(), deployed_by: about.deployed_by.clone() };
            // Presence events are never durable: a mesh actor that is down or full misses this one.
            let _ = self.mesh.presence.tell(Announce { event, data, audience: Some(audience) });
        }
    }

    fn view(&self, state: ServiceState, cause: String) -> Option<View> {
        let about = self.about.as_ref()?;
        let active = self.state.active()?;
        let spec = self.specs.get(active)?;
        Some(View {
            state,
            cause,
            scope: about.scope.clone(),
            deployed_by: about.deployed_by.clone(),
            deployed_by_name: about.deployed_by_name.clone(),
            description: about.description.clone(),
            source_type: spec.source.kind(),
            version: spec.version.clone(),
            tools: self.tools.get(active).cloned().unwrap_or_default(),
            created_at: about.created_at,
            deployment: Some(active.to_owned()),
            runner: self.link.as_ref().map(|link| link.name().to_owned()),
        })
    }

    fn set_desk(&mut self, state: ServiceState) {
        use ServiceState as S;
        let name = &self.cell.name;
        match state {
            S::Building | S::Starting | S::Running | S::Restarting => return self.open_desk(),
            S::Queued | S::Unreachable => self.cell.desk.set(Phase::Waiting),
            S::Failed | S::Crashed | S::Stopped => {
                let why = self.state.failure().map_or_else(String::new, |failure| format!(": {}", failure.reason));
                let words = format!("service \"{name}\" is {state}{why}");
                self.cell.desk.set(Phase::Closed(FailCode::NotRunning, words));
            }
            S::Draining => {
                let words = Refused::NotFound(name.clone()).to_string();
                self.cell.desk.set(Phase::Closed(FailCode::NotFound, words));
            }
        }
        self.open_for = None;
    }

    fn open_desk(&mut self) {
        let (Some(active), Some(link)) = (self.state.active(), &self.link) else {
            return;
        };
        let Some(spec) = self.specs.get(active) else {
            return;
        };
        let tools = self.tools.get(active).cloned().unwrap_or_default();
        let open_for = (active.to_owned(), tools.len());
        if self.open_for.as_ref() == Some(&open_for) {
            return;
        }
        self.cell.desk.set(Phase::Open(Arc::new(Counter {
            link: link.clone(),
            mesh: self.mesh.slug.clone(),
            service: self.cell.name.clone(),
            deployment: active.to_owned(),
            call_timeout: Duration::from_millis(spec.policy.call_timeout_ms),
            retry: spec.policy.retry,
            repeatable: Counter::repeatable(&tools),
        })));
        self.open_for = Some(open_for);
    }

    // --- what is written down ---

    fn record_ready(&self, deployment: &str, tools: &Arc<[Tool]>, ctx: &mut Context<Self>) {
        let (Ok(id), Ok(tools)) = (deployment.parse(), Document::of(&**tools)) else {
            return;
        };
        let version = self.specs.get(deployment).and_then(|spec| spec.version.clone());
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let written = async move {
            if let Err(error) = store.record_ready(&mesh, &id, version, tools).await {
                tracing::error!(service = name, %error, "a ready deployment could not be recorded");
            }
        };
        ctx.spawn(written.into_actor(self));
    }

    /// Keeps how the active deployment ended, and takes it back when it runs again after all.
    fn record_end(&self, from: Option<ServiceState>, to: ServiceState, ctx: &mut Context<Self>) {
        let began_again = from.is_some_and(|from| from.is_final()) && to == ServiceState::Running;
        let Some(active) = self.state.active().filter(|_| to.is_final() || began_again) else { return };
        let ended = self.state.over(active).and_then(|over| record::end(over).ok());
        let Ok(id) = active.parse() else { return };
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let written = async move {
            if let Err(error) = store.record_end(&mesh, &id, ended).await {
                tracing::error!(service = name, %error, "the end of a deployment could not be recorded");
            }
        };
        ctx.spawn(written.into_actor(self));
    }

    fn forget_pending(&self, ctx: &mut Context<Self>) {
        if self.state.pending().is_some() || self.state.active().is_none() {
            return;
        }
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let written = async move {
            if let Err(error) = store.set_pending(&mesh, &name, None, UtcMs::now()).await {
                tracing::error!(service = name, %error, "a failed deployment could not be taken back");
            }
        };
        ctx.spawn(written.into_actor(self));
    }

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
        teller(&News::Building(None));
        let id = recorded.deployment.clone();
        self.deploys.entry(id.clone()).or_default().push(teller);
        self.specs.insert(id.clone(), recorded);
        // What the runner holds is looked at before anything is said about the new one.
        self.look(ctx);
        self.happened(Event::Deployed(id), ctx);
    }
}

/// Reads the end of a link command.
fn outcome(step: Step, reply: Result<CommandReply, NotUp>) -> Outcome {
    match reply {
        Ok(CommandReply::Done(LinkOutcome::Ok)) => Outcome::Done(step),
        Ok(CommandReply::Done(LinkOutcome::Error { message, .. })) => Outcome::Refused(step, message),
        Ok(CommandReply::Done(LinkOutcome::Fenced { epoch })) => {
            tracing::error!(epoch, "a newer broker commands this runner: this one is out of date");
            Outcome::Again(step, TRY_AGAIN)
        }
        Ok(CommandReply::Logs(_) | CommandReply::LinkLost) | Err(NotUp::Down | NotUp::Full) => {
            Outcome::Again(step, TRY_AGAIN)
        }
    }
}

impl Actor for ServiceActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mesh = Arc::clone(&self.mesh);
        let name = self.cell.name.clone();
        let recalled = async move {
            let stored = mesh.store.service_with_deployments(&mesh.id, &name).await?;
            let Some(stored) = stored else {
                return Ok(None);
            };
            let deployer = mesh.store.member_by_id(&mesh.id, &stored.service.deployed_by).await?;
            let name = deployer.map_or_else(String::new, |member| member.display_name);
            Ok::<_, StoreError>(Some((stored, name)))
        };
        ctx.wait(recalled.into_actor(self).map(|recalled, me, ctx| {
            let taken = match recalled {
                Ok(Some((stored, deployer))) => me.recall(stored, deployer),
                Ok(None) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = taken {
                me.life.exit(ExitReason::Error(reason));
                return ctx.stop();
            }
            me.life.ready();
            me.look(ctx);
        }));
        ctx.run_interval(SWEEP_EVERY, |me, _| me.cell.desk.sweep(Instant::now()));
    }
}

impl Handler<Look> for ServiceActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<Ended> for ServiceActor {
    type Result = ();

    fn handle(&mut self, Ended(event): Ended, ctx: &mut Self::Context) {
        self.happened(event, ctx);
        if ctx.state() == ActorState::Running {
            self.look(ctx);
        }
    }
}

impl Handler<Deploy> for ServiceActor {
    type Result = ResponseActFuture<Self, Result<(), Refused>>;

    fn handle(&mut self, deploy: Deploy, ctx: &mut Self::Context) -> Self::Result {
        let link = match self.may_deploy(&deploy) {
            Ok(link) => link,
            Err(refused) => return Box::pin(actix::fut::err(refused)),
        };
        let slot = if self.state.keeps_active() { Slot::Pending } else { Slot::Active };
        let scope = deploy.request.scope.clone().or_else(|| self.about.as_ref().map(|about| about.scope.clone()));
        let scope = scope.unwrap_or_default();
        let (row, spec) = match record::row(&self.mesh, &self.cell.name, &deploy.request, &scope, slot, link.name()) {
            Ok(both) => both,
            Err(words) => return Box::pin(actix::fut::err(Refused::Internal(words))),
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
                    StoreError::Limit { .. } => Refused::Limit(error.to_string()),
                    other => Refused::Internal(other.to_string()),
                })
            }
        });
        in_turn(done, ctx)
    }
}

impl Handler<Undeploy> for ServiceActor {
    type Result = ResponseActFuture<Self, Result<(), Refused>>;

    fn handle(&mut self, undeploy: Undeploy, ctx: &mut Self::Context) -> Self::Result {
        if let Err(refused) = self.may_manage(&undeploy.by) {
            return Box::pin(actix::fut::err(refused));
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

/// Runs `work` to its end before the next message is taken, and gives its result to the sender.
fn in_turn<T: 'static>(
    work: impl ActorFuture<ServiceActor, Output = T> + 'static,
    ctx: &mut Context<ServiceActor>,
) -> ResponseActFuture<ServiceActor, T> {
    let (done, result) = tokio::sync::oneshot::channel();
    ctx.wait(work.map(move |value, _, _| {
        // A sender that no longer waits has its answer through the teller.
        let _ = done.send(value);
    }));
    let result = async move {
        match result.await {
            Ok(value) => value,
            // The actor ended first; whoever waits is told by the closed channel of its own request.
            Err(_) => std::future::pending().await,
        }
    };
    Box::pin(actix::fut::wrap_future(result))
}

impl ServiceActor {
    fn may_deploy(&self, deploy: &Deploy) -> Result<Link, Refused> {
        if self.about.is_some() && self.state.active().is_some() {
            self.may_manage(&deploy.request.by)?;
        }
        // A service stays with its runner: two must never run it.
        let placed = self.link.as_ref().filter(|_| self.state.active().is_some());
        placed.or_else(|| self.mesh.runners.place()).cloned().ok_or(Refused::NoRunner)
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
        let out_of_sight = !self.link.as_ref().is_some_and(Link::is_up);
        if out_of_sight {
            let reason = "forgotten, but its runner is not connected: what still runs there is stopped when it returns";
            (undeploy.teller)(&News::Failed(Failure { reason: reason.to_owned(), log: Vec::new() }));
        } else {
            self.undeploys.push(undeploy.teller);
        }
        self.happened(Event::Removed, ctx);
        if out_of_sight {
            // Whatever the runner still holds then belongs to nobody and is swept as a stray.
            self.gone(ctx);
        }
    }

    /// A refused first deploy leaves no service behind.
    fn leave_if_empty(&mut self, ctx: &mut Context<Self>) {
        if self.state.active().is_none() && self.undeploys.is_empty() {
            self.gone(ctx);
        }
    }
}
