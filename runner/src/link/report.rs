//! Reports: everything once, then every change, in frames that fit.
//!
//! Contract: the first change of a calm time is told at once, further ones at most every [`REPORT_EVERY`]. A report whose
//! tool lists do not fit into one frame goes without them, and they follow in reports of their own.

use std::time::Duration;

use protocol::link::{Header, Report, ServiceReport};
use serde_json::value::RawValue;
use supervision::NodeView;
use tokio::time::sleep;

use super::Desk;
use super::hello::NO_BODY;
use super::port::Port;

/// The shortest time between two reports.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(5);
/// What a report may weigh, well below what a header may be.
const REPORT_BYTES: usize = 1_024 * 1_024;
/// What surrounds a service's tools in a report, roughly: names, words, log lines.
const SERVICE_BYTES: usize = 1_024;
/// Levels of the tree that are shown when all of it does not fit: the root, the sets, their members.
const SHORT_TREE_DEPTH: usize = 3;

/// Reports to one session, for ever.
pub(super) async fn report(desk: &Desk, port: &Port) {
    let mut changes = desk.directory.board().changes();
    let mut tree = desk.registry.changes();
    let mut reporter = Reporter::default();
    let mut is_new_tree = true;
    loop {
        // Before the looks: what changes during them is told next time.
        changes.mark_unchanged();
        tree.mark_unchanged();
        reporter.tell(desk, port, is_new_tree);
        sleep(REPORT_EVERY).await;
        // Both senders live as long as the runner.
        is_new_tree = tokio::select! {
            _ = changes.changed() => tree.has_changed().unwrap_or(false),
            _ = tree.changed() => true,
        };
    }
}

#[derive(Default)]
struct Reporter {
    seq: u64,
    told: Option<u64>,
}

impl Reporter {
    fn tell(&mut self, desk: &Desk, port: &Port, is_new_tree: bool) {
        let changes = desk.directory.changes_since(self.told);
        self.told = Some(changes.number);
        let mut parts = split(changes.services, changes.is_complete).into_iter();
        let first = parts.next().unwrap_or_default();
        let mut tree = is_new_tree.then(|| tree(desk)).flatten();
        // Together where they fit, so that whoever reads sees one moment; else the tree goes ahead.
        let bytes = tree.as_ref().map_or(0, |tree| tree.get().len()) + first.iter().map(weight).sum::<usize>();
        if bytes > REPORT_BYTES && !changes.is_complete {
            self.send(port, false, Vec::new(), tree.take());
        }
        let late = if changes.is_complete && bytes > REPORT_BYTES { tree.take() } else { None };
        if changes.is_complete || !first.is_empty() || tree.is_some() {
            self.send(port, changes.is_complete, first, tree);
        }
        for services in parts {
            self.send(port, false, services, None);
        }
        if late.is_some() {
            // Nothing counts before the complete report.
            self.send(port, false, Vec::new(), late);
        }
    }

    fn send(&mut self, port: &Port, complete: bool, services: Vec<ServiceReport>, tree: Option<Box<RawValue>>) {
        self.seq += 1;
        port.send(&Header::Report(Report { seq: self.seq, complete, services, tree }), NO_BODY);
    }
}

/// Groups of reports of which each fits; the first of a complete one names every service.
fn split(mut services: Vec<ServiceReport>, is_complete: bool) -> Vec<Vec<ServiceReport>> {
    if services.iter().map(weight).sum::<usize>() <= REPORT_BYTES {
        return vec![services];
    }
    let mut groups = Vec::new();
    if is_complete {
        let bare = services.iter_mut().map(|service| ServiceReport { tools: None, ..service.clone() });
        groups.push(bare.collect());
        services.retain(|service| service.tools.is_some());
    }
    let mut group = Vec::new();
    let mut bytes = 0;
    for service in services {
        let more = weight(&service);
        if bytes + more > REPORT_BYTES && !group.is_empty() {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += more;
        group.push(service);
    }
    groups.push(group);
    groups
}

fn weight(service: &ServiceReport) -> usize {
    let tools = service.tools.iter().flatten().map(|tool| {
        let extra: usize = tool.extra.iter().map(|(name, value)| name.len() + value.get().len()).sum();
        tool.name.len() + tool.description.as_ref().map_or(0, String::len) + tool.input_schema.get().len() + extra
    });
    let log = service.failure.iter().flat_map(|failure| &failure.log).map(String::len);
    SERVICE_BYTES + tools.sum::<usize>() + log.sum::<usize>()
}

fn tree(desk: &Desk) -> Option<Box<RawValue>> {
    let mut roots = desk.registry.snapshot().roots;
    let mut text = serde_json::to_string(&roots).ok()?;
    if text.len() > REPORT_BYTES {
        roots.iter_mut().for_each(|root| cut(root, SHORT_TREE_DEPTH));
        text = serde_json::to_string(&roots).ok()?;
    }
    // Even so it may not fit; then the last one stays, and a person can ask `/tree`.
    (text.len() <= REPORT_BYTES).then(|| RawValue::from_string(text).ok()).flatten()
}

fn cut(node: &mut NodeView, depth: usize) {
    match depth.checked_sub(1) {
        Some(below) if below > 0 => node.children.iter_mut().for_each(|child| cut(child, below)),
        _ => node.children.clear(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn service(name: &str, schema_bytes: usize) -> ServiceReport {
        let schema = format!("\"{}\"", "x".repeat(schema_bytes));
        let report = serde_json::json!({
            "mesh": "m", "service": name, "deployment": "d", "state": "running", "since_ms": 0, "cause": "",
            "restarts_window": 0, "restarts_total": 0,
            "tools": [{ "name": "t", "inputSchema": serde_json::from_str::<serde_json::Value>(&schema).unwrap() }],
        });
        serde_json::from_value(report).unwrap()
    }

    fn shape(groups: &[Vec<ServiceReport>]) -> Vec<Vec<(String, bool)>> {
        let one = |service: &ServiceReport| (service.service.clone(), service.tools.is_some());
        groups.iter().map(|group| group.iter().map(one).collect()).collect()
    }

    #[test]
    fn what_fits_is_one_report() {
        let groups = split(vec![service("a", 100), service("b", 100)], true);
        assert_eq!(shape(&groups), [[("a".to_owned(), true), ("b".to_owned(), true)]]);
        assert_eq!(split(Vec::new(), true).len(), 1);
    }

    #[test]
    fn what_does_not_fit_names_every_service_first() {
        let large = REPORT_BYTES - 3 * SERVICE_BYTES;
        let groups = split(vec![service("a", large), service("b", large), service("c", 10)], true);
        let named = |name: &str, with: bool| (name.to_owned(), with);
        assert_eq!(
            shape(&groups),
            [
                vec![named("a", false), named("b", false), named("c", false)],
                vec![named("a", true)],
                vec![named("b", true), named("c", true)],
            ]
        );
    }
}
