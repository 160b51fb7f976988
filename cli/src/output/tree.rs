//! The supervision tree as a person reads it: one node a line, branches drawn, columns aligned.
//!
//! Pure: a [`TreeDocument`] in, text out; ages are counted from the document's own clock, so a reader whose clock is
//! wrong sees right ages.

use serde::Deserialize;
use serde_json::Value;

use super::{Style, age};
use crate::text::Foreign;

/// The answer of `GET /tree`, as far as it is drawn. Unknown fields are ignored.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TreeDocument {
    /// Milliseconds since 1970 at which the snapshot was taken.
    #[serde(default)]
    pub(crate) at_ms: u64,
    /// The trees.
    #[serde(default)]
    pub(crate) roots: Vec<Node>,
}

/// One node.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Node {
    /// The full path.
    pub(crate) id: Foreign,
    #[serde(default)]
    kind: Foreign,
    #[serde(default)]
    state: Foreign,
    #[serde(default)]
    since_ms: u64,
    #[serde(default)]
    restarts: Restarts,
    #[serde(default)]
    last_exit: Option<LastExit>,
    #[serde(default)]
    queue: Value,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
struct Restarts {
    #[serde(default)]
    window: u64,
    #[serde(default)]
    total: u64,
}

#[derive(Debug, Deserialize)]
struct LastExit {
    reason: Foreign,
    #[serde(default)]
    at_ms: u64,
}

/// One line before alignment.
struct Row {
    name: String,
    kind: String,
    state: String,
    since: String,
    restarts: String,
    queue: String,
    last_exit: String,
}

/// The headings, in the order of [`Row::cells`].
const HEADINGS: [&str; 7] = ["NODE", "KIND", "STATE", "SINCE", "RESTARTS", "QUEUE", "LAST EXIT"];

/// Spaces between two columns.
const COLUMN_GAP: usize = 2;

/// Which cell holds the state, and so the colour.
const STATE_COLUMN: usize = 2;

impl Row {
    fn cells(&self) -> [&str; 7] {
        [&self.name, &self.kind, &self.state, &self.since, &self.restarts, &self.queue, &self.last_exit]
    }
}

/// Draws the tree, at most `depth` levels of it.
pub(crate) fn render(style: Style, document: &TreeDocument, depth: Option<u32>) -> String {
    let mut rows = Vec::new();
    for root in &document.roots {
        // A root keeps its full path: it may be a subtree that was asked for.
        rows.push(row(root, root.id.line(), document.at_ms));
        collect(root, "", depth.unwrap_or(u32::MAX), document.at_ms, &mut rows);
    }
    let widths = widths(&rows);
    let heading = lay_out(&HEADINGS, &widths, |_, cell| style.dim(cell));
    let lines = rows.iter().map(|row| {
        lay_out(&row.cells(), &widths, |column, cell| {
            if column == STATE_COLUMN { style.state(&row.state, cell) } else { cell.to_owned() }
        })
    });
    std::iter::once(heading).chain(lines).collect::<Vec<_>>().join("\n")
}

fn collect(node: &Node, indent: &str, depth: u32, now_ms: u64, rows: &mut Vec<Row>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    let last = node.children.len().saturating_sub(1);
    for (position, child) in node.children.iter().enumerate() {
        let (branch, below) = if position == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let name = format!("{indent}{branch}{}", own_name(node, child));
        rows.push(row(child, name, now_ms));
        collect(child, &format!("{indent}{below}"), depth, now_ms, rows);
    }
}

/// A child's name below its parent: the full path without the parent's.
fn own_name(parent: &Node, child: &Node) -> String {
    let parent = parent.id.line();
    let child = child.id.line();
    child.strip_prefix(&parent).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned).unwrap_or(child)
}

fn row(node: &Node, name: String, now_ms: u64) -> Row {
    let Restarts { window, total } = node.restarts;
    Row {
        name,
        kind: node.kind.line(),
        state: node.state.line(),
        since: age::since(now_ms, node.since_ms),
        restarts: if total == 0 { String::new() } else { format!("{window}/{total}") },
        queue: match node.queue.as_u64() {
            None | Some(0) => String::new(),
            Some(waiting) => waiting.to_string(),
        },
        last_exit: node.last_exit.as_ref().map_or_else(String::new, |exit| {
            format!("{} ({} ago)", exit.reason.line(), age::since(now_ms, exit.at_ms))
        }),
    }
}

fn widths(rows: &[Row]) -> [usize; 7] {
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row.cells()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

fn lay_out(cells: &[&str; 7], widths: &[usize; 7], paint: impl Fn(usize, &str) -> String) -> String {
    let mut line = String::new();
    let mut padding = 0;
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        // Padding is written before the next cell that has something in it, so that no line ends in spaces.
        if !cell.is_empty() {
            line.extend(std::iter::repeat_n(' ', padding));
            line.push_str(&paint(column, cell));
            padding = 0;
        }
        padding += width - cell.chars().count().min(*width) + COLUMN_GAP;
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;

    fn sample() -> TreeDocument {
        const NOW: u64 = 1_700_000_000_000;
        serde_json::from_value(json!({
            "seq": 7, "at_ms": NOW,
            "roots": [{
                "id": "broker", "kind": "supervisor", "state": "running", "since_ms": NOW - 60_000,
                "restarts": {"window": 0, "total": 0}, "last_exit": null, "queue": 0, "facts": {}, "children": [
                    {"id": "broker/store", "kind": "store", "state": "running", "since_ms": NOW - 60_000,
                     "restarts": {"window": 0, "total": 0}, "last_exit": null, "queue": 3, "facts": {}, "children": []},
                    {"id": "meshes", "kind": "dynamic", "state": "running", "since_ms": NOW - 60_000,
                     "restarts": {"window": 0, "total": 0}, "last_exit": null, "queue": null, "facts": {}, "children": [
                        {"id": "meshes/evil\u{1b}[2J", "kind": "mesh", "state": "crashed", "since_ms": NOW - 5_000,
                         "restarts": {"window": 6, "total": 9},
                         "last_exit": {"reason": "panic:\nboom", "at_ms": NOW - 5_000}, "queue": 0, "facts": {}, "children": []}
                    ]}
                ]
            }]
        }))
        .unwrap()
    }

    #[test]
    fn a_tree_is_drawn() {
        assert_eq!(
            render(Style::default(), &sample(), None),
            "\
NODE        KIND        STATE    SINCE  RESTARTS  QUEUE  LAST EXIT
broker      supervisor  running  1m
├─ store    store       running  1m               3
└─ meshes   dynamic     running  1m
   └─ evil  mesh        crashed  5s     6/9              panic: boom (5s ago)"
        );
    }

    #[test]
    fn depth_counts_levels_below_the_root() {
        let names = |depth| render(Style::default(), &sample(), Some(depth)).lines().count() - 1;
        assert_eq!(names(0), 1);
        assert_eq!(names(1), 3);
        assert_eq!(names(2), 4);
    }

    #[test]
    fn only_the_state_is_coloured() {
        let shown = render(Style::coloured(), &sample(), None);
        assert!(shown.contains("\u{1b}[31mcrashed\u{1b}[0m"), "{shown:?}");
        assert!(!shown.contains("\u{1b}[2J"), "{shown:?}");
    }
}
