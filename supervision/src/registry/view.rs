//! What operators and other processes see of the tree: plain data that serialises.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One node and what stands below it, as it was when the view was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The full path of the node.
    pub id: String,
    /// The word its specification gives for what it is.
    pub kind: String,
    /// A [`NodeState`](crate::NodeState) in small letters, or the condition a running child set for itself.
    pub state: String,
    /// When it came into this state, in milliseconds of Unix time.
    pub since_ms: u64,
    /// How often it was restarted.
    pub restarts: Restarts,
    /// How its last incarnation ended; `None` while the first one lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// How many messages wait in its mailbox.
    pub queue: u64,
    /// What it tells about itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// The nodes below it: of a supervisor in start order, then the grafted ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<NodeView>,
}

/// How often a node was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Restarts {
    /// Within the window of the intensity that judges it.
    pub window: u32,
    /// Since the node is there.
    pub total: u64,
}

/// How and when an incarnation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastExit {
    /// The reason, on one line.
    pub reason: String,
    /// When, in milliseconds of Unix time.
    pub at_ms: u64,
}

/// The whole tree. It shows every change up to number `seq`, and possibly later ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The number of the last change that is surely in it.
    pub seq: u64,
    /// When it was taken, in milliseconds of Unix time.
    pub at_ms: u64,
    /// The roots, in the order they were started.
    pub roots: Vec<NodeView>,
}

impl NodeView {
    /// The last id of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.rsplit_once('/').map_or(&self.id, |(_, name)| name)
    }

    /// The node with this full path, in this view or below it.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<&Self> {
        if self.id == path {
            return Some(self);
        }
        find_in(&self.children, path)
    }

    /// A copy of the node, and of `depth` levels below it.
    pub(crate) fn to_depth(&self, depth: usize) -> Self {
        let below = |rest| self.children.iter().map(|child| child.to_depth(rest)).collect();
        Self {
            id: self.id.clone(),
            kind: self.kind.clone(),
            state: self.state.clone(),
            since_ms: self.since_ms,
            restarts: self.restarts,
            last_exit: self.last_exit.clone(),
            queue: self.queue,
            facts: self.facts.clone(),
            children: depth.checked_sub(1).map_or_else(Vec::new, below),
        }
    }

    /// The view without anything deeper than `depth` levels below this node.
    #[must_use]
    pub fn pruned(mut self, depth: usize) -> Self {
        match depth.checked_sub(1) {
            None => self.children.clear(),
            Some(rest) => {
                self.children = self.children.into_iter().map(|c| c.pruned(rest)).collect();
            }
        }
        self
    }

    /// Puts the node and everything below it under another path.
    pub(crate) fn rooted_at(mut self, path: &str) -> Self {
        self.children = self.children.into_iter().map(|c| c.rooted_at(path)).collect();
        self.id = format!("{path}/{}", self.id);
        self
    }
}

/// The node with this full path, among `nodes` or below them. Those that it should be below are looked through first:
/// the others may be thousands.
pub(super) fn find_in<'a>(nodes: &'a [NodeView], path: &str) -> Option<&'a NodeView> {
    let is_above = |node: &&NodeView| {
        let rest = path.strip_prefix(node.id.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let likely = nodes.iter().filter(is_above);
    // A root does not repeat its name in the paths below it, so a foreign root may have anything below.
    let others = nodes.iter().filter(|node| !is_above(node));
    likely.chain(others).find_map(|node| node.find(path))
}
