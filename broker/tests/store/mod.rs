//! The store on real files.

mod handle;
mod history;
mod members;
mod opening;
mod secrets;
mod services;

use broker::store::first_start::{self, FirstOwner};
use broker::store::{DeploymentId, DirLock, Document, Founded, NewDeployment, NewServiceEvent, Slot, Store, UtcMs};
use tempfile::TempDir;

pub(crate) const NOW: UtcMs = UtcMs::from_ms(1_775_671_200_000);
pub(crate) const OWNER: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

/// Names that a query made by pasting text would choke on.
pub(crate) const HOSTILE: [&str; 9] = [
    "'; DROP TABLE mesh; --",
    "' OR '1'='1",
    "\"; DELETE FROM member WHERE \"1\"=\"1",
    "%",
    "_",
    "\\'",
    "a\u{0}b",
    "naïve \u{202e}gnp.exe 🦀",
    "",
];

/// A fresh store with the mesh `default` in it. The directory lives as long as this.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) first: Founded,
    pub(crate) lock: DirLock,
    pub(crate) dir: TempDir,
}

pub(crate) fn first_owner() -> FirstOwner {
    FirstOwner { pubkey: OWNER.to_owned(), display_name: "Ada".to_owned() }
}

pub(crate) async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let born = first_start::create(&lock, Some(first_owner())).await.unwrap();
    let store = Store::open(&lock).await.unwrap();
    Fixture { store, first: born.founded.unwrap(), lock, dir }
}

/// A deployment of `service` in the fixture's mesh by its owner.
pub(crate) fn deployment(of: &Founded, service: &str) -> NewDeployment {
    NewDeployment {
        id: DeploymentId::new(),
        mesh_id: of.mesh.id.clone(),
        service: service.to_owned(),
        source: r#"{"type":"npx","package":"p"}"#.parse().unwrap(),
        args: Document::of(&["--port", "1"]).unwrap(),
        config: Document::of(&serde_json::json!({"policy": {}})).unwrap(),
        env_sealed: Some("v1.sealed".to_owned()),
        version: None,
        created_by: of.owner.id.clone(),
        scope: Document::of("peer").unwrap(),
        description: "d".to_owned(),
        runner: None,
        slot: Slot::Pending,
    }
}

/// An event numbered `at`.
pub(crate) fn event(of: &Founded, service: &str, at: i64) -> NewServiceEvent {
    NewServiceEvent {
        mesh_id: of.mesh.id.clone(),
        service: service.to_owned(),
        deployment: None,
        from_state: Some("starting".to_owned()),
        to_state: "running".to_owned(),
        cause: format!("event {at}"),
        at: UtcMs::from_ms(at),
    }
}
