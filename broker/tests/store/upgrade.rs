//! A database of an earlier schema is brought up to date with all that is in it.

use std::fs;
use std::path::Path;

use broker::store::DEFAULT_MESSAGE_TTL_MS;

use super::mail::{delivery, entry, named, send, texts, write};
use super::{Backend, NOW, OWNER, Place, deployment, fixture};

on_both! {
    a_database_of_the_first_schema_keeps_what_is_in_it,
    deliveries_of_before_are_found_by_their_numbers,
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
    fixture.place.downgrade("0007_moves");
    fixture.place.downgrade("0006_delivery_range");
    fixture.place.downgrade("0005_watches");
    fixture.place.downgrade("0004_vault");
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

async fn deliveries_of_before_are_found_by_their_numbers(backend: Backend) {
    let fixture = fixture(backend).await;
    let (mesh, store) = (fixture.first.mesh.id.clone(), fixture.store.clone());
    let to = ["b", "c", "d"].map(|mailbox| delivery(&store, mailbox));
    let message = named(&store, &fixture.first, "name", "1");
    let (id, wanted) = (message.id.clone(), to.each_ref().map(|delivery| delivery.id));
    write(&store, &mesh, entry(message, to.into()), NOW).await;
    send(&store, &fixture.first, "b", "2").await;
    fixture.store.close().await.unwrap();
    fixture.place.downgrade("0006_delivery_range");

    let store = fixture.place.open().await.unwrap();
    let (_, found) = store.message_status(&mesh, &id).await.unwrap().unwrap();
    assert_eq!(found.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), wanted);
}
