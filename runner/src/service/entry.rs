//! One deployment of a service: its state, its gate, its log and what is known of it.
//!
//! Contract: every method returns at once. All of it lives on one thread; the lock is there because what supervisors
//! start must be `Send`, and it is never held while an effect is carried out.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meter::Counters;
use protocol::link::{Failure, InstanceFact, LogLine, LogStream, ServiceReport, ServiceSpec, ServiceState, Tool};
use supervision::NodePath;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::board::{Board, unix_ms};
use super::gate::{Effect, Event as GateEvent, Gate, Repeatable};
use super::log::{Log, brief};
use super::state::{Event, State};
use crate::instance::{Client, SHARED};
use crate::metrics::Limit;
use crate::prepare::Prepared;
use crate::process::{Level, ProcessFacts};

/// Lines of the log that go with a failure.
const FAILURE_LINES: usize = 20;
/// Of each of them. All must fit into a report, where a byte may take six.
const FAILURE_LINE_BYTES: usize = 1_024;

/// Names one deployment of a service. The mesh is part of it: the same name in two meshes is two services.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Slug of the mesh.
    pub mesh: String,
    /// Name of the service.
    pub service: String,
    /// Id of the deployment.
    pub deployment: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.mesh, self.service, self.deployment)
    }
}

/// The log of a service, shared by its deployments.
pub(super) type SharedLog = Arc<Mutex<Log>>;

/// See the module.
pub struct Entry {
    /// Which deployment.
    pub key: Key,
    /// All that shapes it.
    pub spec: ServiceSpec,
    board: Arc<Board>,
    log: SharedLog,
    inner: Mutex<Inner>,
    /// Wakes the gate's clock when something is due earlier than it waits for.
    timer: Notify,
    idle: Notify,
    leaving: AtomicBool,
    changed: AtomicU64,
}

struct Inner {
    state: State,
    gate: Gate,
    armed: Option<Duration>,
    client: Option<(u64, Arc<Client>)>,
    tools: Option<Tools>,
    prepared: Option<Prepared>,
    facts: Option<ProcessFacts>,
    failure: Option<Failure>,
    progress: Option<String>,
    heard: Duration,
}

/// A deployment in numbers.
pub struct Load {
    /// Where it is in its life.
    pub state: ServiceState,
    /// Calls before the process.
    pub in_flight: usize,
    /// Calls that wait.
    pub waiting: usize,
    /// The isolation level of the process, if one runs.
    pub level: Option<Level>,
}

/// The tool list, and the number of the change that brought it.
struct Tools {
    list: Vec<Tool>,
    number: u64,
}

impl Entry {
    pub(super) fn new(spec: ServiceSpec, board: Arc<Board>, log: SharedLog) -> Arc<Self> {
        let key = Key { mesh: spec.mesh.clone(), service: spec.service.clone(), deployment: spec.deployment.clone() };
        let inner = Inner {
            state: State::new(unix_ms()),
            gate: Gate::new(board.metrics().gates.clone()),
            armed: None,
            client: None,
            tools: None,
            prepared: None,
            facts: None,
            failure: None,
            progress: None,
            heard: board.now(),
        };
        let changed = AtomicU64::new(board.changed());
        Arc::new(Self {
            key,
            spec,
            board,
            log,
            inner: Mutex::new(inner),
            timer: Notify::new(),
            idle: Notify::new(),
            leaving: AtomicBool::new(false),
            changed,
        })
    }

    /// Gives the gate an event and carries out what it says.
    pub fn gate(&self, event: GateEvent) {
        let mut effects = Vec::new();
        let (client, is_earlier) = {
            let mut inner = self.lock();
            inner.gate.on(event, self.board.now(), &mut effects);
            let is_earlier = match (inner.gate.wake_at(), inner.armed) {
                (Some(at), Some(armed)) => at < armed,
                (Some(_), None) => true,
                (None, _) => false,
            };
            (inner.client.as_ref().map(|(_, client)| Arc::clone(client)), is_earlier)
        };
        if is_earlier {
            self.timer.notify_one();
        }
        for effect in effects {
            self.carry_out(effect, client.as_deref());
        }
    }

    fn carry_out(&self, effect: Effect, client: Option<&Client>) {
        match (effect, client) {
            (Effect::Reply { origin, answer, attempts }, _) => {
                self.board.metrics().calls.answered(&answer);
                self.board.reply(origin, answer, attempts);
            }
            (Effect::Write { rpc, method, params }, Some(client)) => client.call(rpc, &method, &params),
            (Effect::Revoke { rpc, reason }, Some(client)) => client.revoke(rpc, &reason),
            // The process is gone, and its death is on the way to the gate.
            (Effect::Write { .. } | Effect::Revoke { .. }, None) => {}
            (Effect::Idle, _) => self.idle.notify_one(),
        }
    }

