//! Another at-rest key: everything opens under it, under the old one nothing, and an interruption leaves one that does.

use std::fs;
use std::path::Path;

use broker::config::{AT_REST_KEY_FILE, secret_file};
use broker::store::{NewDeployment, StoreError, StoredEntry, Watch};
use broker::vault::{self, AtRest, AtRestKey, EntryPlace, NEXT_KEY_FILE, Rotated, VaultError, place};
use protocol::SecretString;

use super::watches::watch;
use super::{Backend, Fixture, NOW, deployment, fixture};

on_both! {
    a_rotation_seals_every_value_under_a_new_key,
    an_interrupted_rotation_leaves_a_key_that_opens,
    what_cannot_be_read_stops_a_rotation_before_anything_changes,
    a_configured_key_is_replaced_by_whoever_configures_it,
}

const ENTRY: &str = "aws/prod key";
const WATCH: &str = "w_00000001";

/// A deployment, an entry and a watch's headers, sealed; the deployment's id.
async fn sealed(fixture: &Fixture, at_rest: &AtRest) -> broker::store::DeploymentId {
    let (store, first) = (&fixture.store, &fixture.first);
    let new = deployment(first, "time");
    let at = place::deployment(first.mesh.id.as_str(), new.id.as_str());
    let new = NewDeployment { env_sealed: Some(at_rest.seal(&at, b"env")), ..new };
    let id = store.deploy(new, 20, NOW).await.unwrap().id;
    let here = EntryPlace::new(first.owner.id.as_str(), ENTRY);
    let at = place::vault_entry(first.mesh.id.as_str(), &here, 7);
    let entry = StoredEntry {
        mesh_id: first.mesh.id.clone(),
        member_id: first.owner.id.clone(),
        key: ENTRY.to_owned(),
        entry_type: "env".to_owned(),
        mount_path: None,
        description: None,
        version: 7,
        sealed: at_rest.seal(&at, b"entry"),
        bytes: 5,
        updated_at: NOW,
    };
    store.put_vault_entry(entry).await.unwrap();
    let at = place::watch(first.mesh.id.as_str(), WATCH);
    let row = Watch { headers_sealed: Some(at_rest.seal(&at, b"headers")), ..watch(first, WATCH) };
    store.add_watch(row).await.unwrap();
    id
}

/// Whether all values open, or none does.
async fn opens(fixture: &Fixture, at_rest: &AtRest, id: &broker::store::DeploymentId) -> bool {
    let (store, first) = (&fixture.store, &fixture.first);
    let mesh = &first.mesh.id;
    let row = store.deployment(mesh, id).await.unwrap().unwrap();
    let env = at_rest.open(&place::deployment(mesh.as_str(), id.as_str()), &row.env_sealed.unwrap());
    let row = store.vault_entry(mesh, &first.owner.id, ENTRY).await.unwrap().unwrap();
    let here = EntryPlace::new(first.owner.id.as_str(), ENTRY);
    let entry = at_rest.open(&place::vault_entry(mesh.as_str(), &here, 7), &row.sealed);
    let row = store.watch(mesh, WATCH).await.unwrap().unwrap();
    let headers = at_rest.open(&place::watch(mesh.as_str(), WATCH), &row.headers_sealed.unwrap());
    match (env, entry, headers) {
        (Ok(env), Ok(entry), Ok(headers)) => {
            assert_eq!([env.as_slice(), &entry, &headers], [b"env".as_slice(), b"entry", b"headers"]);
            true
        }
        (Err(_), Err(_), Err(_)) => false,
        half => panic!("half of it: {half:?}"),
    }
}

fn key_in(dir: &Path) -> String {
    fs::read_to_string(dir.join(AT_REST_KEY_FILE)).unwrap()
}

async fn a_rotation_seals_every_value_under_a_new_key(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let before = vault::open(None, dir, &fixture.store).await.unwrap();
    let id = sealed(&fixture, &before).await;
    let old = key_in(dir);
    for turn in 2..4 {
        let done = vault::rotate(None, None, dir, &fixture.store).await.unwrap();
        assert_eq!(done, Rotated { values: 3, key_version: turn });
        let after = vault::open(None, dir, &fixture.store).await.unwrap();
        assert!(opens(&fixture, &after, &id).await);
        assert!(!opens(&fixture, &before, &id).await, "the old key still opens");
    }
    assert_ne!(key_in(dir), old);
    assert!(!dir.join(NEXT_KEY_FILE).exists());
    let old = SecretString::from(old.trim());
    let error = vault::open(Some(old.expose()), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Wrong), "{error}");
}

