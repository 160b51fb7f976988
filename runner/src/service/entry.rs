//! One deployment of a service: its state, its gate, its log and what is known of it.
//!
//! Contract: every method returns at once. All of it lives on one thread; the lock is there because what supervisors
//! start must be `Send`, and it is never held while an effect is carried out.

mod parts;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meter::Counters;
use protocol::link::{Failure, LogLine, LogStream, ServiceSpec, ServiceState};
use supervision::{ExitReason, NodePath};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::board::{Board, unix_ms};
use super::gate::{Answer, Effect, Event as GateEvent, Gate, Rules};
use super::instances::{Instances, Place, Turn};
use super::log::{Log, brief};
use super::redact::Redactor;
use super::state::{Event, State};
use crate::instance::Client;
use crate::metrics::Limit;
use crate::prepare::Prepared;
use crate::process::ProcessFacts;
use parts::Tools;
pub use report::Load;

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

impl Key {
    /// Whether both are deployments of one service.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.mesh == other.mesh && self.service == other.service
    }
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
    /// The last line of the log that is older than this deployment: what stands before it may be of another owner.
    log_before: u64,
    inner: Mutex<Inner>,
    /// Wakes the gate's clock when something is due earlier than it waits for.
    timer: Notify,
    idle: Notify,
    leaving: AtomicBool,
    redactor: Redactor,
    changed: AtomicU64,
}

struct Inner {
    state: State,
    gate: Gate,
    armed: Option<Duration>,
    instances: Instances,
    /// Whoever speaks to a process that takes calls, by its generation.
    clients: BTreeMap<u64, Open>,
    tools: Tools,
    prepared: Option<Prepared>,
    /// What runs it.
    runtime: Option<String>,
    /// The processes that run, by instance.
    facts: BTreeMap<usize, ProcessFacts>,
    failure: Option<Failure>,
    progress: Option<String>,
}

struct Open {
    instance: usize,
    client: Arc<Client>,
}

impl Entry {
    pub(super) fn new(spec: ServiceSpec, board: Arc<Board>, log: SharedLog, redactor: Redactor) -> Arc<Self> {
        let key = Key { mesh: spec.mesh.clone(), service: spec.service.clone(), deployment: spec.deployment.clone() };
        let inner = Inner {
            state: State::new(unix_ms()),
            gate: Gate::new(board.metrics().gates.clone(), Rules::from(&spec.policy)),
            armed: None,
            instances: Instances::new(usize::try_from(spec.policy.instances).unwrap_or(1)),
            clients: BTreeMap::new(),
            tools: Tools::default(),
            prepared: None,
            runtime: None,
            facts: BTreeMap::new(),
            failure: None,
            progress: None,
        };
        let changed = AtomicU64::new(board.changed());
        let log_before = lock(&log).seq();
        Arc::new(Self {
            key,
            spec,
            board,
            log,
            log_before,
            inner: Mutex::new(inner),
            timer: Notify::new(),
            idle: Notify::new(),
            leaving: AtomicBool::new(false),
            redactor,
            changed,
        })
    }

