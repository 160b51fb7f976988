//! What operators scrape.

use meter::reader::{Page, documented, listed};
use protocol::link::{FailCode, ServiceState};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::harness::{Broker, Client, Conn, Hello, MEMBER, OWNER, SOON, get, report, tool};
use crate::link::{call, deploy, undeploy, up, world};

const DOCUMENTATION: &str = include_str!("../../../docs/metrics.md");
/// A name that is nowhere else.
const SERVICE: &str = "zebra";
const TOOL: &str = "gallop";

async fn scrape(broker: &Broker) -> (String, Page) {
    let answer = get(broker, "/metrics", &[]).await;
    assert_eq!(answer.status, 200);
    let page = Page::read(&answer.text).unwrap_or_else(|error| panic!("{error}\n{}", answer.text));
    (answer.text, page)
}

/// Scrapes until the page is as wanted.
async fn scraped(broker: &Broker, what: &str, wanted: impl Fn(&Page) -> bool) -> Page {
    let deadline = Instant::now() + SOON;
    loop {
        let (text, page) = scrape(broker).await;
        if wanted(&page) {
            return page;
        }
        assert!(Instant::now() < deadline, "never {what}:\n{text}");
        sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[track_caller]
fn assert_value(page: &Page, family: &str, labels: &[(&str, &str)], expected: u32) {
    let value = page.value(family, labels);
    assert!((value - f64::from(expected)).abs() < 1e-9, "{family}{labels:?} is {value}, not {expected}: {page:#?}");
}

/// One service, one call that is answered and one that fails, and a runner that shows its tree.
async fn traffic(client: &mut Client, link: &Conn) {
    let id = up(client, link, deploy(SERVICE), vec![tool(TOOL, json!({}))]).await;
    let tree = json!([{ "id": "runner", "kind": "supervisor", "state": "running", "since_ms": 1, "queue": 0,
        "restarts": { "window": 0, "total": 0 }, "children": [{ "id": "services", "kind": "services", "state": "running",
        "since_ms": 1, "queue": 0, "restarts": { "window": 0, "total": 0 }, "children": [{ "id": "services/zebra",
        "kind": "a kind of tomorrow", "state": "running", "since_ms": 1, "queue": 0,
        "restarts": { "window": 0, "total": 0 } }] }] }]);
    link.report_with_tree(vec![report(SERVICE, &id, ServiceState::Running)], tree);
    let asked = client.request(call(SERVICE, TOOL)).await;
    let (header, _) = link.call().await;
    link.reply(header.id, "done");
    client.answer(&asked).await;
    let asked = client.request(call(SERVICE, TOOL)).await;
    let (header, _) = link.call().await;
    link.fail(header.id, FailCode::Timeout);
    client.answer(&asked).await;
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_one_is_shown() {
    let (broker, _runner, link, mut client) = world().await;
    traffic(&mut client, &link).await;
    let of_tree = |page: &Page| page.value("claudemesh_broker_runner_nodes", &[("kind", "services")]) > 0.0;
    let page = scraped(&broker, "the runner's tree", of_tree).await;
    // A child of the tree that has ended and one that was restarted, so that those are shown too.
    drop(client);
    link.cut();
    let ended = |page: &Page| {
        page.value("claudemesh_broker_node_exits_total", &[("kind", "peer")]) > 0.0
            && page.value("claudemesh_broker_node_restarts_total", &[("kind", "link")]) > 0.0
    };
    let page = (page, scraped(&broker, "the ends", ended).await).1;
    let headings = ["## Of the broker", "## Of both"];
    assert_eq!(page.families(), documented(DOCUMENTATION, &headings));
    let limits: std::collections::BTreeSet<_> =
        page.0["claudemesh_limit_refused_total"].series.iter().map(|(labels, _)| labels["limit"].clone()).collect();
    assert_eq!(limits, listed(DOCUMENTATION, &["### Limits of the broker"]));
}

#[tokio::test]
async fn what_happened_is_counted() {
    let (broker, _runner, link, mut client) = world().await;
    traffic(&mut client, &link).await;
    client.ask(call("nowhere", TOOL)).await;
    client.ask(deploy("not a name")).await;
    let mut stranger = Client::connect(&broker).await;
    stranger.send(&Hello::signed(MEMBER, broker.mesh(), broker.member_id(OWNER), crate::harness::now_ms()).0).await;
    assert_eq!(stranger.next().await["code"], "unauthorized");
    let waiting = client.request(call(SERVICE, TOOL)).await;
    let (header, _) = link.call().await;

    let (_, page) = scrape(&broker).await;
    let own = |name: &str| format!("claudemesh_broker_{name}");
    assert_value(&page, &own("calls_started_total"), &[], 4);
    for (outcome, calls) in [("result", 1), ("timeout", 1), ("not_found", 1), ("server_error", 0)] {
        assert_value(&page, &own("calls_answered_total"), &[("outcome", outcome)], calls);
    }
    assert_value(&page, &own("call_duration_seconds"), &[], 2);
    assert_value(&page, &own("calls_in_flight"), &[("runner", "local")], 1);
    assert_value(&page, &own("hellos_total"), &[("outcome", "accepted")], 1);
    assert_value(&page, &own("hellos_total"), &[("outcome", "unauthorized")], 1);
    assert_value(&page, &own("deploys_total"), &[("outcome", "running")], 1);
    assert_value(&page, &own("deploys_total"), &[("outcome", "refused")], 1);
    assert_value(&page, &own("services"), &[("state", "running")], 1);
    assert_value(&page, &own("link_up"), &[("runner", "local")], 1);
    assert_value(&page, &own("sessions"), &[], 1);
    assert_value(&page, &own("epoch"), &[], 1);
    assert_value(&page, &own("build_info"), &[("version", "test-build")], 1);
    assert_value(&page, &own("nodes"), &[("kind", "store"), ("state", "running")], 1);
    assert_value(&page, &own("nodes"), &[("kind", "services")], 0);
    assert_value(&page, &own("runner_nodes"), &[("runner", "local"), ("kind", "services")], 1);
    for some in [
        "socket_messages_received_total",
        "socket_messages_sent_total",
        "socket_received_bytes_total",
        "socket_sent_bytes_total",
        "link_frames_received_total",
        "link_frames_sent_total",
        "link_received_bytes_total",
        "link_sent_bytes_total",
        "link_reports_total",
        "link_last_heard_timestamp_seconds",
        "store_operation_duration_seconds",
        "sockets_opened_total",
    ] {
        assert!(page.value(&own(some), &[]) > 0.0, "{some}");
    }
    assert!(page.value(&own("store_operations_total"), &[("outcome", "done")]) > 0.0);

    link.reply(header.id, "late");
    client.answer(&waiting).await;
    let after = scrape(&broker).await.1;
    assert_value(&after, &own("calls_in_flight"), &[("runner", "local")], 0);
    assert_value(&after, &own("call_duration_seconds"), &[], 3);
}

#[tokio::test]
async fn h06_a_link_that_is_down_is_counted_as_down() {
    let (broker, _runner, link, mut client) = world().await;
    traffic(&mut client, &link).await;
    link.cut();
    let down = |page: &Page| page.value("claudemesh_broker_link_up", &[]) < 1.0;
    scraped(&broker, "down", down).await;
    let unreachable = |page: &Page| page.value("claudemesh_broker_services", &[("state", "unreachable")]) > 0.0;
    let page = scraped(&broker, "unreachable", unreachable).await;
    assert_value(&page, "claudemesh_broker_services", &[("state", "running")], 0);
    let nodes = [("runner", "local"), ("state", "unreachable")];
    assert_value(&page, "claudemesh_broker_runner_nodes", &nodes, 2);
    assert_value(&page, "claudemesh_broker_runner_nodes", &[("state", "running")], 0);
}

#[tokio::test]
async fn h50_what_a_limit_refuses_is_counted_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let runner = crate::harness::FakeRunner::listen(dir.path(), "local");
    let socket = runner.socket();
    let broker = Broker::start_in(dir, |setup| {
        setup.runners.insert("local".to_owned(), socket);
        (setup.max_message_bytes, setup.max_services, setup.max_connections) = (16 * 1024, 1, 4);
    })
    .await;
    let link = runner.accept_with(Vec::new()).await;
    let mut client = Client::join(&broker, OWNER).await;
    up(&mut client, &link, deploy(SERVICE), Vec::new()).await;
    let is_error = |frame: &serde_json::Value| frame["type"] == "error";
    let refused = async |broker: &Broker, limit: &str| {
        scrape(broker).await.1.value("claudemesh_limit_refused_total", &[("limit", limit)])
    };
    assert!(scrape(&broker).await.1.value("claudemesh_limit_refused_total", &[]) < 1.0, "nothing was refused yet");

    assert_eq!(client.ask(deploy("second")).await["code"], "limit");
    let names: Vec<_> = (0..65).map(|n| n.to_string()).collect();
    let mut wide = deploy(SERVICE);
    wide["scope"] = json!({ "peers": names });
    assert_eq!(client.ask(wide).await["code"], "bad_request");
    client.send_text(&format!("{{\"type\":\"list_peers\",\"x\":\"{}\"}}", "x".repeat(17 * 1024))).await;
    assert_eq!(client.until(is_error).await["code"], "too_large");
    client.send_text(&format!("{}{}", "[".repeat(65), "]".repeat(65))).await;
    assert_eq!(client.until(is_error).await["code"], "bad_json");
    client.send(&json!({ "type": "list_peers", "_reqId": "x".repeat(300) })).await;
    assert_eq!(client.until(is_error).await["code"], "bad_request");
    let mut named = call(SERVICE, TOOL);
    named["callId"] = "x".repeat(300).into();
    assert_eq!(client.ask(named).await["errorCode"], "bad_request");
    let groups: Vec<_> = (0..65).map(|n| json!({ "name": n.to_string() })).collect();
    let spoilt = [
        ("groups", json!(groups), "malformed"),
        ("capabilities", json!(vec!["x"; 65]), "malformed"),
        ("cwd", json!("x".repeat(5_000)), "malformed"),
    ];
    for (field, value, code) in spoilt {
        let mut other = Client::connect(&broker).await;
        other.send(&Hello::of(&broker, OWNER).with(field, value).0).await;
        assert_eq!(other.next().await["code"], code, "{field}");
    }
    let _second = Client::join(&broker, OWNER).await;
    let mut third = Client::connect(&broker).await;
    third.send(&Hello::of(&broker, OWNER).0).await;
    assert_eq!(third.next().await["code"], "capacity");
    let _others = [Client::join(&broker, MEMBER).await, Client::join(&broker, MEMBER).await];
    let mut fifth = Client::connect(&broker).await;
    fifth.send(&Hello::of(&broker, MEMBER).0).await;
    assert_eq!(fifth.next().await["code"], "capacity");
    for _ in 0..321 {
        client.request(call(SERVICE, TOOL)).await;
    }
    let over = client.until(|frame| frame["type"] == "mcp_call_result").await;
    assert_eq!(over["errorCode"], "limit");

    for limit in [
        "services_per_mesh",
        "scope_names",
        "message_bytes",
        "message_depth",
        "request_id_bytes",
        "call_id_bytes",
        "session_groups",
        "session_capabilities",
        "hello_text_bytes",
        "connections_per_mesh",
        "connections_per_member",
        "session_calls",
    ] {
        assert!((refused(&broker, limit).await - 1.0).abs() < 1e-9, "{limit}");
    }
    let (text, page) = scrape(&broker).await;
    assert!((page.value("claudemesh_limit_refused_total", &[]) - 12.0).abs() < 1e-9, "no other limit:\n{text}");
}

#[tokio::test]
async fn nothing_is_named_and_what_ended_leaves_no_series() {
    let (broker, _runner, link, mut client) = world().await;
    traffic(&mut client, &link).await;
    let mut round = async |name: &str| {
        let (mut other, ack) = Client::join_with(&broker, Hello::of(&broker, MEMBER)).await;
        up(&mut client, &link, deploy(name), vec![tool(TOOL, json!({}))]).await;
        let gone = client.request(undeploy(name)).await;
        let (cmd, _) = link.unload().await;
        link.done(cmd, protocol::link::Outcome::Ok);
        assert_eq!(client.outcome(&gone).await["status"], "stopped");
        other.ask(json!({ "type": "list_peers" })).await;
        ack["presenceId"].as_str().unwrap().to_owned()
    };
    let settled = |page: &Page| page.value("claudemesh_broker_sessions", &[]) < 1.5;
    round("first").await;
    let before = scraped(&broker, "the session is gone", settled).await;
    let mut named = vec!["first".to_owned()];
    for n in 0..7 {
        named.push(round(&format!("service-{n}")).await);
        named.push(format!("service-{n}"));
    }
    let after = scraped(&broker, "the sessions are gone", settled).await;
    assert_eq!(before.len(), after.len(), "what came and went left series");
    assert!(after.value("claudemesh_broker_hellos_total", &[("outcome", "accepted")]) > 8.0);

    let (text, page) = scrape(&broker).await;
    named.extend([OWNER, MEMBER].map(|who| broker.member_id(who).to_owned()));
    named.extend([SERVICE, TOOL, "default", broker.mesh(), OWNER.name, MEMBER.name].map(str::to_owned));
    for name in named {
        assert!(!page.label_values().any(|value| value.contains(&name)), "{name} is in\n{text}");
    }
    let words: Vec<_> = page.label_values().filter(|value| *value != "test-build" && *value != "local").collect();
    let is_word = |value: &&str| value.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    assert_eq!(words.iter().filter(|value| !is_word(value)).count(), 0, "{words:?}");
}