async fn an_interrupted_rotation_leaves_a_key_that_opens(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let before = vault::open(None, dir, &fixture.store).await.unwrap();
    let id = sealed(&fixture, &before).await;
    let old = key_in(dir);
    // Killed ahead of the commit: a key waits that nothing was sealed under.
    secret_file(&dir.join(NEXT_KEY_FILE), || "5".repeat(64).into()).unwrap();
    let still = vault::open(None, dir, &fixture.store).await.unwrap();
    assert!(opens(&fixture, &still, &id).await);
    assert_eq!(key_in(dir), old);
    // The next try uses it.
    vault::rotate(None, None, dir, &fixture.store).await.unwrap();
    let new = key_in(dir);
    assert_eq!(new.trim(), "5".repeat(64));
    // Killed behind the commit: the old key is in its place, the new one waits.
    fs::rename(dir.join(AT_REST_KEY_FILE), dir.join(NEXT_KEY_FILE)).unwrap();
    secret_file(&dir.join(AT_REST_KEY_FILE), || old.trim().into()).unwrap();
    let after = vault::open(None, dir, &fixture.store).await.unwrap();
    assert!(opens(&fixture, &after, &id).await);
    assert_eq!(key_in(dir), new, "the start finished it");
    assert!(!dir.join(NEXT_KEY_FILE).exists());
}

async fn what_cannot_be_read_stops_a_rotation_before_anything_changes(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let before = vault::open(None, dir, &fixture.store).await.unwrap();
    let id = sealed(&fixture, &before).await;
    // A second deployment, whose text was altered.
    fixture.store.deploy(deployment(&fixture.first, "altered"), 20, NOW).await.unwrap();
    let (key, check) = (key_in(dir), fixture.store.key_check().await.unwrap());
    let error = vault::rotate(None, None, dir, &fixture.store).await.unwrap_err();
    assert!(matches!(error, VaultError::Store(StoreError::Sealed { .. })), "{error}");
    assert_eq!((key_in(dir), fixture.store.key_check().await.unwrap()), (key, check));
    assert_eq!(fixture.store.key_version().await.unwrap(), 1);
    let still = vault::open(None, dir, &fixture.store).await.unwrap();
    assert!(opens(&fixture, &still, &id).await);
}

async fn a_configured_key_is_replaced_by_whoever_configures_it(backend: Backend) {
    let fixture = fixture(backend).await;
    let dir = fixture.place.dir.path();
    let (one, two) = (SecretString::new("1".repeat(64)), SecretString::new("2".repeat(64)));
    let before = vault::open(Some(one.expose()), dir, &fixture.store).await.unwrap();
    let id = sealed(&fixture, &before).await;
    let refused = vault::rotate(Some(&one), None, dir, &fixture.store).await.unwrap_err();
    assert!(matches!(refused, VaultError::NextKey), "{refused}");
    let refused = vault::rotate(Some(&one), Some(&one), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(refused, VaultError::SameKey), "{refused}");
    let none = SecretString::from("hunter2");
    let refused = vault::rotate(Some(&one), Some(&none), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(refused, VaultError::Next(_)), "{refused}");
    let wrong = vault::rotate(Some(&two), Some(&one), dir, &fixture.store).await.unwrap_err();
    assert!(matches!(wrong, VaultError::Wrong), "{wrong}");
    assert!(opens(&fixture, &AtRest::new(AtRestKey::from_hex(one.expose()).unwrap()), &id).await);
    vault::rotate(Some(&one), Some(&two), dir, &fixture.store).await.unwrap();
    let after = vault::open(Some(two.expose()), dir, &fixture.store).await.unwrap();
    assert!(opens(&fixture, &after, &id).await);
    assert!(!dir.join(AT_REST_KEY_FILE).exists() && !dir.join(NEXT_KEY_FILE).exists());
}
