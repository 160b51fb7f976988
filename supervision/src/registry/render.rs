//! The tree as text, for people.

use std::fmt;

use super::{NodeView, Snapshot};
use crate::outline::{Line, draw};

/// One line for each node: name, kind, state, and what is out of the ordinary. Times are left out, so that
/// two prints of the same state are equal.
impl fmt::Display for NodeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&draw(&[line(self)]))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.roots.iter().map(line).collect();
        f.write_str(&draw(&lines))
    }
}

fn line(node: &NodeView) -> Line {
    let mut text = format!("{}  {}", node.kind, node.state);
    if node.restarts.total > 0 {
        text += &format!("  restarts {}", node.restarts.total);
    }
    if node.queue > 0 {
        text += &format!("  queue {}", node.queue);
    }
    if let Some(exit) = &node.last_exit {
        text += &format!("  last exit: {}", exit.reason);
    }
    for (key, value) in &node.facts {
        text += &format!("  {key}={value}");
    }
    Line { name: node.name().to_owned(), text, below: node.children.iter().map(line).collect() }
}
