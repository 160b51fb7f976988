//! Reconciling one service: what is wanted against what its runner reports.
//!
//! Pure and level-triggered. Whenever either side changes, or a link comes up, [`State::next_step`] looks at
//! both and names the one thing to do now; at most one command is under way. So a broker's start, a
//! runner's restart, an undeploy during a deploy and a lost frame are all the same case.
//!
//! ```text
//! deploy ─▶ pending ──running──▶ commit ──▶ active ──▶ the old one is unloaded
//!              └─────failed────▶ dropped (the active one, if any, never noticed)
//! undeploy ─▶ nothing is wanted ──▶ everything is unloaded ──▶ gone
//! stop ─────▶ nothing is wanted ──▶ everything is unloaded ──▶ rests, until start
//! restart ──▶ the active one is unloaded ──▶ and loaded again
//! rollback ─▶ an earlier one is pending, whatever the active one does
//! ```
//!
//! What replaced another one is on trial for a while: when it dies then, the one before it comes back, once.
//!
//! `failed` and `crashed` count as agreement: the runner did what it could, a person decides.
//!
//! Of an exclusive service nothing is loaded while the runner holds another deployment of it: the active one makes way for
//! the pending one, and is loaded again if that fails.

use std::collections::{BTreeMap, BTreeSet};

use protocol::link::{Failure, ServiceReport, ServiceState};

use crate::store::Slot;

/// A deployment's id, as text.
pub type Deployment = String;

/// What the runner says of one deployment.
#[derive(Debug, Clone, PartialEq)]
pub struct Actual {
    /// Where it is in its life.
    pub state: ServiceState,
    /// Why it is there.
    pub cause: String,
    /// Why it ended, when it failed or crashed.
    pub failure: Option<Failure>,
}

impl From<&ServiceReport> for Actual {
    fn from(report: &ServiceReport) -> Self {
        Self { state: report.state, cause: report.cause.clone(), failure: report.failure.clone() }
    }
}

/// The one thing to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Give the runner this deployment.
    Load(Deployment),
    /// Make the runner stop this deployment.
    Unload(Deployment),
    /// The pending deployment runs: make it the active one in the store. This is the switch.
    Commit(Deployment),
    /// Nothing is wanted and nothing is left.
    Gone,
}

/// How a deployment's first life ended, to be told to whoever asked for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It runs, and is the active one.
    Running,
    /// It will not run: the reason and the last log lines.
    Failed(Failure),
    /// It was stopped as asked, and nothing of it is left.
    Stopped,
    /// It died on trial: the one before it is to come back.
    Died {
        /// The one before it.
        back: Deployment,
        /// How it died.
        failure: Failure,
    },
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The store holds a new deployment, in this place.
    Deployed(Deployment, Slot),
    /// The store points at an earlier deployment again, which comes up beside the active one.
    Returned(Deployment),
    /// The store no longer holds the service.
    Removed,
    /// The store says that it is to rest.
    Stopped,
    /// The store says that it is to run. What runs already is left alone, unless it is to begin anew.
    Started {
        /// Also what runs ends and starts again.
        anew: bool,
    },
    /// A deployment has run long enough for its trial to be over.
    Stable(Deployment),
    /// The link is up; this is all the runner knows of the service.
    Seen(BTreeMap<Deployment, Actual>),
    /// The link is down.
    OutOfSight,
    /// The command under way was carried out.
    Done(Step),
    /// The command under way could not be sent, or its answer was lost: look again.
    Lost(Step),
    /// The runner refused the command for good.
    Refused(Step, String),
}

