//! The tree as operators see it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// `GET /tree`.
#[derive(Debug, Clone, Deserialize)]
pub struct Tree {
    /// Which snapshot this is; it never falls.
    pub seq: u64,
    /// The top nodes.
    pub roots: Vec<Node>,
}

/// One node of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its full path.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// How it is.
    pub state: String,
    /// Its restarts.
    pub restarts: Restarts,
    /// What ended it last.
    pub last_exit: Option<LastExit>,
    /// What else it says of itself.
    #[serde(default)]
    pub facts: BTreeMap<String, Value>,
    /// Its children, in start order.
    #[serde(default)]
    pub children: Vec<Node>,
}

/// How often a node was restarted.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Restarts {
    /// Within the window that counts.
    pub window: u32,
    /// In all.
    pub total: u64,
}

/// How a node ended last.
#[derive(Debug, Clone, Deserialize)]
pub struct LastExit {
    /// Why, in words.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Tree {
    /// Every node, parents before children.
    #[must_use]
    pub fn nodes(&self) -> Vec<&Node> {
        let mut found = Vec::new();
        let mut open: Vec<&Node> = self.roots.iter().rev().collect();
        while let Some(node) = open.pop() {
            found.push(node);
            open.extend(node.children.iter().rev());
        }
        found
    }

    /// The node with exactly this path.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes().into_iter().find(|node| node.id == id)
    }

    /// The nodes of one kind.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Vec<&Node> {
        self.nodes().into_iter().filter(|node| node.kind == kind).collect()
    }

    /// The runner's node of a service: kind `service`, named `<mesh>:<service>@<deployment>` in its own path segment.
    #[must_use]
    pub fn runner_service(&self, service: &str) -> Option<&Node> {
        let mark = format!(":{service}@");
        self.nodes().into_iter().find(|node| node.id.rsplit('/').next().is_some_and(|name| name.contains(&mark)))
    }

    /// The node of a service's process.
    #[must_use]
    pub fn process(&self, service: &str) -> Option<&Node> {
        let mark = format!(":{service}@");
        self.of_kind("process").into_iter().find(|node| node.id.contains(&mark))
    }

    /// The pid of a service's process, as the tree says it.
    #[must_use]
    pub fn pid(&self, service: &str) -> Option<u32> {
        self.process(service)?.number("pid")
    }

    /// A drawing for failure messages.
    #[must_use]
    pub fn drawing(&self) -> String {
        self.nodes()
            .into_iter()
            .map(|node| {
                let depth = node.id.matches('/').count();
                let exit = node.last_exit.as_ref().map(|exit| format!("  last exit: {}", exit.reason));
                format!(
                    "{:indent$}{} [{}] {} restarts {}/{}{}  {}\n",
                    "",
                    node.id,
                    node.kind,
                    node.state,
                    node.restarts.window,
                    node.restarts.total,
                    exit.unwrap_or_default(),
                    Value::from_iter(node.facts.clone()),
                    indent = depth * 2,
                )
            })
            .collect()
    }
}

impl Node {
    /// A fact that is a number.
    #[must_use]
    pub fn number(&self, fact: &str) -> Option<u32> {
        u32::try_from(self.facts.get(fact)?.as_u64()?).ok()
    }
}
