//! Takes what happens to one service and asks the state what follows.
//!
//! Beside this file: `steps` carries out what follows, `shown` is what others see, `orders` are deploys and undeploys.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use protocol::link::{Failure, ServiceReport, ServiceSpec, ServiceState, Tool};
use protocol::wire::Scope;
use supervision::{ExitReason, Life, Supervised, supervised};

use super::messages::{Ended, Look, News, Teller};
use super::moves::Move;
use super::state::{Actual, Event, State, Verdict};
use super::view::ServiceCell;
use super::{record, shown};
use crate::mesh::MeshContext;
use crate::runners::{Link, Placed, ServiceKey};
use crate::store::{Desired, ServiceWithDeployments, StoreError, UtcMs};

/// How often waiting calls are looked through for those whose time is up.
const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// The life of one deployed service, seen from the broker.
pub struct ServiceActor {
    pub(super) mesh: Arc<MeshContext>,
    pub(super) cell: Arc<ServiceCell>,
    pub(super) life: Life,
    pub(super) key: ServiceKey,
    pub(super) state: State,
    pub(super) specs: HashMap<String, ServiceSpec>,
    /// Of those, which variables have which entry of a vault.
    pub(super) vault_refs: HashMap<String, BTreeMap<String, String>>,
    pub(super) tools: HashMap<String, Arc<[Tool]>>,
    pub(super) reports: HashMap<String, ServiceReport>,
    pub(super) about: Option<About>,
    /// The runner that it is on.
    pub(super) link: Option<Placed>,
    /// Its pending deployment, where that comes up on another one.
    pub(super) moving: Option<Move>,
    /// The deployment that took it elsewhere, and the runner before.
    pub(super) came_from: Option<(String, String)>,
    pub(super) deploys: HashMap<String, Vec<Teller>>,
    pub(super) undeploys: Vec<Teller>,
    /// Those who wait for it to rest.
    pub(super) stops: Vec<Teller>,
    /// What was last told of as running.
    pub(super) served: Option<Served>,
    /// The deployment that comes back because another one died on trial, and how that died.
    pub(super) comes_back: Option<(String, String)>,
    /// Somebody's order is being taken in.
    pub(super) ordered: bool,
    /// The active deployment whose end is being written down before it is told.
    pub(super) end_written: Option<String>,
    pub(super) shown: Option<(ServiceState, String)>,
    /// The deployment and the tools that the desk was opened for.
    pub(super) open_for: Option<(String, Arc<[Tool]>)>,
    /// Whether those who use the service have not been told yet that its tools are others.
    pub(super) tools_are_news: bool,
    /// The number of the last step that was begun: the end of an earlier one is no news.
    pub(super) turn: u64,
}

/// A deployment that those who see the service know of.
pub(super) struct Served {
    pub(super) deployment: String,
    pub(super) version: Option<String>,
}

