//! On which runner a service is, and how it goes to another.
//!
//! It has one runner of its own. Another one takes it over in three ways, and never while the first may still run it
//! unknown to anybody:
//!
//! - of a deploy that names the other, which is connected, as the first is. The new deployment comes up there beside the
//!   active one, and the switch takes the service along; what the first still holds is stopped. Of an exclusive service the
//!   first has confirmed the stop before the other is given anything;
//! - at once, when the first is connected and holds nothing of it;
//! - when an admin says that the first is forgotten. If it returns, it is told to stop what it holds.

use actix::prelude::*;
use protocol::link::ServiceReport;

use super::actor::ServiceActor;
use super::messages::{Forget, Refused};
use super::orders::{Accepted, in_turn};
use super::state::{Event, Step};
use crate::runners::{Link, Placed};
use crate::store::{NewServiceEvent, Slot, UtcMs};

/// How long a broker that starts waits for the runner that a service was on its way to.
const ARRIVES_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

/// A pending deployment that comes up elsewhere.
pub(super) struct Move {
    pub(super) deployment: String,
    pub(super) to: Placed,
    /// Whether that runner was connected since.
    seen: bool,
}

/// Where a new deployment goes.
pub(super) struct Placement {
    pub(super) on: Placed,
    pub(super) slot: Slot,
    /// The service is on another runner until the switch.
    pub(super) moves: bool,
}

impl ServiceActor {
    /// Which runner gets a new deployment, and in which place. A service that is going stays with its runner until that is
    /// over: two must never run it.
    pub(super) fn placed(&self, wanted: Option<&str>) -> Result<Placement, Refused> {
        let slot = if self.state.keeps_active() { Slot::Pending } else { Slot::Active };
        let Some(own) = &self.link else {
            return self.first_place(wanted).map(|link| Placement { on: link.place(), slot, moves: false });
        };
        // What is on its way goes on, unless it is told otherwise.
        let wanted = wanted.or(self.moving.as_ref().map(|moving| moving.to.name()));
        let Some(wanted) = wanted.filter(|wanted| *wanted != own.name()) else {
            return Ok(Placement { on: own.place(), slot, moves: false });
        };
        let to = self.known(wanted)?;
        let cannot = |words: String| Err(Refused::Cannot(words));
        if self.state.is_removed() || (self.state.is_resting() && !self.state.holds_nothing()) {
            return cannot(format!("its runner {} still stops it: try again in a moment", own.name()));
        }
        if !own.is_up() {
            return cannot(format!(
                "its runner {own} is not connected, and may still run it: it goes to another one when {own} is back, or when \
                 an admin gives it up with `claudemesh runner forget {own}`",
                own = own.name()
            ));
        }
        if !to.is_up() {
            return cannot(format!("the runner {wanted} is not connected"));
        }
        Ok(if self.state.holds_nothing() {
            Placement { on: to.place(), slot: Slot::Active, moves: false }
        } else {
            Placement { on: to.place(), slot: Slot::Pending, moves: true }
        })
    }

    fn first_place(&self, wanted: Option<&str>) -> Result<Link, Refused> {
        match wanted {
            Some(wanted) => self.known(wanted),
            None => self.mesh.runners.place().cloned().ok_or(Refused::NoRunner),
        }
    }

    fn known(&self, name: &str) -> Result<Link, Refused> {
        let known = self.mesh.runners.known(name);
        known.cloned().map_err(|unknown| Refused::Cannot(format!("`runner`: {unknown}")))
    }

    /// A deployment is to come up on this runner rather than on the service's own.
    pub(super) fn sets_out(&mut self, deployment: String, to: Placed) {
        let seen = to.is_up();
        self.moving = Some(Move { deployment, to, seen });
    }

    /// As a broker finds it that was gone meanwhile: its links may not be up yet, or be configured no more.
    pub(super) fn resume_move(&mut self, deployment: String, runner: &str, ctx: &mut Context<Self>) {
        let Some(to) = self.mesh.runners.get(runner).map(Link::place) else {
            let words = format!("{runner}, where it was to come up, is no runner of this broker any more");
            return self.happened(Event::Refused(Step::Load(deployment), words), ctx);
        };
        self.sets_out(deployment.clone(), to);
        ctx.run_later(ARRIVES_WITHIN, move |me, ctx| {
            if me.is_awaited(&deployment) {
                me.give_up_move("the runner where it was to come up did not connect", ctx);
            }
        });
    }

    /// Whether a deployment is to come up on a runner that has not said yet what it holds: it may have it already.
    pub(super) fn is_awaited(&self, deployment: &str) -> bool {
        self.moving.as_ref().is_some_and(|moving| moving.deployment == deployment && !moving.seen)
    }

    /// Where a deployment is, or is to be.
    pub(super) fn link_of(&self, deployment: &str) -> Option<&Link> {
        let moving = self.moving.as_ref().filter(|moving| moving.deployment == deployment);
        moving.map(|moving| &*moving.to).or(self.link.as_deref())
    }

    /// The runner that can stop a deployment: what is not wanted any more may be where the service was before.
    pub(super) fn holder(&self, deployment: &str) -> Option<Link> {
        let own = self.link_of(deployment);
        if self.is_wanted(deployment) {
            return own.cloned();
        }
        let holds = |link: &&Link| link.reports(&self.key).iter().any(|report| report.deployment == deployment);
        own.filter(holds).or_else(|| self.mesh.runners.all().find(holds)).or(own).cloned()
    }