    /// When the gate's clock has to strike; from now on it is woken for anything earlier.
    pub(super) fn arm(&self) -> Option<Duration> {
        let mut inner = self.lock();
        inner.armed = inner.gate.wake_at();
        inner.armed
    }

    pub(super) async fn rung(&self) {
        self.timer.notified().await;
    }

    /// Takes what the supervisors say.
    pub(super) fn happened(&self, event: &Event) {
        let taken = self.lock().state.on(event, unix_ms());
        let state = match taken {
            Ok(state) => state,
            Err(error) => {
                tracing::debug!(service = %self.key, %error, "out of place");
                return;
            }
        };
        if matches!(event, Event::Down { .. }) {
            self.board.metrics().process_restarts.increment(1);
        }
        self.note_failure(event);
        match state {
            ServiceState::Queued | ServiceState::Building | ServiceState::Starting | ServiceState::Restarting => {
                self.gate(GateEvent::Waiting { state: state.as_str() });
            }
            ServiceState::Running | ServiceState::Unreachable => {}
            ServiceState::Crashed | ServiceState::Failed | ServiceState::Stopped => {
                let reason = self.lock().state.cause().to_owned();
                self.gate(GateEvent::Closed { state: state.as_str(), reason });
            }
            ServiceState::Draining => self.gate(GateEvent::Drain),
        }
        tracing::info!(service = %self.key, state = state.as_str(), cause = self.lock().state.cause(), "service");
        self.touch();
    }

    /// Shows the node of the service as what it is.
    pub(super) fn show(&self, node: &NodePath) {
        self.board.show(node, self.state());
    }

    /// A failure is kept with the last lines of the log as they were when it happened, until the service is ready again.
    fn note_failure(&self, event: &Event) {
        let is_failure = matches!(event, Event::Down { .. } | Event::Crashed { .. } | Event::Failed { .. });
        let text = |line: LogLine| brief(&line.text, FAILURE_LINE_BYTES);
        let log = || lock(&self.log).last(FAILURE_LINES).into_iter().map(text).collect();
        let mut inner = self.lock();
        match inner.state.failure().map(ToOwned::to_owned) {
            Some(reason) if is_failure => inner.failure = Some(Failure { reason, log: log() }),
            Some(_) => {}
            None => inner.failure = None,
        }
        if !matches!(event, Event::Prepare) {
            inner.progress = None;
        }
    }

    /// A process can be asked from now on. Tells the gate.
    pub(crate) fn opened(&self, generation: u64, client: &Arc<Client>, tools: Vec<Tool>) {
        let repeatable = repeatable(&tools);
        self.set_tools(tools);
        {
            let mut inner = self.lock();
            inner.client = Some((generation, Arc::clone(client)));
            inner.heard = self.board.now();
        }
        self.gate(GateEvent::Opened { generation, repeatable });
        self.touch();
    }

    /// The open process lists other tools now.
    pub(crate) fn relisted(&self, tools: Vec<Tool>) {
        let repeatable = repeatable(&tools);
        self.set_tools(tools);
        self.gate(GateEvent::Relisted { repeatable });
        self.touch();
    }

    /// The same list again is no news: a restart does not send it again.
    fn set_tools(&self, list: Vec<Tool>) {
        let mut inner = self.lock();
        if inner.tools.as_ref().is_none_or(|tools| tools.list != list) {
            inner.tools = Some(Tools { list, number: self.board.changed() });
        }
    }

    /// The process of this generation is dead or no longer spoken to. Harmless when said twice.
    pub(crate) fn closed(&self, generation: u64) {
        {
            let mut inner = self.lock();
            if inner.client.as_ref().is_some_and(|(open, _)| *open == generation) {
                inner.client = None;
            }
        }
        self.gate(GateEvent::Died { generation });
    }

    /// Whoever speaks to the open process.
    pub(crate) fn client(&self) -> Option<Arc<Client>> {
        self.lock().client.as_ref().map(|(_, client)| Arc::clone(client))
    }

    /// The process gave a sign of life.
    pub(crate) fn heard(&self) {
        self.lock().heard = self.board.now();
    }

    /// How long ago it did.
    pub(crate) fn silent_for(&self) -> Duration {
        self.board.now().saturating_sub(self.lock().heard)
    }

