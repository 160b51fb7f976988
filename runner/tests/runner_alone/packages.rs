//! The runner alone over its link, with servers of the registries: Node ones and a Python one, in one process each.

use std::time::Duration;

use nix::sys::signal::Signal;
use protocol::link::{Outcome, ReplyOutcome, ServiceSpec, ServiceState as S, Source};
use serde_json::{Value, json};

use super::bench::{Broker, Runner, failed, send_signal, spec};

/// For what has to be fetched first.
const INSTALL: Duration = Duration::from_secs(240);

fn npx(service: &str, package: &str) -> ServiceSpec {
    ServiceSpec { source: Source::Npx { package: package.to_owned() }, ..spec(service, &[]) }
}

fn everything() -> ServiceSpec {
    npx("everything", "@modelcontextprotocol/server-everything")
}

fn memory() -> ServiceSpec {
    npx("memory", "@modelcontextprotocol/server-memory")
}

fn time() -> ServiceSpec {
    let source = Source::Uvx { package: "mcp-server-time".to_owned(), with: Vec::new() };
    ServiceSpec { source, ..spec("time", &[]) }
}

/// Loads it, and waits until it was fetched and runs.
async fn install(broker: &mut Broker, spec: &ServiceSpec) {
    assert_eq!(broker.load(spec).await, Outcome::Ok);
    let running = |broker: &Broker| {
        let report = broker.services.get(&spec.deployment)?;
        assert_ne!(report.state, S::Failed, "{:?} {:?}", report.cause, report.failure);
        (report.state == S::Running).then_some(())
    };
    broker.until_within(INSTALL, &format!("{} to run", spec.service), running).await;
}

async fn echoes(broker: &mut Broker, spec: &ServiceSpec) {
    let said = broker.text(spec, "echo", json!({ "message": "hello, runner" })).await;
    assert!(said.contains("hello, runner"), "{said}");
}

async fn tells_the_time(broker: &mut Broker, spec: &ServiceSpec) {
    let said = broker.text(spec, "get_current_time", json!({ "timezone": "Europe/Berlin" })).await;
    assert!(said.contains("Europe/Berlin"), "{said}");
}

#[tokio::test]
async fn d1_a_node_server_is_installed_called_and_unloaded() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let spec = everything();
    install(&mut broker, &spec).await;
    echoes(&mut broker, &spec).await;
    let (outcome, body, _) = broker.call(&spec, "no_such_tool", json!({})).await;
    let said: Value = serde_json::from_slice(&body).unwrap();
    assert!(matches!(outcome, ReplyOutcome::Result | ReplyOutcome::Error), "{said}");
    assert!(said.to_string().contains("no_such_tool"), "the server's own words: {said}");
    // The same name in another mesh is not this service.
    let elsewhere = ServiceSpec { mesh: "other".to_owned(), deployment: "0190bbbb-2".to_owned(), ..spec.clone() };
    let nothing = broker.call(&elsewhere, "echo", json!({ "message": "x" })).await;
    assert_eq!(failed(&nothing).0, protocol::link::FailCode::NotFound);
    assert_eq!(broker.unload(&spec).await, Outcome::Ok);
    let gone = broker.call(&spec, "echo", json!({ "message": "x" })).await;
    assert_eq!(failed(&gone).0, protocol::link::FailCode::NotFound);
}

#[tokio::test]
async fn d2_a_second_node_server_beside_it_dies_and_comes_back_alone() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let (first, second) = (everything(), memory());
    install(&mut broker, &first).await;
    install(&mut broker, &second).await;
    echoes(&mut broker, &first).await;
    let graph = broker.text(&second, "read_graph", json!({})).await;
    assert!(graph.contains("entities"), "{graph}");
    let (kept, killed) = (broker.pid(&first), broker.pid(&second));
    send_signal(killed, Signal::SIGKILL);
    broker.in_another_process(&second, killed).await;
    assert!(broker.text(&second, "read_graph", json!({})).await.contains("entities"));
    echoes(&mut broker, &first).await;
    assert_eq!(broker.pid(&first), kept, "the one beside it is not restarted");
}

#[tokio::test]
async fn d3_a_python_server_beside_them_answers_when_they_are_unloaded() {
    let runner = Runner::start(&[]).await;
    let mut broker = runner.broker(1).await;
    let (first, second, third) = (everything(), memory(), time());
    for spec in [&first, &second, &third] {
        install(&mut broker, spec).await;
    }
    tells_the_time(&mut broker, &third).await;
    let pid = broker.pid(&third);
    for spec in [&first, &second] {
        assert_eq!(broker.unload(spec).await, Outcome::Ok);
    }
    tells_the_time(&mut broker, &third).await;
    assert_eq!(broker.pid(&third), pid, "it is not restarted");
    assert_eq!(broker.unload(&third).await, Outcome::Ok);
}
