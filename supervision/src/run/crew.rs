//! The children of one supervisor as they run, and the hands that carry out its decisions.
//!
//! A crew that is dropped before it is finished (its loop panicked or was killed) kills what it has: no child
//! outlives its supervisor.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Event, Reporter, boundary};
use crate::{
    Child, ChildEvent, ChildId, ExitReason, Intensity, Life, NodeState, Observer, Registry, Transition,
    core::{Key, Member, Output, Random},
    registry::{Node, Traits},
    sync::Signal,
};

pub(super) struct Crew {
    /// Of the supervisor itself.
    life: Life,
    observer: Option<Arc<dyn Observer>>,
    /// Whether its children are known from its specification, and keep their nodes when it is gone.
    fixed: bool,
    hands: HashMap<Key, Hand>,
    events: mpsc::UnboundedSender<Event>,
    began: Instant,
}

struct Hand {
    child: Child,
    id: ChildId,
    node: Arc<Node>,
    generation: u64,
    /// Of the incarnation that lives.
    signal: Option<Arc<Signal>>,
}

impl Crew {
    pub(super) fn new(
        life: &Life,
        observer: Option<Arc<dyn Observer>>,
        fixed: bool,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "each incarnation sends two events at most, and the reader is who starts incarnations"
        )]
        let (events, inbox) = mpsc::unbounded_channel();
        let crew = Self { life: life.clone(), observer, fixed, hands: HashMap::new(), events, began: Instant::now() };
        (crew, inbox)
    }

    /// The clock of the decisions.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) async fn sleep_until(&self, wake: Option<Duration>) {
        match wake {
            Some(at) => sleep_until(self.began + at).await,
            None => std::future::pending().await,
        }
    }

    /// A number no two supervisors share, for their jitter.
    pub(super) fn random() -> Random {
        Random::new(RandomState::new().build_hasher().finish())
    }

    /// Takes a child on, under `key`. `intensity` is the one that judges it.
    pub(super) fn enlist(&mut self, key: Key, id: ChildId, child: Child, intensity: Intensity) -> Member {
        let traits = Traits { kind: child.kind(), intensity, stall_after: child.spec.stall_after };
        let node = self.life.registry().enter(Some(self.life.node()), &id, traits);
        let generation = node.generation();
        let member = Member::new(id.clone(), &child, generation);
        self.hands.insert(key, Hand { child, id, node, generation, signal: None });
        member
    }

    /// What somebody did by hand.
    pub(super) fn forgive(&self, key: Key) {
        if let Some(hand) = self.hands.get(&key) {
            hand.node.forgive();
        }
    }

    /// Carries out what was decided; the reason when that was the last.
    pub(super) fn perform(&mut self, outputs: Vec<Output>) -> Option<ExitReason> {
        let mut finished = None;
        for output in outputs {
            match output {
                Output::Start { key, generation } => self.start(key, generation),
                Output::Stop { key } => self.signal(key, Signal::stop),
                Output::Kill { key } => self.signal(key, Signal::kill),
                Output::Report { key, transition } => self.report(key, transition),
                Output::Close { key, state, exit } => self.close(key, state, &exit),
                Output::Forget { key } => self.forget(key),
                Output::Ready => self.life.ready(),
                Output::Finished(exit) => finished = Some(exit),
            }
        }
        finished
    }

    fn start(&mut self, key: Key, generation: u64) {
        let Some(hand) = self.hands.get_mut(&key) else {
            return;
        };
        hand.generation = generation;
        let registry = self.life.registry().clone();
        let reporter = Reporter::Loop(self.events.clone(), key);
        let ack = hand.child.spec.ack;
        let life = Life::new(Arc::clone(&hand.node), registry, generation, ack, reporter);
        hand.node.begin(generation, Arc::clone(life.pulse()));
        hand.signal = Some(Arc::clone(life.signal()));
        hand.child.body.reopen();
        let body = Arc::clone(&hand.child.body);
        let arbiter = hand.child.spec.arbiter.clone();
        self.told(key, Transition::Starting);
        boundary::spawn(body, life, arbiter.as_ref());
    }

    fn signal(&self, key: Key, order: impl FnOnce(&Signal)) {
        if let Some(signal) = self.hands.get(&key).and_then(|hand| hand.signal.as_ref()) {
            order(signal);
        }
    }

    fn report(&mut self, key: Key, transition: Transition) {
        let Some(hand) = self.hands.get_mut(&key) else {
            return;
        };
        let registry = self.life.registry();
        match &transition {
            Transition::Starting => {}
            Transition::Ready => hand.node.enter(NodeState::Running),
            Transition::Stopping => hand.node.enter(NodeState::Stopping),
            Transition::Restarting { exit, .. } => hand.ended(registry, exit, NodeState::Restarting),
            Transition::Parked { exit, state } => hand.ended(registry, exit, *state),
            Transition::Stopped { exit: exit @ ExitReason::Stuck } => hand.ended(registry, exit, NodeState::Stuck),
            Transition::Stopped { exit } => hand.ended(registry, exit, NodeState::Stopped),
        }
        self.told(key, transition);
    }

    /// The change is in the node; now the readers, the observer and the log.
    fn told(&self, key: Key, transition: Transition) {
        self.life.registry().changed();
        let Some(hand) = self.hands.get(&key) else {
            return;
        };
        log(&hand.node, hand.generation, &transition);
        let Some(observer) = &self.observer else {
            return;
        };
        let event =
            ChildEvent { path: hand.node.path.clone(), id: hand.id.clone(), generation: hand.generation, transition };
        if catch_unwind(AssertUnwindSafe(|| observer.on(&event))).is_err() {
            tracing::error!(node = %event.path, "an observer panicked");
        }
    }

    fn close(&self, key: Key, state: NodeState, exit: &ExitReason) {
        if let Some(hand) = self.hands.get(&key) {
            hand.child.body.close(state, exit);
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(hand) = self.hands.remove(&key) {
            self.life.registry().leave(&hand.node);
        }
    }
}

impl Hand {
    fn ended(&mut self, registry: &Registry, exit: &ExitReason, state: NodeState) {
        match self.signal.take() {
            Some(_) => registry.ended(&self.node, exit, state),
            // It had ended before, and now nobody starts it again.
            None => self.node.end(exit, state),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let mut killed = false;
        for hand in self.hands.values_mut() {
            if let Some(signal) = hand.signal.take() {
                signal.kill();
                self.life.registry().ended(&hand.node, &ExitReason::Killed, NodeState::Stopped);
                killed = true;
            }
            if !self.fixed {
                self.life.registry().leave(&hand.node);
            }
        }
        if killed {
            tracing::error!(node = %self.life.path(), "a supervisor ended without order, its children are killed");
            self.life.registry().changed();
        }
    }
}

fn log(node: &Node, generation: u64, transition: &Transition) {
    let path = &node.path;
    match transition {
        Transition::Starting => tracing::debug!(node = %path, generation, "starting"),
        Transition::Ready => tracing::debug!(node = %path, generation, "ready"),
        Transition::Stopping => tracing::debug!(node = %path, generation, "stopping"),
        Transition::Stopped { exit } => tracing::debug!(node = %path, generation, %exit, "stopped"),
        Transition::Restarting { exit, delay } => {
            tracing::warn!(node = %path, generation, %exit, ?delay, "restarting");
        }
        Transition::Parked { exit, state } => {
            tracing::error!(node = %path, generation, %exit, %state, "failed too often, parked");
        }
    }
}
