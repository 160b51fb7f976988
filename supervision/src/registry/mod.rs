//! The registry: the one place that knows the tree as it runs.
//!
//! Supervisors enter their children and report every change; everybody else reads. A change is a short lock on
//! one node; reading is O(nodes read). Nodes that are removed vanish, with everything below them.

mod node;
mod render;
mod tally;
mod view;
mod watchdog;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

pub use node::{MAX_FACTS, NodeState};
pub(crate) use node::{Node, Traits};
pub use tally::Tally;
pub use view::{LastExit, NodeView, Restarts, Snapshot};
pub use watchdog::{Watchdog, WatchdogConfig};

use crate::{ChildId, ExitReason, NodePath, sync::lock};

/// Where no limit of depth is meant. No tree is that deep.
const ALL: usize = usize::MAX;

/// Milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// The tree as it runs. Cheap to clone; all clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    sequence: watch::Sender<u64>,
    order: AtomicU64,
    roots: Mutex<BTreeMap<u64, Arc<Node>>>,
    index: RwLock<HashMap<Arc<str>, Arc<Node>>>,
    tally: Mutex<Tally>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry. One is enough for a process; paths are unique in it.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            sequence: watch::Sender::new(0),
            order: AtomicU64::new(0),
            roots: Mutex::default(),
            index: RwLock::default(),
            tally: Mutex::default(),
        }))
    }

    /// The whole tree.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let seq = *self.0.sequence.borrow();
        let roots: Vec<_> = lock(&self.0.roots).values().cloned().collect();
        Snapshot { seq, at_ms: unix_ms(), roots: roots.iter().map(|root| root.view(ALL)).collect() }
    }

    /// The node at `path` with `depth` levels below it; 0 is the node alone. Grafted nodes are found too.
    #[must_use]
    pub fn view(&self, path: &str, depth: usize) -> Option<NodeView> {
        if let Some(node) = self.find(path) {
            return Some(node.view(depth));
        }
        let mut above = path;
        while let Some((shorter, _)) = above.rsplit_once('/') {
            if let Some(node) = self.find(shorter) {
                return node.grafted(path, depth);
            }
            above = shorter;
        }
        None
    }

    /// The number of the last change; the receiver is woken at each.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.sequence.subscribe()
    }

    /// Shows foreign nodes under the node at `path`, in place of what was grafted there before.
    /// Their ids become paths below it. Whether there is such a node.
    pub fn graft(&self, path: &NodePath, nodes: Vec<NodeView>) -> bool {
        let rooted = nodes.into_iter().map(|n| n.rooted_at(path.as_str())).collect();
        self.set_grafts(path, rooted)
    }

    /// Takes away what was grafted under `path`. Whether there is such a node.
    pub fn ungraft(&self, path: &NodePath) -> bool {
        self.set_grafts(path, Vec::new())
    }

    fn set_grafts(&self, path: &NodePath, grafts: Vec<NodeView>) -> bool {
        let node = self.find(path.as_str());
        if let Some(node) = &node {
            node.set_grafts(grafts);
            self.changed();
        }
        node.is_some()
    }

    /// Says what a supervisor's node amounts to, shown in place of "running" until its next incarnation: for whoever
    /// knows what the parts below it mean together. A child says it itself, through its [`Life`](crate::Life).
    /// Whether there is such a node.
    pub fn condition<C: Into<Cow<'static, str>>>(&self, path: &NodePath, condition: Option<C>) -> bool {
        let node = self.find(path.as_str());
        if let Some(node) = &node
            && node.set_condition(node.generation(), condition.map(Into::into))
        {
            self.changed();
        }
        node.is_some()
    }

    /// How incarnations ended since the registry is there, without those of grafted nodes.
    #[must_use]
    pub fn tally(&self) -> Tally {
        lock(&self.0.tally).clone()
    }

    /// How many nodes there are, without grafted ones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.index.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn changed(&self) {
        self.0.sequence.send_modify(|seq| *seq = seq.wrapping_add(1));
    }

    /// An incarnation of `node` ended, and `node` is in `state` now.
    pub(crate) fn ended(&self, node: &Node, exit: &ExitReason, state: NodeState) {
        node.end(exit, state);
        lock(&self.0.tally).ended(node.traits.kind, exit, state);
    }

    fn find(&self, path: &str) -> Option<Arc<Node>> {
        let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
        index.get(path).cloned()
    }

    /// Copies the nodes that are there, so that the lock is not held while they are looked at.
    pub(crate) fn nodes(&self, into: &mut Vec<Arc<Node>>) {
        into.clear();
        let index = self.0.index.read().unwrap_or_else(PoisonError::into_inner);
        into.extend(index.values().cloned());
    }

    /// The node of a child; the one that is there already when its supervisor was restarted.
    pub(crate) fn enter(&self, parent: Option<&Arc<Node>>, id: &ChildId, traits: Traits) -> Arc<Node> {
        let path = parent.map_or_else(|| NodePath::top(id), |p| p.child_path(id));
        if let Some(node) = self.find(path.as_str()) {
            return node;
        }
        let order = self.0.order.fetch_add(1, Ordering::Relaxed);
        let above = parent.map_or_else(Weak::new, Arc::downgrade);
        let node = Arc::new(Node::new(path, above, parent.is_none(), order, traits));
        let siblings = parent.map_or(&self.0.roots, |p| &p.children);
        lock(siblings).insert(order, Arc::clone(&node));
        let mut index = self.0.index.write().unwrap_or_else(PoisonError::into_inner);
        index.insert(node.path.shared(), Arc::clone(&node));
        drop(index);
        self.changed();
        node
    }

    /// Removes a node and everything below it.
    pub(crate) fn leave(&self, node: &Arc<Node>) {
        match node.parent.upgrade() {
            Some(parent) => lock(&parent.children).remove(&node.order),
            None => lock(&self.0.roots).remove(&node.order),
        };
        self.unlist(node);
        self.changed();
    }

    fn unlist(&self, node: &Arc<Node>) {
        let below = std::mem::take(&mut *lock(&node.children));
        below.values().for_each(|child| self.unlist(child));
        let mut index = self.0.index.write().unwrap_or_else(PoisonError::into_inner);
        let same = |listed: &Arc<Node>| Arc::ptr_eq(listed, node);
        if index.get(node.path.as_str()).is_some_and(same) {
            index.remove(node.path.as_str());
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("nodes", &self.len()).finish_non_exhaustive()
    }
}