    fn is_wanted(&self, deployment: &str) -> bool {
        [self.state.active(), self.state.pending()].contains(&Some(deployment))
    }

    /// What counts of the runners' reports: of what is wanted, what the runner says that is to have it; of everything else,
    /// what the runners say that the service is on or goes to. An undeployed one is looked for everywhere.
    pub(super) fn reported(&self) -> Vec<ServiceReport> {
        let everywhere = self.state.is_removed();
        let is_on = |link: &Link, own: Option<&Link>| own.is_some_and(|own| own.name() == link.name());
        let to = self.moving.as_ref().map(|moving| &*moving.to);
        let concerns = |link: &&Link| everywhere || is_on(link, self.link.as_deref()) || is_on(link, to);
        let counts = |link: &Link, report: &ServiceReport| {
            !self.is_wanted(&report.deployment) || is_on(link, self.link_of(&report.deployment))
        };
        let of = |link: &Link| {
            let mut reports = link.reports(&self.key);
            reports.retain(|report| counts(link, report));
            reports
        };
        self.mesh.runners.all().filter(|link| link.is_up()).filter(concerns).flat_map(of).collect()
    }

    /// A runner that is lost while a deployment comes up there has not got it.
    pub(super) fn watch_move(&mut self, ctx: &mut Context<Self>) {
        let Some(moving) = &mut self.moving else { return };
        if moving.to.is_up() {
            moving.seen = true;
        } else if moving.seen {
            self.give_up_move("the runner was lost while it came up there", ctx);
        }
    }

    fn give_up_move(&mut self, why: &str, ctx: &mut Context<Self>) {
        if let Some(moving) = self.moving.take() {
            let words = format!("{}: {why}", moving.to.name());
            self.happened(Event::Refused(Step::Load(moving.deployment), words), ctx);
        }
    }

    /// Whether an exclusive service would be down for nothing: where it goes there is nobody yet.
    pub(super) fn holds_its_breath(&self) -> bool {
        self.state.is_exclusive() && self.moving.as_ref().is_some_and(|moving| !moving.to.is_up())
    }

    /// The store has made the switch: the service is where its new deployment came up.
    pub(super) fn arrived(&mut self, deployment: &str) {
        if let Some(moving) = self.moving.take_if(|moving| moving.deployment == deployment) {
            let from = self.link.replace(moving.to);
            self.came_from = from.map(|from| (deployment.to_owned(), from.name().to_owned()));
        }
    }

    /// The runner where a deployment was before this one took the service elsewhere, if it is there.
    pub(super) fn was_on(&self, deployment: &str) -> Option<Placed> {
        let (_, runner) = self.came_from.as_ref().filter(|(of, _)| of == deployment)?;
        self.mesh.runners.get(runner).filter(|link| link.is_up()).map(Link::place)
    }

    /// What other runners hold of a service is nobody's.
    pub(super) fn sweep_others(&self) {
        self.mesh.runners.all().for_each(|link| self.mesh.services.sweep_strays_of(&self.cell.name, link));
    }
}

impl Handler<Forget> for ServiceActor {
    type Result = Accepted;

    fn handle(&mut self, Forget { runner }: Forget, ctx: &mut Self::Context) -> Self::Result {
        if self.moving.as_ref().is_some_and(|moving| moving.to.name() == runner) {
            self.give_up_move("it was forgotten", ctx);
        }
        if self.link.as_ref().is_none_or(|own| own.name() != runner) {
            return Box::pin(std::future::ready(Ok(())));
        }
        let on_its_way = self.moving.as_ref().map(|moving| moving.to.place());
        let other = || self.mesh.runners.place_beside(&runner).map(Link::place);
        let Some(to) = on_its_way.or_else(other) else {
            let words = "no other runner is connected".to_owned();
            return Box::pin(std::future::ready(Err(Refused::Cannot(words))));
        };
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        let new = to.name().to_owned();
        let written = async move { store.set_runner(&mesh, &name, &new, UtcMs::now()).await };
        let done = written.into_actor(self).map(move |written, me, ctx| {
            written.map_err(|error| Refused::Internal(error.to_string()))?;
            me.note(format!("the runner {runner} was forgotten: it goes to {}", to.name()));
            (me.moving, me.came_from) = (None, None);
            me.link = Some(to);
            // Of the new one nothing is known yet.
            me.happened(Event::OutOfSight, ctx);
            me.look(ctx);
            Ok(())
        });
        in_turn(done, ctx)
    }
}

impl ServiceActor {
    /// Writes down what happened to it besides a change of its state.
    pub(super) fn note(&self, cause: String) {
        tracing::warn!(mesh = self.mesh.slug, service = self.cell.name, cause, "service");
        let state = self.state.shown().0.as_str().to_owned();
        self.mesh.journal.write(NewServiceEvent {
            mesh_id: self.mesh.id.clone(),
            service: self.cell.name.clone(),
            deployment: self.state.active().and_then(|id| id.parse().ok()),
            from_state: Some(state.clone()),
            to_state: state,
            cause,
            at: UtcMs::now(),
        });
    }
}