/// One service's wanted and actual state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    active: Option<Deployment>,
    pending: Option<Deployment>,
    actual: BTreeMap<Deployment, Actual>,
    in_sight: bool,
    under_way: Option<Step>,
    /// Deployments that ended for good: not loaded again unasked, whoever forgets or restarts.
    over: BTreeMap<Deployment, Actual>,
    /// What the runner has taken and not reported yet: its answer may overtake its report.
    accepted: BTreeSet<Deployment>,
    unsettled: Vec<Deployment>,
    removed: bool,
    /// It is to rest.
    stopped: bool,
    /// Somebody waits for it to rest.
    stopping: bool,
    /// Deployments that are wanted, but not as the runner has them: unloaded first, and loaded again.
    again: BTreeSet<Deployment>,
    /// The pending one is an earlier one that comes back.
    returns: bool,
    trial: Option<Trial>,
    /// Whether no two deployments may run at a time.
    exclusive: bool,
    /// The active deployment, while it is down for the pending one.
    made_way: Option<Deployment>,
    /// Why the last update of an exclusive service came to nothing.
    mishap: Option<String>,
}

/// A deployment that has replaced another one a moment ago.
#[derive(Debug, Clone, PartialEq)]
struct Trial {
    of: Deployment,
    before: Deployment,
}

impl State {
    /// A service as the store holds it; `over` says which of the two ended for good, and how.
    #[must_use]
    pub fn stored(active: Option<Deployment>, pending: Option<Deployment>, over: BTreeMap<Deployment, Actual>) -> Self {
        let unsettled = pending.iter().cloned().collect();
        Self { active, pending, over, unsettled, ..Self::default() }
    }

    /// The same, with its active deployment on trial against the one before it. What is to replace it, or that it is to
    /// rest, has ended that.
    #[must_use]
    pub fn tried_against(self, before: Option<Deployment>) -> Self {
        let of = self.active.clone().filter(|_| self.pending.is_none() && !self.stopped);
        let trial = of.zip(before).map(|(of, before)| Trial { of, before });
        Self { trial, ..self }
    }

    /// The same, as somebody left it: resting or not.
    #[must_use]
    pub fn resting(self, stopped: bool) -> Self {
        Self { stopped, ..self }
    }

    /// Says whether no two deployments may run at a time, as the policies of those that are wanted have it.
    pub fn set_exclusive(&mut self, exclusive: bool) {
        self.exclusive = exclusive;
        // As a broker finds it that was gone in the middle of an update: the active one may be down for the pending one.
        if exclusive && !self.in_sight && self.actual.is_empty() && self.pending.is_some() && self.made_way.is_none() {
            self.made_way.clone_from(&self.active);
        }
    }

    /// What counts as the end of the active deployment of a service that rests, once an earlier one is to run.
    #[must_use]
    pub fn rest_as_end(&self) -> Option<Actual> {
        let cause = "stopped by hand".to_owned();
        self.stopped.then_some(Actual { state: ServiceState::Stopped, cause, failure: None })
    }

    /// Whether no two deployments may run at a time.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Takes an event in; returns the verdicts it brings.
    pub fn on(&mut self, event: Event) -> Vec<(Deployment, Verdict)> {
        match event {
            Event::Deployed(id, slot) => self.deployed(id, slot),
            Event::Returned(id) => self.returned(id),
            Event::Removed => self.removed(),
            Event::Stopped => self.stopped(),
            Event::Started { anew } => self.started(anew),
            Event::Stable(id) => {
                self.trial.take_if(|trial| trial.of == id);
                Vec::new()
            }
            Event::Seen(actual) => self.seen(actual),
            Event::OutOfSight => self.out_of_sight(),
            Event::Done(step) => self.done(&step),
            Event::Lost(step) => self.ended(&step),
            Event::Refused(step, words) => self.refused(&step, words),
        }
    }

    /// The place is the one that was written down, whatever has happened since it was chosen.
    fn deployed(&mut self, id: Deployment, slot: Slot) -> Vec<(Deployment, Verdict)> {
        let verdicts = self.takes_over(&id);
        match slot {
            Slot::Pending => self.pending = Some(id),
            Slot::Active => {
                (self.active, self.pending) = (Some(id), None);
                self.made_way = None;
            }
        }
        verdicts
    }

