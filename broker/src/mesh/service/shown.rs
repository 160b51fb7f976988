//! What others see of the service: its node, its view, its desk, and the events that are told and written down.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use protocol::link::{FailCode, ServiceSpec, ServiceState, Tool};
use serde_json::json;

use super::actor::{About, Served, ServiceActor};
use super::desk::{Counter, Phase};
use super::messages::Refused;
use super::record;
use super::view::View;
use crate::mesh::actor::{Announce, Audience, ToolsChanged};
use crate::mesh::scope::guards;
use crate::runners::Link;
use crate::store::{Document, NewServiceEvent, UtcMs};

impl ServiceActor {
    pub(super) fn show(&mut self, ctx: &mut Context<Self>) {
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
            if report.instances.len() > 1 {
                let ready = report.instances.iter().filter(|fact| fact.state == ServiceState::Running.as_str()).count();
                self.life.fact("instances", format!("{ready} of {} ready", report.instances.len()));
            } else {
                self.life.clear_fact("instances");
            }
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
        self.life.fact("runner", self.link.as_deref().map(Link::name));
        match &self.moving {
            Some(moving) => self.life.fact("moving_to", moving.to.name()),
            None => self.life.clear_fact("moving_to"),
        }
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

    /// A deployment runs: news for those who see the service, unless they know it already.
    pub(super) fn announce_running(&mut self, deployment: &str, tools: &Arc<[Tool]>) {
        let version = self.specs.get(deployment).and_then(|spec| spec.version.clone());
        let now = Served { deployment: deployment.to_owned(), version: version.clone() };
        let (before, back) = (self.served.replace(now), self.comes_back.take());
        let known = before.as_ref().and_then(|before| self.tools.get(&before.deployment));
        self.tools_are_news |= known.is_none_or(|known| **known != **tools);
        let Some(about) = &self.about else { return };
        match before {
            Some(before) if before.deployment == deployment => {}
            Some(before) => {
                let because = back.filter(|(id, _)| id == deployment).map(|(_, reason)| reason);
                let data = json!({ "name": self.cell.name, "prev_sha": before.version, "new_sha": version,
                    "tools": **tools, "rolled_back": because });
                self.announce("mcp_updated", data);
            }
            None => {
                let guards = guards(&about.scope, &self.mesh.members.now().lists);
                let data = json!({ "name": self.cell.name, "description": about.description, "guards": guards,
                    "tool_count": tools.len(), "deployed_by": about.deployed_by_name, "scope": about.scope,
                    "tools": **tools });
                self.announce("mcp_deployed", data);
            }
        }
    }

    pub(super) fn announce(&self, event: &'static str, data: serde_json::Value) {
        if let Some(about) = &self.about {
            self.announce_to(event, data, audience(about), None);
        }
    }

    fn announce_to(&self, event: &'static str, data: serde_json::Value, audience: Audience, unless: Option<Audience>) {
        // Presence events are never durable: a mesh actor that is down or full misses this one.
        let _ = self.mesh.presence.tell(Announce { event, data, audience: Some(audience), unless });
    }

    /// The service is shared with others than before. Those who see it are told with whom; for those who saw it, it is
    /// gone, and with whom it is shared now is not theirs to know.
    pub(super) fn announce_scope(&self, before: &About, by: &str) {
        let Some(about) = &self.about else { return };
        let guards = guards(&about.scope, &self.mesh.members.now().lists);
        let data = json!({ "name": self.cell.name, "scope": about.scope, "by": by, "guards": guards });
        self.announce_to("mcp_scope_changed", data, audience(about), None);
        self.tools_changed_to(audience(about), Some(audience(before)));
        self.announce_gone(before, by);
    }

    /// For those who saw the service, and do not as it is shared now, it is gone.
    pub(super) fn announce_gone(&self, before: &About, by: &str) {
        let Some(about) = &self.about else { return };
        let gone = json!({ "name": self.cell.name, "by": by });
        self.announce_to("mcp_undeployed", gone, audience(before), Some(audience(about)));
        self.tools_gone(before);
    }

    /// The same, for whatever offered them its tools.
    pub(super) fn tools_gone(&self, before: &About) {
        if let Some(about) = &self.about {
            self.tools_changed_to(audience(before), Some(audience(about)));
        }
    }

    /// Told to those who may see the service, once the catalog has the new list, or nothing of it any more.
    pub(super) fn tools_changed(&self) {
        if let Some(about) = &self.about {
            self.tools_changed_to(audience(about), None);
        }
    }

    fn tools_changed_to(&self, audience: Audience, unless: Option<Audience>) {
        let service = self.cell.name.clone();
        // As with events: a mesh actor that is down or full misses this one.
        let _ = self.mesh.presence.tell(ToolsChanged { service, audience, unless });
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
            secrets_seen: secrets_seen(spec),
            deployment: Some(active.to_owned()),
            restarts: self.reports.get(active).map(|report| report.restarts_total),
            level: self.reports.get(active).and_then(|report| report.instances.first()?.level.clone()),
            runtime: self.reports.get(active).and_then(|report| report.runtime.clone()),
            instances: self.reports.get(active).map_or(0, |report| report.instances.len()),
            runner: self.link.as_ref().map(|link| link.name().to_owned()),
            moving_to: self.moving.as_ref().map(|moving| moving.to.name().to_owned()),
        })
    }

    fn set_desk(&mut self, state: ServiceState) {
        use ServiceState as S;
        let name = &self.cell.name;
        match state {
            // It goes down and comes up again: calls wait for that here, since the runner would turn them away.
            _ if self.state.begins_again() => self.cell.desk.set(Phase::Waiting),
            S::Building | S::Starting | S::Running | S::Restarting => return self.open_desk(),
            S::Queued | S::Unreachable => self.cell.desk.set(Phase::Waiting),
            S::Failed | S::Crashed | S::Stopped => {
                let why = self.state.failure().map_or_else(String::new, |failure| format!(": {}", failure.reason));
                let words = format!("service \"{name}\" is {state}{why}");
                self.cell.desk.set(Phase::Closed(FailCode::NotRunning, words));
            }
            S::Draining if !self.state.is_removed() => {
                let words = format!("service \"{name}\" is being stopped");
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
        let is_same = |(open, known): &(String, Arc<[Tool]>)| open == active && Arc::ptr_eq(known, &tools);
        if self.open_for.as_ref().is_some_and(is_same) {
            // A link that was away for a moment left calls waiting at an open desk.
            return self.cell.desk.retry();
        }
        self.cell.desk.set(Phase::Open(Arc::new(Counter {
            link: Link::clone(link),
            mesh: self.mesh.slug.clone(),
            service: self.cell.name.clone(),
            deployment: active.to_owned(),
            call_timeout: Duration::from_millis(spec.policy.call_timeout_ms),
            retry: spec.policy.retry,
            repeatable: Counter::repeatable(&tools),
        })));
        self.open_for = Some((active.to_owned(), tools));
    }

    pub(super) fn record_ready(&self, deployment: &str, tools: &Arc<[Tool]>, ctx: &mut Context<Self>) {
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
    fn record_end(&mut self, from: Option<ServiceState>, to: ServiceState, ctx: &mut Context<Self>) {
        let began_again = from.is_some_and(|from| from.is_final()) && to == ServiceState::Running;
        let Some(active) = self.state.active().filter(|_| to.is_final() || began_again) else { return };
        // Of one that somebody waits for it is written before they are told.
        if self.end_written.take().is_some_and(|written| written == active) {
            return;
        }
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

    /// What has to be written about a deployment that failed: of the active one how it ended, of one that came up beside
    /// it that it does no longer. `None` when it is neither any more.
    pub(super) fn failure_written(&mut self, deployment: &str) -> Option<impl Future<Output = ()> + use<>> {
        let is_active = self.state.active()? == deployment;
        if !is_active && self.state.pending().is_some() {
            return None;
        }
        let id = deployment.parse().ok()?;
        self.end_written = is_active.then(|| deployment.to_owned());
        let ended = self.state.over(deployment).and_then(|over| record::end(over).ok());
        let (store, mesh, name) = (self.mesh.store.clone(), self.mesh.id.clone(), self.cell.name.clone());
        Some(async move {
            let written = if is_active {
                store.record_end(&mesh, &id, ended).await
            } else {
                store.drop_pending(&mesh, &name, &id, UtcMs::now()).await
            };
            if let Err(error) = written {
                tracing::error!(service = name, %error, "a failed deployment could not be written down");
            }
        })
    }
}

fn audience(about: &About) -> Audience {
    Audience { scope: about.scope.clone(), deployed_by: about.deployed_by.clone() }
}

/// Whether a deployment's secrets came in clear: then they are known here. What is sealed for a runner is not.
pub(super) fn secrets_seen(spec: &ServiceSpec) -> bool {
    !spec.env.is_empty() || spec.source.has_token()
}
