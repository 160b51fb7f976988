//! One node of the running tree: what is known about a child across its incarnations.
//!
//! Only its supervisor's loop changes the state; the child itself sets condition and facts; the watchdog sets
//! `stuck`. Each change is one short lock and one step of the registry's sequence.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{LastExit, NodeView, Restarts, unix_ms, view::find_in};
use crate::{ChildId, ExitReason, Intensity, NodePath, pulse::Pulse, sync::lock};

/// How many restarts a node remembers for its window; more are shown as this many.
const MAX_REMEMBERED: usize = 1_000;
/// How many facts a node may show.
pub const MAX_FACTS: usize = 64;

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeState {
    /// Begun, not ready yet.
    Starting,
    /// Ready.
    Running,
    /// Ended, and waiting for its next start.
    Restarting,
    /// Asked to stop.
    Stopping,
    /// Not there, and nothing is wrong.
    Stopped,
    /// Parked: it was ready once, and failed too often.
    Crashed,
    /// Parked: it never was ready.
    Failed,
    /// Without progress, or impossible to kill.
    Stuck,
}

impl NodeState {
    /// The state as operators see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a node is, apart from how it is.
pub(crate) struct Traits {
    pub(crate) kind: &'static str,
    /// The intensity that judges it: its supervisor's, or its own in a dynamic set.
    pub(crate) intensity: Intensity,
    /// No progress for this long is shown as stuck.
    pub(crate) stall_after: Duration,
}

pub(crate) struct Node {
    pub(crate) path: NodePath,
    pub(crate) parent: Weak<Node>,
    pub(crate) is_root: bool,
    /// Its place among its siblings.
    pub(crate) order: u64,
    pub(crate) traits: Traits,
    body: Mutex<Body>,
    pub(crate) children: Mutex<BTreeMap<u64, Arc<Node>>>,
}

struct Body {
    state: NodeState,
    since_ms: u64,
    generation: u64,
    recent: VecDeque<Instant>,
    total: u64,
    last_exit: Option<LastExit>,
    condition: Option<Cow<'static, str>>,
    facts: BTreeMap<Cow<'static, str>, Value>,
    grafts: Vec<NodeView>,
    pulse: Option<Arc<Pulse>>,
    stuck: Option<(Instant, u64)>,
}

impl Node {
    pub(crate) fn new(path: NodePath, parent: Weak<Node>, is_root: bool, order: u64, traits: Traits) -> Self {
        let body = Body {
            state: NodeState::Stopped,
            since_ms: unix_ms(),
            generation: 0,
            recent: VecDeque::new(),
            total: 0,
            last_exit: None,
            condition: None,
            facts: BTreeMap::new(),
            grafts: Vec::new(),
            pulse: None,
            stuck: None,
        };
        Self { path, parent, is_root, order, traits, body: Mutex::new(body), children: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn child_path(&self, id: &ChildId) -> NodePath {
        if self.is_root { NodePath::top(id) } else { self.path.join(id) }
    }

    pub(crate) fn generation(&self) -> u64 {
        lock(&self.body).generation
    }

    /// A new incarnation begins: whatever the last one said about itself is void.
    pub(crate) fn begin(&self, generation: u64, pulse: Arc<Pulse>) {
        let mut body = lock(&self.body);
        body.generation = generation;
        body.pulse = Some(pulse);
        body.stuck = None;
        body.condition = None;
        body.facts.clear();
        body.enter(NodeState::Starting);
    }

    pub(crate) fn enter(&self, state: NodeState) {
        lock(&self.body).enter(state);
    }

    /// The incarnation ended; the node is in `state` now.
    pub(crate) fn end(&self, exit: &ExitReason, state: NodeState) {
        let mut body = lock(&self.body);
        let at_ms = unix_ms();
        body.last_exit = Some(LastExit { reason: exit.to_string(), at_ms });
        body.pulse = None;
        body.stuck = None;
        body.condition = None;
        if state == NodeState::Restarting {
            body.total = body.total.saturating_add(1);
            if body.recent.len() == MAX_REMEMBERED {
                body.recent.pop_front();
            }
            body.recent.push_back(Instant::now());
        }
        body.enter(state);
    }

    /// Somebody decided that the failures so far do not count any more.
    pub(crate) fn forgive(&self) {
        lock(&self.body).recent.clear();
    }

    /// `generation` guards against an incarnation that outlived its time.
    pub(crate) fn set_condition(&self, generation: u64, condition: Option<Cow<'static, str>>) -> bool {
        let mut body = lock(&self.body);
        let current = body.generation == generation && body.condition != condition;
        if current {
            body.condition = condition;
            body.since_ms = unix_ms();
        }
        current
    }

    pub(crate) fn set_fact(&self, generation: u64, key: Cow<'static, str>, value: Option<Value>) -> bool {
        let mut body = lock(&self.body);
        if body.generation != generation {
            return false;
        }
        match value {
            None => body.facts.remove(&key).is_some(),
            Some(_) if body.facts.len() >= MAX_FACTS && !body.facts.contains_key(&key) => {
                tracing::warn!(node = %self.path, %key, "too many facts, this one is not shown");
                false
            }
            Some(value) => body.facts.insert(key, value.clone()) != Some(value),
        }
    }

    pub(crate) fn set_grafts(&self, grafts: Vec<NodeView>) {
        lock(&self.body).grafts = grafts;
    }

    /// What the watchdog asks: the signs of life of the incarnation that lives, its state, and whether it is shown
    /// as stuck.
    pub(crate) fn pulse(&self) -> Option<(Arc<Pulse>, NodeState, bool)> {
        let body = lock(&self.body);
        let pulse = body.pulse.as_ref()?;
        Some((Arc::clone(pulse), body.state, body.stuck.is_some()))
    }

    /// Shows or clears `stuck`; whether that changed anything. Only for the incarnation of `pulse`.
    pub(crate) fn set_stuck(&self, pulse: &Arc<Pulse>, since: Option<Instant>) -> bool {
        let mut body = lock(&self.body);
        let same = body.pulse.as_ref().is_some_and(|p| Arc::ptr_eq(p, pulse));
        if !same || body.stuck.is_some() == since.is_some() {
            return false;
        }
        body.stuck = since.map(|at| (at, unix_ms()));
        true
    }

    /// The node and `depth` levels below it.
    pub(crate) fn view(&self, depth: usize) -> NodeView {
        let rest = depth.checked_sub(1);
        let (mut view, grafts) = {
            let body = lock(&self.body);
            // There may be thousands of them: copied as deep as they are wanted.
            let grafts: Vec<_> =
                rest.map_or_else(Vec::new, |rest| body.grafts.iter().map(|g| g.to_depth(rest)).collect());
            (body.view(&self.path, &self.traits), grafts)
        };
        if let Some(rest) = rest {
            let below: Vec<_> = lock(&self.children).values().cloned().collect();
            view.children.extend(below.iter().map(|child| child.view(rest)));
            view.children.extend(grafts);
        }
        view
    }

    /// A node grafted somewhere below this one.
    pub(crate) fn grafted(&self, path: &str, depth: usize) -> Option<NodeView> {
        let body = lock(&self.body);
        find_in(&body.grafts, path).map(|found| found.to_depth(depth))
    }
}

impl Body {
    fn enter(&mut self, state: NodeState) {
        if self.state != state {
            self.state = state;
            self.since_ms = unix_ms();
        }
    }

    fn view(&self, path: &NodePath, traits: &Traits) -> NodeView {
        let now = Instant::now();
        let in_window = |at: &&Instant| now.duration_since(**at) <= traits.intensity.within;
        let window = self.recent.iter().rev().take_while(in_window).count();
        let (state, since_ms) = self.shown();
        let mut facts: BTreeMap<String, Value> =
            self.facts.iter().map(|(key, value)| (key.to_string(), value.clone())).collect();
        if let Some((since, _)) = self.stuck {
            let stuck_ms = u64::try_from(now.duration_since(since).as_millis());
            facts.insert("stuck_ms".into(), stuck_ms.unwrap_or(u64::MAX).into());
        }
        NodeView {
            id: path.to_string(),
            kind: traits.kind.to_owned(),
            state,
            since_ms,
            restarts: Restarts { window: u32::try_from(window).unwrap_or(u32::MAX), total: self.total },
            last_exit: self.last_exit.clone(),
            queue: self.pulse.as_ref().map_or(0, |pulse| pulse.queued()),
            facts,
            children: Vec::new(),
        }
    }

    fn shown(&self) -> (String, u64) {
        match (&self.stuck, &self.condition, self.state) {
            (Some((_, since_ms)), _, _) => (NodeState::Stuck.to_string(), *since_ms),
            (None, Some(condition), NodeState::Running) => (condition.to_string(), self.since_ms),
            (None, _, state) => (state.to_string(), self.since_ms),
        }
    }
}