    /// Whoever waits for an earlier one, or for the end, waits for nothing now.
    fn takes_over(&mut self, id: &Deployment) -> Vec<(Deployment, Verdict)> {
        let mut earlier = std::mem::replace(&mut self.unsettled, vec![id.clone()]);
        // Whoever waits for the same one goes on waiting.
        earlier.retain(|other| other != id);
        (self.removed, self.stopped, self.stopping, self.returns, self.trial) = (false, false, false, false, None);
        self.mishap = None;
        let replaced = |id| (id, Verdict::Failed(plain("a later deploy took its place")));
        earlier.into_iter().map(replaced).collect()
    }

    fn returned(&mut self, id: Deployment) -> Vec<(Deployment, Verdict)> {
        let rest = self.rest_as_end();
        self.stopped = false;
        if let (Some(active), Some(rest)) = (self.active.clone(), rest) {
            // It was stopped for a reason: it does not come back for the time until the earlier one runs.
            self.over.insert(active, rest);
        }
        let verdicts = self.takes_over(&id);
        self.over.remove(&id);
        if self.actual.get(&id).is_some_and(|actual| !is_alive(actual.state)) {
            self.again.insert(id.clone());
        }
        (self.pending, self.returns) = (Some(id), true);
        verdicts
    }

    fn stopped(&mut self) -> Vec<(Deployment, Verdict)> {
        (self.stopped, self.stopping, self.returns) = (true, true, false);
        (self.pending, self.trial) = (None, None);
        (self.made_way, self.mishap) = (None, None);
        self.again.clear();
        let meanwhile = |id| (id, Verdict::Failed(plain("the service was stopped meanwhile")));
        let mut verdicts: Vec<_> = std::mem::take(&mut self.unsettled).into_iter().map(meanwhile).collect();
        self.rested(&mut verdicts);
        verdicts
    }

    /// Nothing of a service that is to rest is left: whoever waits for that is told, once.
    fn rested(&mut self, verdicts: &mut Vec<(Deployment, Verdict)>) {
        let nothing_left = self.in_sight && self.actual.is_empty() && self.under_way.is_none();
        if self.stopping
            && nothing_left
            && let Some(active) = &self.active
        {
            self.stopping = false;
            verdicts.push((active.clone(), Verdict::Stopped));
        }
    }

    fn started(&mut self, anew: bool) -> Vec<(Deployment, Verdict)> {
        let Some(active) = self.active.clone() else { return Vec::new() };
        let rested = std::mem::take(&mut self.stopped);
        self.stopping = false;
        if self.runs(&active) && !rested && !anew {
            return vec![(active, Verdict::Running)];
        }
        let held = self.actual.get(&active);
        if held.is_some_and(|held| anew || rested || !is_alive(held.state)) {
            self.again.insert(active.clone());
        }
        self.over.remove(&active);
        self.trial = None;
        if !self.unsettled.contains(&active) {
            self.unsettled.push(active);
        }
        Vec::new()
    }

    /// Whether a new deployment comes up beside the active one. With nothing that runs there is nothing
    /// to keep: then the new one is the service, and is shown as it comes up or fails.
    #[must_use]
    pub fn keeps_active(&self) -> bool {
        !self.stopped && self.active.as_ref().is_some_and(|active| self.runs(active) || self.has_made_way(active))
    }

    fn has_made_way(&self, id: &str) -> bool {
        self.made_way.as_deref() == Some(id)
    }

    /// The pending deployment will not run.
    fn give_up_pending(&mut self, id: &str, failure: &Failure) {
        if self.pending.take_if(|pending| pending == id).is_some() && self.made_way.is_some() {
            self.mishap = Some(failure.reason.clone());
        }
    }

    fn removed(&mut self) -> Vec<(Deployment, Verdict)> {
        (self.removed, self.stopped, self.stopping, self.trial) = (true, false, false, None);
        (self.active, self.pending) = (None, None);
        self.again.clear();
        (self.made_way, self.mishap) = (None, None);
        let mut verdicts = Vec::new();
        for id in std::mem::take(&mut self.unsettled) {
            verdicts.push((id, Verdict::Failed(plain("the service was undeployed meanwhile"))));
        }
        verdicts
    }

