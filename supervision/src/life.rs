//! What one incarnation of a child knows about itself, and says about itself.
//!
//! A `Life` belongs to one incarnation. What an incarnation says after its end changes nothing.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::Value;

use crate::{
    Ack, ExitReason, NodePath, Registry,
    pulse::Pulse,
    registry::Node,
    run::Reporter,
    sync::{Signal, lock},
};

/// Tells incarnations apart, over all children of the process.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// One incarnation of a child, as seen from inside. Cheap to clone.
#[derive(Clone)]
pub struct Life(Arc<Inner>);

struct Inner {
    node: Arc<Node>,
    registry: Registry,
    generation: u64,
    serial: u64,
    ack: Ack,
    reporter: Reporter,
    signal: Arc<Signal>,
    pulse: Arc<Pulse>,
    exit: Mutex<Option<ExitReason>>,
    is_ready: AtomicBool,
    on_ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Life {
    pub(crate) fn new(node: Arc<Node>, registry: Registry, generation: u64, ack: Ack, reporter: Reporter) -> Self {
        Self(Arc::new(Inner {
            node,
            registry,
            generation,
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            ack,
            reporter,
            signal: Arc::default(),
            pulse: Arc::default(),
            exit: Mutex::default(),
            is_ready: AtomicBool::new(false),
            on_ready: Mutex::default(),
        }))
    }

    /// Where the child stands in the tree.
    #[must_use]
    pub fn path(&self) -> &NodePath {
        &self.0.node.path
    }

    /// Which incarnation of the child this is; the first one is 1, and each later one has a higher number.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The registry the child is shown in.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// The child is ready: callers reach it from now on, and the next sibling may start.
    /// Only the first call counts.
    pub fn ready(&self) {
        // One that was blocked while it was killed comes too late.
        if self.0.signal.is_killed() || self.0.is_ready.swap(true, Ordering::AcqRel) {
            return;
        }
        let open = lock(&self.0.on_ready).take();
        if let Some(open) = open {
            open();
        }
        self.0.reporter.ready(self.0.generation);
    }

    /// The reason that is reported when this incarnation ends. An actor calls `ctx.stop()` after it;
    /// a task returns its reason instead. The first reason given counts.
    pub fn exit(&self, reason: ExitReason) {
        lock(&self.0.exit).get_or_insert(reason);
    }

    /// What is shown in place of `running`, such as `draining`; `None` shows `running` again.
    pub fn condition<C: Into<Cow<'static, str>>>(&self, condition: Option<C>) {
        let condition = condition.map(Into::into);
        if self.0.node.set_condition(self.0.generation, condition) {
            self.0.registry.changed();
        }
    }

    /// Shows a fact with the node, until the incarnation after this one begins.
    /// At most [`MAX_FACTS`](crate::MAX_FACTS) of them.
    pub fn fact(&self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let value = Some(value.into());
        if self.0.node.set_fact(self.0.generation, key.into(), value) {
            self.0.registry.changed();
        }
    }

    /// Takes a fact away.
    pub fn clear_fact(&self, key: &str) {
        let key = Cow::Owned(key.to_owned());
        if self.0.node.set_fact(self.0.generation, key, None) {
            self.0.registry.changed();
        }
    }

    /// Returns when the child is asked to stop. For tasks; an actor is told by
    /// [`Supervised::stop_requested`](crate::Supervised::stop_requested).
    pub async fn stopping(&self) {
        self.0.signal.stopping().await;
    }

    /// Whether the child was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.signal.is_stopping()
    }

    pub(crate) fn serial(&self) -> u64 {
        self.0.serial
    }

    pub(crate) fn ack(&self) -> Ack {
        self.0.ack
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.0.signal
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.0.pulse
    }

    /// `open` runs when the child becomes ready.
    pub(crate) fn on_ready(&self, open: impl FnOnce() + Send + 'static) {
        *lock(&self.0.on_ready) = Some(Box::new(open));
    }

    /// How an actor that ended by itself ended.
    pub(crate) fn own_exit(&self) -> ExitReason {
        let quiet = if self.is_stopping() { ExitReason::Shutdown } else { ExitReason::Normal };
        lock(&self.0.exit).take().unwrap_or(quiet)
    }

    pub(crate) fn ended(&self, exit: ExitReason) {
        // Breaks the cycle life -> hook -> slot -> address -> life.
        drop(lock(&self.0.on_ready).take());
        self.0.reporter.down(self.0.generation, exit);
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Life({}#{})", self.path(), self.generation())
    }
}
