//! A database of an earlier schema is brought up to date with all that is in it.

use std::fs;
use std::path::Path;

use broker::store::DEFAULT_MESSAGE_TTL_MS;

use super::mail::{send, texts};
use super::{Backend, NOW, OWNER, Place, deployment, fixture};

on_both! {
    a_database_of_the_first_schema_keeps_what_is_in_it,
}

impl Place {
    /// Takes the last migration back.
    fn downgrade(&self, folder: &str) {
        let backend = if self.database.is_some() { "postgres" } else { "sqlite" };
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(backend);
        self.change(&fs::read_to_string(migrations.join(folder).join("down.sql")).unwrap());
        let (version, _) = folder.split_once('_').unwrap();
        self.change(&format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}'"));
    }
}

async fn a_database_of_the_first_schema_keeps_what_is_in_it(backend: Backend) {
    let fixture = fixture(backend).await;
    let first = fixture.first;
    let mesh = &first.mesh.id;
    let deployed = fixture.store.deploy(deployment(&first, "time"), 20, NOW).await.unwrap();
    fixture.store.seen_hello("k", NOW).await.unwrap();
    fixture.store.close().await.unwrap();
    fixture.place.downgrade("0003_files");
    fixture.place.downgrade("0002_messages");
    assert!(fixture.place.try_change("SELECT serial FROM member").is_err(), "the schema is not the first one");
    assert_eq!(fixture.place.number("SELECT count(*) AS number FROM member"), 1, "the way back lost a member");

    let store = fixture.place.open().await.unwrap();
    let kept = store.mesh_by_id(mesh).await.unwrap().unwrap();
    assert_eq!((kept.require_proofs, kept.message_ttl_ms), (false, DEFAULT_MESSAGE_TTL_MS));
    assert_eq!(kept, first.mesh);
    assert_eq!(store.member_by_pubkey(mesh, OWNER).await.unwrap(), Some(first.owner.clone()));
    assert_eq!(store.deployment(mesh, &deployed.id).await.unwrap(), Some(deployed));
    assert_eq!(store.services_with_deployments(mesh).await.unwrap().len(), 1);
    // What came with the new one works.
    assert_eq!(store.number(), 1);
    send(&store, &first, "b", "1").await;
    assert_eq!(texts(&store, mesh, "b").await, ["1"]);
}