    fn seen(&mut self, actual: BTreeMap<Deployment, Actual>) -> Vec<(Deployment, Verdict)> {
        self.in_sight = true;
        self.actual = actual;
        self.reckon_with_accepted();
        self.again.retain(|id| self.actual.contains_key(id));
        if self.pending.is_none() {
            // It is back, whether or not the answer to that command came.
            self.made_way.take_if(|way| self.actual.get(way).is_some_and(|actual| is_alive(actual.state)));
        }
        for (id, actual) in &self.actual {
            // What ends because somebody asked for it may begin again.
            if self.stopped || self.again.contains(id) {
                continue;
            }
            if actual.state.is_final() {
                // It was stopped to make way, which is not its end.
                if self.made_way.as_ref() == Some(id) {
                    continue;
                }
                self.over.insert(id.clone(), actual.clone());
            } else if is_alive(actual.state) {
                // Somebody set it going again.
                self.over.remove(id);
            }
        }
        let wanted = [&self.active, &self.pending];
        self.over.retain(|id, _| wanted.contains(&&Some(id.clone())));
        let mut verdicts = self.tried();
        for id in self.unsettled.clone() {
            let Some(actual) = self.actual_of(&id).filter(|_| !self.again.contains(&id)) else {
                continue;
            };
            match actual.state {
                ServiceState::Failed | ServiceState::Crashed | ServiceState::Stopped => {
                    let failure = actual.failure.clone().unwrap_or_else(|| plain(&actual.cause));
                    self.give_up_pending(&id, &failure);
                    self.settle(&mut verdicts, id, Verdict::Failed(failure));
                }
                ServiceState::Running if self.active.as_ref() == Some(&id) => {
                    self.settle(&mut verdicts, id, Verdict::Running);
                }
                // A pending one that runs is committed first.
                _ => {}
            }
        }
        self.rested(&mut verdicts);
        verdicts
    }

    /// Whether what is on trial has died.
    fn tried(&mut self) -> Vec<(Deployment, Verdict)> {
        use ServiceState::{Crashed, Failed, Restarting};
        let died = |trial: &mut Trial| {
            self.actual.get(&trial.of).is_some_and(|actual| matches!(actual.state, Restarting | Crashed | Failed))
        };
        let Some(Trial { of, before }) = self.trial.take_if(died) else { return Vec::new() };
        let actual = self.actual.get(&of);
        let failure = actual.and_then(|actual| actual.failure.clone());
        let failure = failure.or_else(|| actual.map(|actual| plain(&actual.cause))).unwrap_or_else(|| plain("it died"));
        vec![(of, Verdict::Died { back: before, failure })]
    }

    /// A report that is older than an answer does not undo it; one that names the deployment takes its place.
    fn reckon_with_accepted(&mut self) {
        self.accepted.retain(|id| !self.actual.contains_key(id));
        self.actual.extend(self.accepted.iter().map(|id| (id.clone(), accepted())));
    }

    fn out_of_sight(&mut self) -> Vec<(Deployment, Verdict)> {
        self.in_sight = false;
        // The next report is complete and newer than any answer.
        self.accepted.clear();
        // A commit does not depend on the link.
        self.under_way.take_if(|step| !matches!(step, Step::Commit(_)));
        Vec::new()
    }

