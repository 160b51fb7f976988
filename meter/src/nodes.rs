//! The supervision tree in numbers: how many nodes of which kind are in which state, and how incarnations ended.
//!
//! Never by path. Kinds and states that are not in the lists here are counted as [`OTHER`], so that not even another
//! program's tree (a runner's, as it comes over its link) can make series without end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use metrics::Gauge;
use supervision::{NodeView, Registry};

use super::exposition::Exposition;
use super::family::Family;
use super::number;

/// Every kind that a specification of ours names.
pub const NODE_KINDS: &[&str] = &[
    "calls",
    "drain",
    "dynamic",
    "health",
    "http",
    "instance",
    "journal",
    "link",
    "links",
    "listener",
    "mcp",
    "mesh",
    "orphan",
    "peer",
    "prepare",
    "presence",
    "process",
    "runner",
    "service",
    "services",
    "set",
    "store",
    "supervisor",
    "watch",
];
/// Every state and condition that a node of ours can show.
pub const NODE_STATES: &[&str] = &[
    "starting",
    "running",
    "restarting",
    "stopping",
    "stopped",
    "crashed",
    "failed",
    "stuck",
    "unreachable",
    "degraded",
    "handshake",
    "queued",
    "building",
    "draining",
];
/// What is in neither list.
pub const OTHER: &str = "other";

type Place = (&'static str, &'static str);

/// The nodes of one tree, in series that differ by kind and state.
pub struct Nodes {
    family: Family,
    /// The value of the family's first label, when it has one before kind and state.
    of: Option<String>,
    /// Those that were ever seen, at most the product of both lists: what is gone is shown as 0.
    shown: Mutex<BTreeMap<Place, Gauge>>,
}

impl Nodes {
    /// For `family`, whose labels are kind and state, after one for `of` where that is given.
    #[must_use]
    pub fn new(family: Family, of: Option<String>) -> Self {
        Self { family, of, shown: Mutex::default() }
    }

    /// Counts these nodes and all below them that `enter` lets in: not below a node for which it is false.
    pub fn show<'a>(
        &self,
        exposition: &Exposition,
        roots: impl IntoIterator<Item = &'a NodeView>,
        enter: impl Fn(&NodeView) -> bool,
    ) {
        let mut counts: BTreeMap<Place, usize> = BTreeMap::new();
        let mut left: Vec<&NodeView> = roots.into_iter().collect();
        while let Some(node) = left.pop() {
            *counts.entry((known(NODE_KINDS, &node.kind), known(NODE_STATES, &node.state))).or_default() += 1;
            if enter(node) {
                left.extend(&node.children);
            }
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for place in counts.keys() {
            shown.entry(*place).or_insert_with(|| self.gauge(exposition, *place));
        }
        for (place, gauge) in shown.iter() {
            gauge.set(number(counts.get(place).copied().unwrap_or_default()));
        }
    }

    fn gauge(&self, exposition: &Exposition, (kind, state): Place) -> Gauge {
        match &self.of {
            Some(of) => exposition.gauge(&self.family, &[of, kind, state]),
            None => exposition.gauge(&self.family, &[kind, state]),
        }
    }
}

fn known(list: &[&'static str], word: &str) -> &'static str {
    list.iter().find(|known| **known == word).copied().unwrap_or(OTHER)
}

/// Restarts and exits since the registry is there, by kind; exits by the class of their reason too.
pub struct Endings {
    /// Labels: kind.
    pub restarts: Family,
    /// Labels: kind, reason.
    pub exits: Family,
}

impl Endings {
    /// Brings the counters up to what the registry has counted.
    pub fn show(&self, exposition: &Exposition, registry: &Registry) {
        let tally = registry.tally();
        for (kind, restarts) in &tally.restarts {
            exposition.counter(&self.restarts, &[kind]).absolute(*restarts);
        }
        for ((kind, reason), exits) in &tally.exits {
            exposition.counter(&self.exits, &[kind, reason]).absolute(*exits);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Kind;
    use supervision::Restarts;

    const NODES: Family = Family { name: "nodes", kind: Kind::Gauge, labels: &["kind", "state"], help: "Nodes." };

    fn node(kind: &str, state: &str, children: Vec<NodeView>) -> NodeView {
        NodeView {
            id: "meshes/secret-project".to_owned(),
            kind: kind.to_owned(),
            state: state.to_owned(),
            since_ms: 0,
            restarts: Restarts::default(),
            last_exit: None,
            queue: 0,
            facts: BTreeMap::new(),
            children,
        }
    }

    #[test]
    fn nodes_are_counted_by_kind_and_state_and_never_named() {
        let exposition = Exposition::new([&NODES]).unwrap();
        let nodes = Nodes::new(NODES, None);
        let grafted = node("process", "running", Vec::new());
        let tree = |state| {
            let link = node("link", "running", vec![grafted.clone()]);
            node("supervisor", "running", vec![node("store", state, Vec::new()), link])
        };
        let outside = |node: &NodeView| node.kind != "link";
        nodes.show(&exposition, [&tree("degraded")], outside);
        nodes.show(&exposition, [&tree("running")], outside);
        let page = exposition.page();
        for line in [
            r#"nodes{kind="store",state="degraded"} 0"#,
            r#"nodes{kind="store",state="running"} 1"#,
            r#"nodes{kind="supervisor",state="running"} 1"#,
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line} is not in\n{page}");
        }
        assert!(!page.contains("process") && !page.contains("secret"), "{page}");
    }

    #[test]
    fn what_nobody_knows_is_one_series() {
        let exposition = Exposition::new([&NODES]).unwrap();
        let nodes = Nodes::new(NODES, None);
        for n in 0..1_000 {
            nodes.show(&exposition, [&node(&format!("k{n}"), &format!("s{n}"), Vec::new())], |_| true);
        }
        let page = exposition.page();
        let series: Vec<_> = page.lines().filter(|line| line.starts_with("nodes{")).collect();
        assert_eq!(series, [r#"nodes{kind="other",state="other"} 1"#]);
    }
}
