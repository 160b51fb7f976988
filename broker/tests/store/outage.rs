//! A server that goes away and comes back: clear errors meanwhile, and nobody has to do anything about it.

use std::time::Duration;

use broker::store::first_start;
use broker::store::{DirLock, Sighting, Store, StoreError, UtcMs, keeper};
use supervision::{Intensity, Registry, Strategy, Supervisor};
use tests::harness::postgres::{Database, Server};
use tokio::time::timeout;

use super::{OWNER, first_owner};

/// Longer than any of this takes; reached only when something is stuck.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until the tree shows the node `store` in this state; the reason that it shows.
async fn until(registry: &Registry, state: &str) -> Option<String> {
    let mut changes = registry.changes();
    let seen = async {
        loop {
            let node = registry.view("store", 0).unwrap();
            if node.state == state {
                return node.facts.get("reason").map(|reason| reason.as_str().unwrap().to_owned());
            }
            changes.changed().await.unwrap();
        }
    };
    let seen = timeout(DEADLINE, seen).await;
    seen.unwrap_or_else(|_| panic!("{state} never came: {:?}", registry.view("store", 0)))
}

#[actix_rt::test]
async fn a_server_that_is_killed_and_started_again_is_an_outage_and_no_more() {
    let server = Server::start();
    let database = Database::create_on(server.url());
    let url = Some(database.url().parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let mesh = first_start::create(&lock, url.as_ref(), Some(first_owner())).await.unwrap().founded.unwrap().mesh;
    let store = Store::open(&lock, url.as_ref()).await.unwrap();
    assert_eq!(store.next_epoch().await.unwrap(), 1);

    let registry = Registry::new();
    let tree = Supervisor::new(Strategy::OneForOne, Intensity { max_restarts: 0, within: Duration::from_secs(1) })
        .child(keeper::child(&store));
    let root = tree.start_root("test", &registry, None);
    timeout(DEADLINE, root.ready()).await.unwrap().unwrap();
    assert_eq!(until(&registry, "running").await, None);

    let sign_in = |name: String| {
        let store = store.clone();
        async move { store.seen_hello(&name, UtcMs::now()).await }
    };
    sign_in("before".to_owned()).await.unwrap();
    server.kill();
    // Whoever is first may be told that the connection broke; from then on it is known that nothing was sent.
    let error = loop {
        match timeout(DEADLINE, sign_in("meanwhile".to_owned())).await.unwrap().unwrap_err() {
            StoreError::Disconnected { .. } => {}
            other => break other,
        }
    };
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("remember a sign-in") && said.contains("not reachable"), "{said}");
    assert!(store.list_meshes().await.is_err(), "it answered from a server that is down");
    let reason = until(&registry, "degraded").await.unwrap();
    assert!(reason.contains("not reachable"), "{reason}");

    server.restart();
    assert_eq!(until(&registry, "running").await, None);
    sign_in("after".to_owned()).await.unwrap();
    // What was confirmed before the kill is there.
    assert_eq!(sign_in("before".to_owned()).await.unwrap(), Sighting::Again);
    assert_eq!(store.member_by_pubkey(&mesh.id, OWNER).await.unwrap().unwrap().display_name, "Ada");
    assert!(timeout(Duration::ZERO, store.fenced()).await.is_err(), "nobody else was here");
    root.shutdown().await;
}