    fn done(&mut self, step: &Step) -> Vec<(Deployment, Verdict)> {
        self.ended(step);
        let mut verdicts = Vec::new();
        match step {
            Step::Commit(id) if self.pending.as_ref() == Some(id) => {
                self.trial = self.before_switch().map(|before| Trial { of: id.clone(), before: before.to_owned() });
                self.active = self.pending.take();
                (self.returns, self.made_way) = (false, None);
                self.settle(&mut verdicts, id.clone(), Verdict::Running);
                for other in std::mem::take(&mut self.unsettled) {
                    verdicts.push((other, Verdict::Failed(plain("an update took its place"))));
                }
            }
            Step::Unload(id) => {
                self.actual.remove(id);
                self.accepted.remove(id);
                self.again.remove(id);
                self.rested(&mut verdicts);
            }
            Step::Load(id) => {
                if !self.actual.contains_key(id) {
                    self.actual.insert(id.clone(), accepted());
                    self.accepted.insert(id.clone());
                }
                self.made_way.take_if(|way| way == id);
            }
            Step::Commit(_) | Step::Gone => {}
        }
        verdicts
    }

    fn refused(&mut self, step: &Step, words: String) -> Vec<(Deployment, Verdict)> {
        self.ended(step);
        let mut verdicts = Vec::new();
        if let Step::Load(id) = step {
            let failure = plain(&words);
            let actual = Actual { state: ServiceState::Failed, cause: words, failure: Some(failure.clone()) };
            self.over.insert(id.clone(), actual);
            self.made_way.take_if(|way| way == id);
            self.give_up_pending(id, &failure);
            self.settle(&mut verdicts, id.clone(), Verdict::Failed(failure));
        }
        verdicts
    }

    fn ended(&mut self, step: &Step) -> Vec<(Deployment, Verdict)> {
        self.under_way.take_if(|under_way| under_way == step);
        Vec::new()
    }

    fn settle(&mut self, verdicts: &mut Vec<(Deployment, Verdict)>, id: Deployment, verdict: Verdict) {
        if self.unsettled.contains(&id) {
            self.unsettled.retain(|other| *other != id);
            verdicts.push((id, verdict));
        }
    }

    /// The one thing to do now, which counts as under way until its end is told; `None` when there is
    /// nothing to do or something is under way.
    pub fn next_step(&mut self) -> Option<Step> {
        if self.under_way.is_some() {
            return None;
        }
        let step = self.decide()?;
        if let Step::Unload(id) = &step
            && self.pending.is_some()
            && self.active.as_ref() == Some(id)
            && !self.again.contains(id)
            && !self.over.contains_key(id)
        {
            self.made_way = Some(id.clone());
        }
        self.under_way = Some(step.clone());
        Some(step)
    }

    fn decide(&self) -> Option<Step> {
        if let Some(id) = &self.pending
            && self.runs(id)
        {
            return Some(Step::Commit(id.clone()));
        }
        if !self.in_sight {
            return None;
        }
        if let Some(id) = self.again.iter().find(|id| self.actual.contains_key(*id)) {
            return Some(Step::Unload(id.clone()));
        }
        if let Some(id) = self.in_the_way() {
            return Some(Step::Unload(id.clone()));
        }
        // What is not wanted goes first: an exclusive one would keep out what is to come.
        if let Some(id) = self.actual.keys().find(|id| !self.wanted().any(|wanted| wanted == *id)) {
            return Some(Step::Unload(id.clone()));
        }
        if let Some(id) = self.to_run().find(|id| !self.actual.contains_key(*id) && !self.over.contains_key(*id)) {
            return Some(Step::Load(id.clone()));
        }
        self.removed.then_some(Step::Gone)
    }

    /// What is to be on the runner now.
    fn to_run(&self) -> impl Iterator<Item = &Deployment> {
        let only = if self.exclusive { self.pending.as_ref().or(self.active.as_ref()) } else { None };
        self.wanted().filter(move |id| only.is_none_or(|only| only == *id))
    }

    /// What has to be gone from the runner before an exclusive service is loaded.
    fn in_the_way(&self) -> Option<&Deployment> {
        let next = self.to_run().next().filter(|_| self.exclusive)?;
        self.actual.keys().find(|id| *id != next)
    }

    /// The deployment that comes back if the pending one dies soon after it has become the active one: none for one that
    /// comes back itself, or after one that had ended.
    #[must_use]
    pub fn before_switch(&self) -> Option<&str> {
        self.active.as_deref().filter(|before| !self.returns && !self.over.contains_key(*before))
    }

