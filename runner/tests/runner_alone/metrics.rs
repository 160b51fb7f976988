//! What operators scrape.

use std::collections::BTreeSet;
use std::time::Duration;

use meter::reader::{Page, documented, listed};
use nix::sys::signal::Signal;
use protocol::link::{Outcome, ReplyOutcome, ServiceState, Source};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::bench::{Broker, Runner, SOON, TOKEN, send_signal, spec};
use super::handshake::get;

const DOCUMENTATION: &str = include_str!("../../../docs/metrics.md");
/// A name that is nowhere else.
const SERVICE: &str = "zebra";

async fn scrape(runner: &Runner) -> (String, Page) {
    let answer = get(runner, "/metrics", &format!("authorization: Bearer {TOKEN}\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    let page = Page::read(body).unwrap_or_else(|error| panic!("{error}\n{body}"));
    (body.to_owned(), page)
}

/// Scrapes until the page is as wanted.
async fn scraped(runner: &Runner, what: &str, wanted: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + SOON;
    loop {
        let (text, page) = scrape(runner).await;
        if wanted(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "never {what}:\n{text}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn own(name: &str) -> String {
    format!("claudemesh_runner_{name}")
}

#[track_caller]
fn assert_value(page: &Page, name: &str, labels: &[(&str, &str)], expected: u32) {
    let value = page.value(&own(name), labels);
    assert!((value - f64::from(expected)).abs() < 1e-9, "{name}{labels:?} is {value}, not {expected}: {page:#?}");
}

fn refused(page: &Page, limit: &str) -> f64 {
    page.value("claudemesh_limit_refused_total", &[("limit", limit)])
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_shown() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(7).await;
    let spec = spec(SERVICE, &[]);
    broker.run(&spec).await;
    let pid = broker.pid(&spec);
    send_signal(pid, Signal::SIGKILL);
    broker.in_another_process(&spec, pid).await;
    let (_, page) = scrape(&runner).await;
    assert_eq!(page.families(), documented(DOCUMENTATION, &["## Of the runner", "## Of both"]));
    let limits: BTreeSet<_> =
        page.0["claudemesh_limit_refused_total"].series.iter().map(|(labels, _)| labels["limit"].clone()).collect();
    assert_eq!(limits, listed(DOCUMENTATION, &["### Limits of the runner"]));
}

#[tokio::test]
async fn what_happened_is_counted() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(7).await;
    let spec = spec(SERVICE, &[]);
    broker.run(&spec).await;
    assert_eq!(broker.text(&spec, "echo", json!({ "text": "x" })).await, "x");
    assert_eq!(broker.call(&spec, "rpcerror", json!({})).await.0, ReplyOutcome::Error);
    let slow = broker.ask(&spec, "slow", json!({ "ms": 60_000 })).await;
    broker.caught_up(&spec).await;
    let level = broker.services[&spec.deployment].instances[0].level.clone().unwrap();
    let level = [("level", level.as_str())];

    let (_, page) = scrape(&runner).await;
    assert_value(&page, "calls_started_total", &[], 4);
    assert_value(&page, "calls_answered_total", &[("outcome", "result")], 2);
    assert_value(&page, "calls_answered_total", &[("outcome", "server_error")], 1);
    assert_value(&page, "calls_in_flight", &[], 1);
    assert_value(&page, "call_waiting_seconds", &[], 4);
    assert_value(&page, "call_server_seconds", &[], 3);
    assert_value(&page, "services", &[("state", "running")], 1);
    assert_value(&page, "processes", &level, 1);
    assert_value(&page, "wardens", &level, 1);
    assert_value(&page, "process_starts_total", &[("outcome", "started")], 1);
    assert_value(&page, "process_restarts_total", &[], 0);
    assert_value(&page, "links", &[], 1);
    assert_value(&page, "epoch", &[], 7);
    assert_value(&page, "build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    assert_value(&page, "nodes", &[("kind", "process"), ("state", "running")], 1);
    for some in ["link_frames_received_total", "link_frames_sent_total", "link_received_bytes_total"] {
        assert!(page.value(&own(some), &[]) > 0.0, "{some}");
    }
    assert!(page.value(&own("link_sent_bytes_total"), &[]) > 0.0 && page.value(&own("link_reports_total"), &[]) > 0.0);

    let pid = broker.pid(&spec);
    send_signal(pid, Signal::SIGKILL);
    broker.in_another_process(&spec, pid).await;
    broker.caught_up(&spec).await;
    let (_, page) = scrape(&runner).await;
    assert_value(&page, "process_restarts_total", &[], 1);
    assert_value(&page, "node_restarts_total", &[("kind", "instance")], 1);
    assert_value(&page, "node_exits_total", &[("kind", "process"), ("reason", "error")], 1);
    assert_value(&page, "processes", &[], 1);
    assert_value(&page, "wardens", &[], 1);
    // Its hints allow a second try, and that is under way.
    assert_value(&page, "calls_in_flight", &[], 1);
    assert_value(&page, "call_waiting_seconds", &[], 6);

    assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    broker.reply(slow).await;
    let (_, page) = scrape(&runner).await;
    assert_value(&page, "processes", &[], 0);
    assert_value(&page, "wardens", &[], 0);
    assert_value(&page, "services", &[], 0);
    assert_value(&page, "calls_in_flight", &[], 0);
    let (started, answered) = (own("calls_started_total"), own("calls_answered_total"));
    assert!((page.value(&started, &[]) - page.value(&answered, &[])).abs() < 1e-9, "each has one answer: {page:#?}");
}

#[tokio::test]
async fn h50_what_a_limit_refuses_is_counted_by_its_name() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(7).await;
    let flooding = spec("flooding", &["--flood-stderr"]);
    broker.run(&flooding).await;
    let left_out = |page: &Page| page.value(&own("log_lines_left_out_total"), &[]) > 0.0;
    let page = scraped(&runner, "a line left out", left_out).await;
    assert!(refused(&page, "log_rate") > 0.0 && page.value(&own("log_lines_total"), &[("stream", "stderr")]) > 0.0);
    assert_eq!(broker.unload(&flooding).await, Outcome::Ok);

    let talking = spec(SERVICE, &[]);
    broker.run(&talking).await;
    let (outcome, ..) = broker.call(&talking, "big", json!({ "bytes": 17 * 1024 * 1024 })).await;
    assert!(matches!(outcome, ReplyOutcome::Failed { .. }), "{outcome:?}");
    assert!((refused(&scrape(&runner).await.1, "server_line_bytes") - 1.0).abs() < 1e-9);

    // 256 are before the process, 1,024 wait.
    let mut slow = Vec::new();
    for _ in 0..256 + 1_024 + 1 {
        slow.push(broker.ask(&talking, "slow", json!({ "ms": 60_000 })).await);
    }
    let last = broker.reply(*slow.last().unwrap()).await;
    assert_eq!(super::bench::failed(&last).0, protocol::link::FailCode::Overloaded);
    let (_, page) = scrape(&runner).await;
    assert!((refused(&page, "service_waiting_calls") - 1.0).abs() < 1e-9);
    assert_value(&page, "calls_in_flight", &[], 256);
    assert_value(&page, "calls_waiting", &[], 1_024);

    drop(Broker::connect(&runner.socket(), &"f".repeat(32), "store", 7).await);
    drop(Broker::connect(&runner.socket(), TOKEN, "store", 6).await);
    let told = |page: &Page| page.value(&own("links_refused_total"), &[]) > 1.5;
    let page = scraped(&runner, "two refusals", told).await;
    assert_value(&page, "links_refused_total", &[("reason", "bad_proof")], 1);
    assert_value(&page, "links_refused_total", &[("reason", "fenced")], 1);
}

#[tokio::test]
async fn a_build_is_counted_by_how_it_ended() {
    let runner = Runner::start(&["path=/nowhere"]).await;
    let mut broker = runner.broker(1).await;
    let mut package = spec(SERVICE, &[]);
    package.source = Source::Npx { package: "some-package".to_owned() };
    assert_eq!(broker.load(&package).await, Outcome::Ok);
    broker.in_state(&package, ServiceState::Failed).await;
    let (_, page) = scrape(&runner).await;
    assert_value(&page, "builds_total", &[("outcome", "failed")], 1);
    assert_value(&page, "builds_total", &[], 1);
    assert_value(&page, "builds_running", &[], 0);
    assert_value(&page, "services", &[("state", "failed")], 1);
}

#[tokio::test]
async fn nothing_is_named_and_what_ended_leaves_no_series() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let mut before = None;
    for n in 0..5 {
        let spec = spec(&format!("{SERVICE}-{n}"), &[]);
        broker.run(&spec).await;
        assert_eq!(broker.text(&spec, "echo", json!({ "text": "x" })).await, "x");
        assert_eq!(broker.unload(&spec).await, Outcome::Ok);
        let (_, page) = scrape(&runner).await;
        let series = page.len();
        assert_eq!(*before.get_or_insert(series), series, "what came and went left series");
    }
    let last = spec(SERVICE, &[]);
    broker.run(&last).await;
    let (text, page) = scrape(&runner).await;
    for name in [SERVICE, super::bench::MESH, "echo", last.deployment.as_str(), "alone", "store"] {
        assert!(!page.label_values().any(|value| value.contains(name)), "{name} is in\n{text}");
    }
    let is_word = |value: &&str| value.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let others: Vec<_> = page.label_values().filter(|value| !is_word(value)).collect();
    assert_eq!(others, [env!("CARGO_PKG_VERSION")]);
}
