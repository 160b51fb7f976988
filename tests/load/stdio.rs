//! What the servers on stdio cost: from their start to the first answer, their memory, and what a proxy adds to a call.
//!
//! `load-stdio [--starts N] [--calls N]` deploys the fixture, starts both servers N times with a
//! broker and N times without one, and makes N calls one after the other through a proxy and through a plain connection
//! to the broker. One JSON document goes to standard error, to be read, and to standard output. The exit code is 3 when a
//! start without a broker takes longer than promised.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "a measuring program: it prints its result, and ends with a reason when it cannot measure"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::harness::peer::{Peer, call, converse, verdict};
use tests::harness::{Mesh, SETTLE, Stdio, wait_until};
use tests::measure::program::BROKEN;
use tests::measure::{procfs, quantile};

/// Starts that make a median.
const STARTS: usize = 20;
/// Calls that make a median.
const CALLS: usize = 2_000;
/// What a start may take without the network.
const START_MS: f64 = 50.0;
const SERVICE: &str = "fixture";
const ECHO: &str = "echo";

fn main() -> ExitCode {
    let (starts, calls) = arguments();
    let mut mesh = Mesh::start_alone();
    let _ = mesh.deploy_fixture(SERVICE, &[], &[]).ok();
    let with_broker = both(&mesh, starts);
    let memory =
        json!({ "session_kib": memory(&mesh, &["mcp"]), "proxy_kib": memory(&mesh, &["mcp", "--service", SERVICE]) });
    let (direct, proxied) = (through_the_wire(&mesh, calls), through_a_proxy(&mesh, calls));
    mesh.kill_broker();
    let without = both(&mesh, starts);
    mesh.start_up();

    let is_quick = ["session", "proxy"].iter().all(|which| without[*which]["p50"].as_f64() < Some(START_MS));
    let document = json!({
        "starts": starts, "calls": calls, "start_with_broker_ms": with_broker, "start_without_broker_ms": without,
        "memory": memory, "call_us": { "wire": direct, "proxy": proxied },
        "within_promise": is_quick,
    });
    eprintln!("{document:#}");
    println!("{document}");
    if is_quick { ExitCode::SUCCESS } else { ExitCode::from(BROKEN) }
}

fn arguments() -> (usize, usize) {
    let (mut starts, mut calls) = (STARTS, CALLS);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next().and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        match (word.as_str(), number) {
            ("--starts", Some(number)) => starts = number,
            ("--calls", Some(number)) => calls = number,
            _ => {
                eprintln!("usage: load-stdio [--starts N] [--calls N]");
                std::process::exit(2)
            }
        }
    }
    (starts, calls)
}

/// From the start of the process to its answer to the list of tools.
fn both(mesh: &Mesh, starts: usize) -> Value {
    let start = |words: &[&str]| {
        let began = Instant::now();
        let mut client = Stdio::start(mesh.verb(words));
        let tools = client.tools();
        let took = began.elapsed();
        assert!(!tools.is_empty(), "no tools");
        client.end();
        took
    };
    // The first one of a service asks the broker; what is measured is every one after it.
    let _ = start(&["mcp", "--service", SERVICE]);
    let sessions: Vec<_> = (0..starts).map(|_| start(&["mcp"])).collect();
    let proxies: Vec<_> = (0..starts).map(|_| start(&["mcp", "--service", SERVICE])).collect();
    json!({ "session": quantiles(sessions, 1e3), "proxy": quantiles(proxies, 1e3) })
}

/// Proportional memory of a server that is connected and has answered.
fn memory(mesh: &Mesh, words: &[&str]) -> Option<u64> {
    let mut client = Stdio::start(mesh.verb(words));
    let ready = wait_until("an answer from the mesh", SETTLE, || {
        if words.len() == 1 { client.text("mesh_info", json!({})) } else { client.text(ECHO, json!({ "text": "x" })) }
    });
    ready.expect("it answers");
    procfs::pss_kib(client.pid())
}

fn through_the_wire(mesh: &Mesh, calls: usize) -> Value {
    let membership = mesh.membership();
    let taken = converse(async {
        let mut peer = Peer::connect(&membership).await?;
        let mut taken = Vec::with_capacity(calls);
        for _ in 0..calls {
            let began = Instant::now();
            let answer = peer.ask(call(SERVICE, ECHO, &json!({ "text": "x" }))).await?;
            taken.push(began.elapsed());
            if verdict(&answer) != "ok" {
                return Err(answer.to_string());
            }
        }
        Ok(taken)
    });
    quantiles(taken.expect("the calls"), 1e6)
}

fn through_a_proxy(mesh: &Mesh, calls: usize) -> Value {
    let mut client = mesh.service_client(SERVICE);
    wait_until("a call through", SETTLE, || client.text(ECHO, json!({ "text": "x" }))).expect("it answers");
    let one = |client: &mut Stdio| {
        let began = Instant::now();
        let answer = client.call(ECHO, json!({ "text": "x" }));
        assert_eq!(answer["result"]["content"][0]["text"], "x", "{answer}");
        began.elapsed()
    };
    quantiles((0..calls).map(|_| one(&mut client)).collect(), 1e6)
}

fn quantiles(mut taken: Vec<Duration>, unit: f64) -> Value {
    taken.sort_unstable();
    let at = |share| (quantile(&taken, share).expect("samples").as_secs_f64() * unit * 10.0).round() / 10.0;
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99) })
}