/// What the service row says besides its deployments.
#[derive(Clone)]
pub(super) struct About {
    pub(super) scope: Scope,
    pub(super) deployed_by: String,
    pub(super) deployed_by_name: String,
    pub(super) description: String,
    pub(super) created_at: UtcMs,
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
            vault_refs: HashMap::new(),
            tools: HashMap::new(),
            reports: HashMap::new(),
            about: None,
            link: None,
            moving: None,
            came_from: None,
            deploys: HashMap::new(),
            undeploys: Vec::new(),
            stops: Vec::new(),
            served: None,
            comes_back: None,
            ordered: false,
            end_written: None,
            shown: None,
            open_for: None,
            tools_are_news: false,
            turn: 0,
        }
    }

    /// Takes the rows in, as the store has them after a start or a restart of this actor.
    fn recall(
        &mut self,
        stored: ServiceWithDeployments,
        deployer: String,
        ctx: &mut Context<Self>,
    ) -> Result<(), String> {
        let row = &stored.service;
        self.about = Some(About {
            scope: row.scope.read().map_err(|error| error.to_string())?,
            deployed_by: row.deployed_by.to_string(),
            deployed_by_name: deployer,
            description: row.description.clone(),
            created_at: row.created_at,
        });
        self.link = row.runner.as_deref().and_then(|name| self.mesh.runners.get(name)).map(Link::place);
        for deployment in [&stored.active, &stored.pending].into_iter().flatten() {
            let recorded = record::open(&self.mesh, deployment)?;
            self.tools.insert(recorded.spec.deployment.clone(), recorded.tools.into());
            self.vault_refs.insert(recorded.spec.deployment.clone(), recorded.vault_refs);
            self.specs.insert(recorded.spec.deployment.clone(), recorded.spec);
        }
        let id = |deployment: &Option<crate::store::Deployment>| deployment.as_ref().map(|row| row.id.to_string());
        let over = [&stored.active, &stored.pending].into_iter().flatten().filter_map(record::ended).collect();
        let rests = row.desired == Desired::Stopped;
        let tried = row.trial_ends_at.filter(|ends| *ends > UtcMs::now()).and(row.trial_before.as_ref());
        self.state = State::stored(id(&stored.active), id(&stored.pending), over)
            .resting(rests)
            .tried_against(tried.map(ToString::to_string));
        self.resume_trial(row.trial_ends_at, ctx);
        self.served = stored
            .active
            .as_ref()
            .filter(|active| active.ever_ready)
            .map(|active| Served { deployment: active.id.to_string(), version: active.version.clone() });
        if let (Some(pending), Some(to)) = (id(&stored.pending), &row.moving_to) {
            self.resume_move(pending, to, ctx);
        }
        Ok(())
    }

    /// A look that an order follows: what it brings to light is older than the order, and does not undo it.
    pub(super) fn look_before_an_order(&mut self, ctx: &mut Context<Self>) {
        self.ordered = true;
        self.look(ctx);
        self.ordered = false;
    }

    /// One look at the board: level-triggered, so a look too many does no harm.
    pub(super) fn look(&mut self, ctx: &mut Context<Self>) {
        self.watch_move(ctx);
        let event = match &self.link {
            Some(link) if link.is_up() => {
                let reports = self.reported();
                let seen = reports.iter().map(|report| (report.deployment.clone(), Actual::from(report))).collect();
                self.take_facts(reports, ctx);
                Event::Seen(seen)
            }
            _ => Event::OutOfSight,
        };
        let out_of_sight = matches!(event, Event::OutOfSight);
        self.happened(event, ctx);
        if out_of_sight && !self.undeploys.is_empty() {
            self.leave_behind(ctx);
        }
    }

    fn take_facts(&mut self, reports: Vec<ServiceReport>, ctx: &mut Context<Self>) {
        self.reports.clear();
        for report in reports {
            if let Some(tools) = &report.tools {
                self.take_tools(&report.deployment, tools, ctx);
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

    /// A list that is not the one before is news to those who use the active deployment.
    fn take_tools(&mut self, deployment: &str, list: &[Tool], ctx: &mut Context<Self>) {
        let known = self.tools.get(deployment);
        if known.is_some_and(|known| **known == *list) {
            return;
        }
        let is_news =
            known.is_some() && self.state.active() == Some(deployment) && !self.state.is_unsettled(deployment);
        let list: Arc<[Tool]> = list.into();
        self.tools.insert(deployment.to_owned(), Arc::clone(&list));
        if is_news {
            self.record_ready(deployment, &list, ctx);
            self.tools_are_news = true;
        }
    }

    /// Every change goes through here: judge, show, and do the next thing.
    pub(super) fn happened(&mut self, event: Event, ctx: &mut Context<Self>) {
        for (deployment, verdict) in self.state.on(event) {
            self.judged(&deployment, verdict, ctx);
        }
        self.forget_unwanted();
        // Of the deployments that are wanted: others are forgotten by now.
        self.state.set_exclusive(self.specs.values().any(|spec| spec.policy.exclusive));
        self.show(ctx);
        if std::mem::take(&mut self.tools_are_news) {
            // Now that the catalog has them.
            self.tools_changed();
        }
        if !self.holds_its_breath()
            && let Some(step) = self.state.next_step()
        {
            self.carry_out(step, ctx);
        }
    }

    /// What is neither active nor coming up is not needed again, its secrets least of all.
    fn forget_unwanted(&mut self) {
        let wanted = [self.state.active(), self.state.pending()];
        self.specs.retain(|id, _| wanted.contains(&Some(id)));
        self.vault_refs.retain(|id, _| wanted.contains(&Some(id)));
        self.tools.retain(|id, _| wanted.contains(&Some(id)));
        self.moving.take_if(|moving| self.state.pending() != Some(&moving.deployment));
    }

    fn judged(&mut self, deployment: &str, verdict: Verdict, ctx: &mut Context<Self>) {
        let news = match verdict {
            Verdict::Running => {
                let tools = self.tools.get(deployment).cloned().unwrap_or_default();
                self.record_ready(deployment, &tools, ctx);
                self.announce_running(deployment, &tools);
                self.try_out(deployment, ctx);
                let secrets_seen = self.specs.get(deployment).is_some_and(shown::secrets_seen);
                News::Running { tools, secrets_seen }
            }
            Verdict::Failed(failure) => return self.failed(deployment.to_owned(), failure, ctx),
            Verdict::Stopped => return self.stops.drain(..).for_each(|tell| tell(&News::Stopped)),
            Verdict::Died { back, failure } => return self.died(deployment, &back, &failure, ctx),
        };
        self.tell(deployment, &news);
    }

    /// A failure is written down before it is told: nobody is told of one that a restart would try again. Nothing else
    /// is taken in meanwhile, so that this does not take back a later deploy.
    fn failed(&mut self, deployment: String, failure: Failure, ctx: &mut Context<Self>) {
        let news = News::Failed(failure);
        match self.failure_written(&deployment) {
            None => self.tell(&deployment, &news),
            Some(written) => ctx.wait(written.into_actor(self).map(move |(), me, _| me.tell(&deployment, &news))),
        }
    }

    fn tell(&mut self, deployment: &str, news: &News) {
        for tell in self.deploys.remove(deployment).unwrap_or_default() {
            tell(news);
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
                Ok(Some((stored, deployer))) => me.recall(stored, deployer, ctx),
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
        ctx.run_interval(SWEEP_EVERY, |me, _| {
            me.cell.desk.sweep(Instant::now());
            me.cell.desk.retry();
        });
    }
}

/// Whatever ends this incarnation, whoever waits for an outcome is told that it does not know it any more.
impl Drop for ServiceActor {
    fn drop(&mut self) {
        let reason = "the broker's part for this service ended meanwhile; the catalog says what came of it";
        let news = News::Failed(Failure { reason: reason.to_owned(), log: Vec::new() });
        self.deploys.values().flatten().chain(&self.undeploys).chain(&self.stops).for_each(|tell| tell(&news));
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

    fn handle(&mut self, Ended { turn, event }: Ended, ctx: &mut Self::Context) {
        // A step that was given up with its link may end after the next one began.
        if turn == self.turn {
            self.happened(event, ctx);
        }
        if ctx.state() == ActorState::Running {
            self.look(ctx);
        }
    }
}