    /// Calls before the process that are within their time.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().gate.in_flight()
    }

    /// A limit refused something of the service.
    pub(crate) fn over(&self, limit: Limit) {
        self.board.metrics().limits.count(limit);
    }

    /// The refusals by limits of whoever speaks to the process.
    pub(crate) fn limits(&self) -> Counters<Limit> {
        self.board.metrics().limits.clone()
    }

    /// What is the case, in numbers.
    #[must_use]
    pub fn load(&self) -> Load {
        let inner = self.lock();
        Load {
            state: inner.state.state(),
            in_flight: inner.gate.in_flight(),
            waiting: inner.gate.waiting(),
            level: inner.facts.map(|facts| facts.level),
        }
    }

    /// The process that runs, or `None`.
    pub(crate) fn set_facts(&self, facts: Option<ProcessFacts>) {
        self.lock().facts = facts;
        self.touch();
    }

    /// The program, once it is prepared.
    pub(crate) fn prepared(&self) -> Option<Prepared> {
        self.lock().prepared.clone()
    }

    pub(super) fn set_prepared(&self, prepared: Prepared) {
        self.lock().prepared = Some(prepared);
        self.touch();
    }

    pub(super) fn known_version(&self) -> Option<String> {
        let prepared = self.lock().prepared.as_ref().map(|prepared| prepared.version.clone());
        prepared.or_else(|| self.spec.version.clone())
    }

    /// Adds a line to the service's log.
    pub(crate) fn say(&self, stream: LogStream, text: &str) {
        let kept = lock(&self.log).push(unix_ms(), stream, text);
        self.board.metrics().logs.said(stream, text.len(), kept);
    }

    /// The last line of a build, shown while it lasts.
    pub(super) fn progress(&self, line: &str) {
        self.say(LogStream::Install, line);
        self.lock().progress = Some(line.chars().take(200).collect());
        self.touch();
    }

    /// Marks it as leaving.
    pub(super) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            self.happened(&Event::Leave);
        }
    }

    /// Nothing of it is left.
    pub(super) fn gone(&self) {
        if self.state() != ServiceState::Stopped {
            self.happened(&Event::Gone);
        }
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    /// Whether it is being unloaded.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Takes no new calls and waits until the process has none, at most for `limit`.
    pub(super) async fn drained(&self, limit: Duration) {
        self.gate(GateEvent::Drain);
        let idle = async {
            while self.in_flight() > 0 {
                self.idle.notified().await;
            }
            // Two may wait; the wake-up was for one of them.
            self.idle.notify_one();
        };
        if timeout(limit, idle).await.is_err() {
            tracing::warn!(service = %self.key, calls = self.in_flight(), "not drained in time");
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> ServiceState {
        self.lock().state.state()
    }

    /// The number of the last change that a report shows.
    #[must_use]
    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        self.changed.store(self.board.changed(), Ordering::Relaxed);
    }

    /// What is the case; the tool list only if it changed after the change with this number.
    #[must_use]
    pub fn report(&self, since: Option<u64>) -> ServiceReport {
        let inner = self.lock();
        let tools = inner.tools.as_ref().filter(|tools| since.is_none_or(|since| tools.number > since));
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let state = inner.state.state();
        let instance = InstanceFact {
            key: SHARED.to_owned(),
            pid: inner.facts.map(|facts| facts.pid),
            level: inner.facts.map(|facts| facts.level.as_str().to_owned()),
            state: state.as_str().to_owned(),
        };
        ServiceReport {
            mesh: self.key.mesh.clone(),
            service: self.key.service.clone(),
            deployment: self.key.deployment.clone(),
            state,
            since_ms: inner.state.since_ms(),
            cause: inner.state.cause().to_owned(),
            restarts_window: inner.state.restarts_window(unix_ms(), self.spec.policy.within_ms),
            restarts_total: inner.state.restarts_total(),
            version: inner.prepared.as_ref().map(|prepared| prepared.version.clone()),
            tools: tools.map(|tools| tools.list.clone()),
            failure: inner.failure.clone(),
            instances: if inner.facts.is_some() { vec![instance] } else { Vec::new() },
            waiting: count(inner.gate.waiting()),
            in_flight: count(inner.gate.in_flight()),
            progress: inner.progress.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

/// A lock whose holder panicked still guards whole data here: nothing is left half-changed between two statements
/// that can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tools that say of themselves that a second call does no harm.
fn repeatable(tools: &[Tool]) -> Repeatable {
    let harmless = |tool: &&Tool| {
        tool.annotations
            .as_ref()
            .is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
    };
    Arc::new(tools.iter().filter(harmless).map(|tool| tool.name.clone()).collect())
}
