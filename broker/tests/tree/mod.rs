//! The tree on paper and the tree that runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Instant;

use actix_web::web;
use broker::files::Files;
use broker::http::{Gauges, Http};
use broker::mesh::Meshes;
use broker::mesh::watch::Lookout;
use broker::mesh::watch::fetch::Fetcher;
use broker::mesh::watch::guard::Guard;
use broker::metrics::Metrics;
use broker::runners::Runners;
use broker::store::Store;
use broker::store::first_start;
use broker::tree::{self, Parts};
use broker::{store::DirLock, vault};
use protocol::SecretString;
use protocol::link::ServiceState;
use serde_json::{Value, json};
use supervision::Registry;

use crate::harness::{Broker, Client, OWNER, report};
use crate::http::eventually;

#[tokio::test]
async fn the_brokers_tree_as_specified() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    first_start::create(&lock, None, None).await.unwrap();
    let store = Store::open(&lock, None).await.unwrap();
    let at_rest = vault::open(Some(&"11".repeat(32)), lock.dir(), &store).await.unwrap();
    let files = Arc::new(Files::open(lock.dir(), &at_rest).unwrap());
    let metrics = Arc::new(Metrics::new().unwrap());
    let runners = Runners::new(["local".to_owned()], &metrics);
    let fetcher = Fetcher::new(Guard::default(), "test".to_owned());
    let lookout = Lookout { fetcher, min_interval_ms: 5_000 };
    let metrics_of = Arc::clone(&metrics);
    let meshes = Meshes::new(store.clone(), Arc::new(at_rest), files, runners.clone(), metrics_of, 20, lookout);
    let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let http = web::Data::new(Http {
        address: listener.local_addr().unwrap(),
        operator_token: SecretString::from("operator"),
        registry: Registry::new(),
        meshes: meshes.clone(),
        runners: runners.clone(),
        gauges: Gauges::new(&metrics, "", 1, &runners),
        tree_waiters: Arc::default(),
        metrics,
        max_message_bytes: 1_024,
        max_connections_per_mesh: 1,
        behind_proxy: false,
        announced: AtomicBool::new(false),
        draining: Arc::new(AtomicBool::new(false)),
        unknown: broker::http::session::Unknown::default(),
        sockets: AtomicUsize::new(0),
        started: Instant::now(),
        build: String::new(),
    });
    let parts =
        Parts { store, runner_configs: Vec::new(), runners, meshes, http, listener, epoch: 1, build: String::new() };
    insta::assert_snapshot!(tree::tree(parts).outline(), @"
    rest_for_one  3 in 60s
    ├─ store      store  permanent  stop 1s
    ├─ runners    set  permanent  stop infinity
    ├─ meshes     set  permanent  stop infinity
    ├─ http       http  permanent  stop 2s
    └─ drain      drain  permanent  stop 6s
    ");
}

/// One line for each node: path, kind and state; what differs between two runs is named instead.
fn lines(node: &Value, presence: &str, into: &mut Vec<String>) {
    let id = node["id"].as_str().unwrap().replace(presence, "<presence>");
    into.push(format!("{id}  {}  {}", node["kind"].as_str().unwrap(), node["state"].as_str().unwrap()));
    for child in node["children"].as_array().into_iter().flatten() {
        lines(child, presence, into);
    }
}

#[tokio::test]
async fn h01_whatever_lives_is_a_node() {
    let (broker, runner) = Broker::with_runner().await;
    let link = runner.accept_with(Vec::new()).await;
    let (mut client, ack) = Client::join_with(&broker, crate::harness::Hello::of(&broker, OWNER)).await;
    let source = json!({ "type": "npx", "package": "p" });
    let deploy = client.request(json!({ "type": "mcp_deploy", "server_name": "one", "source": source })).await;
    let id = link.bring_up(Vec::new()).await;
    assert_eq!(client.outcome(&deploy).await["status"], "running");
    // What the runner says of itself is shown below its link.
    let node = json!([{ "id": "runner", "kind": "root", "state": "running", "since_ms": 1, "queue": 0,
        "restarts": { "window": 0, "total": 0 }, "children": [{ "id": "services", "kind": "set", "state": "running",
        "since_ms": 1, "queue": 0, "restarts": { "window": 0, "total": 0 } }] }]);
    link.report_with_tree(vec![report("one", &id, ServiceState::Running)], node);
    let tree = eventually(&broker, "/tree", |tree| tree.to_string().contains("link:local/services")).await;
    let mut shown = Vec::new();
    lines(&tree["roots"][0], ack["presenceId"].as_str().unwrap(), &mut shown);
    insta::assert_snapshot!(shown.join("\n"), @"
    broker  supervisor  running
    store  store  running
    runners  set  running
    runners/link:local  link  running
    runners/link:local/services  set  running
    meshes  set  running
    meshes/default  mesh  running
    meshes/default/scribe  scribe  running
    meshes/default/mesh  presence  running
    meshes/default/journal  journal  running
    meshes/default/hosted  hosted  running
    meshes/default/peers  set  running
    meshes/default/peers/<presence>  peer  running
    meshes/default/services  set  running
    meshes/default/services/one  service  running
    meshes/default/watches  set  running
    http  http  running
    drain  drain  running
    ");

    // A runner that is away is not shown as one that runs.
    link.cut();
    let away = "/tree?path=runners/link:local/services";
    eventually(&broker, away, |part| part["roots"][0]["state"] == "unreachable").await;
    eventually(&broker, "/tree?path=meshes/default/services/one", |part| part["roots"][0]["state"] == "unreachable")
        .await;
}
