//! Reports: everything once, then every change, in frames that fit.
//!
//! Contract: the first change of a calm time is told at once, further ones at most every [`REPORT_EVERY`]. A report whose
//! tool lists do not fit into one frame goes without them, and they follow in reports of their own.

use std::io;
use std::time::Duration;

use meter::Counter;
use protocol::link::{Failure, Header, Report, ServiceReport};
use serde_json::value::RawValue;
use supervision::NodeView;
use tokio::time::sleep;

use super::Desk;
use super::hello::NO_BODY;
use super::port::Port;
use crate::service::brief;

/// The shortest time between two reports.
pub(super) const REPORT_EVERY: Duration = Duration::from_millis(5);
/// What a report may weigh, well below what a header may be.
const REPORT_BYTES: usize = 1_024 * 1_024;
/// Of the words about a service in a report that names them all.
const WORDS_BYTES: usize = 128;
/// Levels of the tree that are shown when all of it does not fit: the root, the sets, their members.
const SHORT_TREE_DEPTH: usize = 3;

/// Reports to one session, for ever.
pub(super) async fn report(desk: &Desk, port: &Port) {
    let mut changes = desk.directory.board().changes();
    let mut tree = desk.registry.changes();
    let mut reporter = Reporter { seq: 0, told: None, reports: desk.metrics.links.reports.clone() };
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

struct Reporter {
    seq: u64,
    told: Option<u64>,
    reports: Counter,
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
        self.reports.increment(1);
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
        let (bare, has_more): (Vec<_>, Vec<_>) = services.into_iter().map(|service| (bare(&service), service)).unzip();
        services =
            bare.iter().zip(has_more).filter(|(bare, service)| *bare != service).map(|(_, service)| service).collect();
        groups.push(bare);
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

/// The service without what can be long: a thousand of these fit into one frame.
fn bare(service: &ServiceReport) -> ServiceReport {
    let short = |failure: &Failure| Failure { reason: brief(&failure.reason, WORDS_BYTES), log: Vec::new() };
    ServiceReport {
        tools: None,
        cause: brief(&service.cause, WORDS_BYTES),
        failure: service.failure.as_ref().map(short),
        progress: None,
        ..service.clone()
    }
}

/// What it takes in a report. Counted, not estimated: in JSON a byte of a service's own words may take six, and a frame
/// that turns out too large costs the link.
fn weight(service: &ServiceReport) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be encoded goes alone, and fails alone.
    match serde_json::to_writer(&mut count, service) {
        Ok(()) => count.0,
        Err(_) => REPORT_BYTES,
    }
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
        let large = REPORT_BYTES - 2_048;
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

    #[test]
    fn h46_no_words_of_services_make_a_frame_too_large() {
        let log = vec!["\u{1}".repeat(1_024); 20];
        let failed = |n: usize| ServiceReport {
            cause: "\"".repeat(2_048),
            failure: Some(Failure { reason: "\"".repeat(2_048), log: log.clone() }),
            ..service(&format!("{n:064}"), 1_000)
        };
        let services: Vec<_> = (0..crate::service::SERVICES_MAX).map(failed).collect();
        for is_complete in [true, false] {
            let groups = split(services.clone(), is_complete);
            for group in &groups {
                let report = Report { seq: u64::MAX, complete: is_complete, services: group.clone(), tree: None };
                protocol::link::frame::encode(&Header::Report(report), &[]).unwrap();
            }
            let whole: Vec<_> = groups.iter().skip(usize::from(is_complete)).flatten().collect();
            assert_eq!(whole.len(), services.len());
            assert!(whole.iter().zip(&services).all(|(told, service)| *told == service));
            assert_eq!(groups[0].len() == services.len(), is_complete);
        }
    }
}