    /// Whether its runner was seen to have nothing of it, and nothing is on the way there.
    #[must_use]
    pub fn holds_nothing(&self) -> bool {
        self.in_sight && self.actual.is_empty() && self.under_way.is_none()
    }

    fn wanted(&self) -> impl Iterator<Item = &Deployment> {
        self.active.iter().chain(&self.pending).filter(|_| !self.stopped)
    }

    fn runs(&self, id: &str) -> bool {
        self.in_sight && self.actual.get(id).is_some_and(|actual| actual.state == ServiceState::Running)
    }

    fn actual_of(&self, id: &str) -> Option<&Actual> {
        self.actual.get(id).or_else(|| self.over.get(id))
    }

    /// The active deployment.
    #[must_use]
    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    /// The deployment that is coming up beside the active one.
    #[must_use]
    pub fn pending(&self) -> Option<&str> {
        self.pending.as_deref()
    }

    /// Whether a deployment still waits for its verdict.
    #[must_use]
    pub fn is_unsettled(&self, id: &str) -> bool {
        self.unsettled.iter().any(|other| other == id)
    }

    /// What to show: the active deployment's state, or why it cannot be known.
    #[must_use]
    pub fn shown(&self) -> (ServiceState, String) {
        if self.removed {
            return (ServiceState::Draining, "undeployed".to_owned());
        }
        let Some(active) = &self.active else {
            return (ServiceState::Queued, "not deployed yet".to_owned());
        };
        if !self.in_sight {
            return (ServiceState::Unreachable, "the runner is not connected".to_owned());
        }
        if self.stopped {
            let state = if self.actual.is_empty() { ServiceState::Stopped } else { ServiceState::Draining };
            return (state, "stopped by hand".to_owned());
        }
        if self.again.contains(active) {
            return (ServiceState::Restarting, "restarted by hand".to_owned());
        }
        let (state, cause) = match self.actual_of(active) {
            // Stopped in order, and whatever the runner says of that: its calls wait for what comes after it.
            _ if self.has_made_way(active) && self.pending.is_some() => {
                (ServiceState::Queued, "stopped while its update comes up, since it is exclusive".to_owned())
            }
            _ if self.has_made_way(active) => (ServiceState::Queued, "waits for its runner".to_owned()),
            Some(actual) => (actual.state, actual.cause.clone()),
            None => (ServiceState::Queued, "waits for its runner".to_owned()),
        };
        match &self.mishap {
            Some(reason) => (state, format!("{cause}; as before, since its update failed: {reason}")),
            None => (state, cause),
        }
    }

    /// Whether the runner is about to take the active one down and up again: calls wait.
    #[must_use]
    pub fn begins_again(&self) -> bool {
        self.active.as_ref().is_some_and(|active| self.again.contains(active))
    }

    /// Whether somebody wants it to rest.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.stopped
    }

    /// Whether it is forgotten, and on its way out.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// The deployment that is on trial.
    #[must_use]
    pub fn on_trial(&self) -> Option<&str> {
        self.trial.as_ref().map(|trial| trial.of.as_str())
    }

    /// How a deployment ended for good, if it did.
    #[must_use]
    pub fn over(&self, id: &str) -> Option<&Actual> {
        self.over.get(id)
    }

    /// Why the active deployment failed or crashed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        if self.stopped {
            return None;
        }
        self.actual_of(self.active.as_deref()?)?.failure.as_ref()
    }
}

/// Whether the runner goes on with it by itself.
const fn is_alive(state: ServiceState) -> bool {
    !state.is_final() && !matches!(state, ServiceState::Draining)
}

/// Accepted; its first report is on the way and replaces this.
fn accepted() -> Actual {
    Actual { state: ServiceState::Queued, cause: "accepted".to_owned(), failure: None }
}

fn plain(reason: &str) -> Failure {
    Failure { reason: reason.to_owned(), log: Vec::new() }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "exclusive_tests.rs"]
mod exclusive_tests;