    /// Gives the gate an event and carries out what it says.
    pub fn gate(&self, event: GateEvent) {
        let mut effects = Vec::new();
        let is_earlier = {
            let mut inner = self.lock();
            inner.gate.on(event, self.board.now(), &mut effects);
            match (inner.gate.wake_at(), inner.armed) {
                (Some(at), Some(armed)) => at < armed,
                (Some(_), None) => true,
                (None, _) => false,
            }
        };
        if is_earlier {
            self.timer.notify_one();
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&self, effect: Effect) {
        match effect {
            Effect::Reply { origin, answer, attempts } => {
                self.board.metrics().calls.answered(&answer);
                // Results are the server's own words to its caller; errors end up in logs.
                let answer = match answer {
                    Answer::Error(body) => Answer::Error(self.redactor.json(body)),
                    other => other,
                };
                self.board.reply(origin, answer, attempts);
            }
            Effect::Progress { origin, word } => self.board.progress(origin, word),
            // Without a client the process is gone, and its death is on the way to the gate.
            Effect::Write { generation, rpc, method, params, tells } => {
                if let Some(client) = self.client_of(generation) {
                    client.call(rpc, &method, &params, tells);
                }
            }
            Effect::Revoke { generation, rpc, reason } => {
                if let Some(client) = self.client_of(generation) {
                    client.revoke(rpc, &reason);
                }
            }
            Effect::Say(words) => self.say(LogStream::System, &words),
            Effect::Idle => self.idle.notify_one(),
        }
    }

    /// Takes what a supervisor says about an instance.
    pub(super) fn turned(&self, instance: usize, turn: Turn) {
        let event = {
            let mut inner = self.lock();
            let state = inner.state.state();
            inner.instances.on(instance, turn, state)
        };
        match event {
            Some(event) => self.happened(&event),
            None => self.touch(),
        }
        // For what is shown of the instances.
        self.timer.notify_one();
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
        if matches!(event, Event::Down { .. } | Event::Fewer { is_restart: true, .. }) {
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

    /// Where an instance stands.
    pub(super) fn place(&self, instance: usize) -> Place {
        self.lock().instances.place(instance)
    }

    /// Shows the node of the service as what it is.
    pub(super) fn show(&self, node: &NodePath) {
        self.board.show(node, self.state());
    }

    /// A failure is kept with the last lines of the log as they were when it happened, until the service is ready again;
    /// with none that is older than this deployment.
    fn note_failure(&self, event: &Event) {
        let is_failure = matches!(event, Event::Down { .. } | Event::Crashed { .. } | Event::Failed { .. });
        let text = |line: LogLine| brief(&line.text, FAILURE_LINE_BYTES);
        let log = || lock(&self.log).last_after(self.log_before, FAILURE_LINES).into_iter().map(text).collect();
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

    /// A limit refused something of the service.
    pub(crate) fn over(&self, limit: Limit) {
        self.board.metrics().limits.count(limit);
    }

    /// The refusals by limits of whoever speaks to the process.
    pub(crate) fn limits(&self) -> Counters<Limit> {
        self.board.metrics().limits.clone()
    }

    /// The program, once it is prepared.
    pub(crate) fn prepared(&self) -> Option<Prepared> {
        self.lock().prepared.clone()
    }

    pub(super) fn set_prepared(&self, prepared: Prepared) {
        let runtime = prepared.runtime_found();
        let mut inner = self.lock();
        (inner.runtime, inner.prepared) = (Some(runtime), Some(prepared));
        self.touch();
    }

    pub(super) fn known_version(&self) -> Option<String> {
        let prepared = self.lock().prepared.as_ref().map(|prepared| prepared.version.clone());
        prepared.or_else(|| self.spec.version.clone())
    }

    /// Adds a line to the service's log.
    pub(crate) fn say(&self, stream: LogStream, text: &str) {
        self.keep(stream, &self.redactor.text(text));
    }

    /// A line without secrets.
    fn keep(&self, stream: LogStream, clean: &str) {
        let kept = lock(&self.log).push(unix_ms(), stream, clean);
        self.board.metrics().logs.said(stream, clean.len(), kept);
    }

    /// The last line of a build, shown while it lasts.
    pub(super) fn progress(&self, line: &str) {
        let line = &*self.redactor.text(line);
        self.keep(LogStream::Install, line);
        self.lock().progress = Some(line.chars().take(200).collect());
        self.touch();
    }

    /// Marks it as leaving.
    pub(super) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::Relaxed) {
            self.happened(&Event::Leave);
        }
    }

    /// A text about it without its secrets.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.redactor.text(text).into_owned()
    }

    /// How a part of it ended, without its secrets: this is what states, events and the tree show.
    pub(crate) fn clean_exit(&self, exit: ExitReason) -> ExitReason {
        match exit {
            ExitReason::Error(reason) => ExitReason::Error(self.clean(&reason)),
            other => other,
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

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

/// A lock whose holder panicked still guards whole data here: nothing is left half-changed between two statements
/// that can panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
