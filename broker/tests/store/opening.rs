//! Start: what is opened, what is made, and what is refused with nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use broker::config::AT_REST_KEY_FILE;
use broker::store::first_start::{self, DirState, FIRST_MESH_SLUG};
use broker::store::{DATABASE_FILE, DirLock, LockError, OpenError, Role, Store};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::{OWNER, first_owner, fixture};

/// Every file of a directory with its content.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn connect(dir: &Path) -> SqliteConnection {
    SqliteConnection::establish(dir.join(DATABASE_FILE).to_str().unwrap()).unwrap()
}

/// A locked directory with a healthy, closed database.
async fn closed_database() -> (tempfile::TempDir, DirLock) {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    first_start::create(&lock, Some(first_owner())).await.unwrap();
    (dir, lock)
}

/// Opening must fail and leave every byte as it was.
async fn refusal(lock: &DirLock) -> OpenError {
    let before = content(lock.dir());
    let error = Store::open(lock).await.expect_err("it opened");
    let after = content(lock.dir());
    let names = |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "files came or went on: {error}");
    assert!(after == before, "a file changed on: {error}");
    error
}

#[actix_rt::test]
async fn a_first_start_makes_the_default_mesh_and_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(&dir.path().join("new/data")).unwrap();
    assert_eq!(first_start::inspect(&lock).unwrap(), DirState::Empty);
    let born = first_start::create(&lock, Some(first_owner())).await.unwrap();
    assert_eq!(first_start::inspect(&lock).unwrap(), DirState::Database);

    let store = Store::open(&lock).await.unwrap();
    assert_eq!(*store.id(), born.store_id);
    let founded = born.founded.unwrap();
    assert_eq!(store.list_meshes().await.unwrap(), std::slice::from_ref(&founded.mesh));
    assert_eq!(founded.mesh.slug, FIRST_MESH_SLUG);
    assert_eq!(founded.mesh.owner_pubkey, OWNER);
    assert_eq!(founded.owner.role, Role::Owner);
    let owner = store.member_by_pubkey(&founded.mesh.id, OWNER).await.unwrap();
    assert_eq!(owner, Some(founded.owner));
}

#[actix_rt::test]
async fn a_database_may_be_born_without_a_mesh() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    assert!(first_start::create(&lock, None).await.unwrap().founded.is_none());
    assert_eq!(Store::open(&lock).await.unwrap().list_meshes().await.unwrap(), []);
}

#[actix_rt::test]
async fn the_database_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = fixture().await;
    fixture.store.next_epoch().await.unwrap();
    for entry in fs::read_dir(fixture.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

#[actix_rt::test]
async fn what_was_written_is_there_after_reopening() {
    let fixture = fixture().await;
    let id = fixture.store.id().clone();
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);
    fixture.store.close().await.unwrap();
    let again = Store::open(&fixture.lock).await.unwrap();
    assert_eq!(*again.id(), id);
    assert_eq!(again.next_epoch().await.unwrap(), 2);
    assert_eq!(again.list_meshes().await.unwrap(), [fixture.first.mesh]);
}

#[actix_rt::test]
async fn a_second_life_without_closing_reads_the_log() {
    let fixture = fixture().await;
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);
    // The state a kill leaves behind: database and log, copied while both are open.
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in content(fixture.dir.path()) {
        fs::write(copy.path().join(name), bytes).unwrap();
    }
    let lock = DirLock::acquire(copy.path()).unwrap();
    assert_eq!(Store::open(&lock).await.unwrap().next_epoch().await.unwrap(), 2);
}

#[actix_rt::test]
async fn h48_a_missing_database_is_not_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Missing(_)));
}

#[actix_rt::test]
async fn h48_a_directory_in_use_is_refused_to_a_second_broker() {
    let fixture = fixture().await;
    let LockError::Held(locked) = DirLock::acquire(fixture.dir.path()).unwrap_err() else { panic!() };
    assert_eq!(locked.pid, Some(std::process::id()));
    // The store itself holds on to the lock, whoever took it.
    let dir = fixture.dir;
    drop(fixture.lock);
    assert!(DirLock::acquire(dir.path()).is_err());
}

#[actix_rt::test]
async fn h48_a_database_held_by_another_program_is_refused() {
    let (dir, lock) = closed_database().await;
    let mut other = connect(dir.path());
    other.batch_execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Busy(_)));
    drop(other);
    Store::open(&lock).await.unwrap();
}

#[actix_rt::test]
async fn h48_what_is_no_database_is_refused() {
    let (dir, lock) = closed_database().await;
    let path = dir.path().join(DATABASE_FILE);
    for garbage in [b"".as_slice(), b"SQLite", &[0; 8_192], b"SQLite format 3\0 and then not"] {
        fs::write(&path, garbage).unwrap();
        let error = refusal(&lock).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(DATABASE_FILE), "{error}");
    }
}

#[actix_rt::test]
async fn h48_a_damaged_database_is_refused() {
    let (dir, lock) = closed_database().await;
    let path = dir.path().join(DATABASE_FILE);
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Corrupt { .. }));

    let mut damaged = whole.clone();
    damaged[4_096..3 * 4_096].fill(0xa5);
    fs::write(&path, &damaged).unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Corrupt { .. }));

    fs::write(&path, &whole).unwrap();
    Store::open(&lock).await.unwrap();
}

#[actix_rt::test]
async fn h48_a_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    connect(dir.path()).batch_execute("CREATE TABLE theirs (x);").unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Corrupt { .. }));
}

#[actix_rt::test]
async fn h48_a_database_without_its_identity_is_refused() {
    let (dir, lock) = closed_database().await;
    connect(dir.path()).batch_execute("DELETE FROM meta;").unwrap();
    assert!(matches!(refusal(&lock).await, OpenError::Corrupt { .. }));
}

#[actix_rt::test]
async fn h48_a_newer_database_is_refused() {
    let (dir, lock) = closed_database().await;
    connect(dir.path()).batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999');").unwrap();
    match refusal(&lock).await {
        OpenError::Newer { found, known, .. } => {
            assert_eq!(found, "9999");
            assert!(known.as_str() < "9999" && !known.is_empty());
        }
        other => panic!("{other}"),
    }
}

#[actix_rt::test]
async fn h48_a_key_without_its_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(AT_REST_KEY_FILE), "k").unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    let before = content(dir.path());
    for error in [first_start::inspect(&lock).unwrap_err(), first_start::create(&lock, None).await.unwrap_err()] {
        assert!(matches!(error, OpenError::KeyWithoutDatabase { .. }), "{error}");
    }
    assert_eq!(content(dir.path()), before);
}

#[actix_rt::test]
async fn h48_a_directory_with_another_purpose_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "…").unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    match first_start::create(&lock, None).await.unwrap_err() {
        OpenError::NotEmpty { found, .. } => assert_eq!(found, "thesis.tex"),
        other => panic!("{other}"),
    }
}

#[actix_rt::test]
async fn a_database_is_never_made_over_another() {
    let (dir, lock) = closed_database().await;
    let before = content(dir.path());
    let error = first_start::create(&lock, Some(first_owner())).await.unwrap_err();
    assert!(matches!(error, OpenError::Exists(_)), "{error}");
    assert_eq!(content(dir.path()), before);
}

#[actix_rt::test]
async fn a_first_start_that_was_cut_short_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    for leftover in ["claudemesh.db.new", "claudemesh.db.new-wal", "claudemesh.db.new-shm"] {
        fs::write(dir.path().join(leftover), "half").unwrap();
    }
    let lock = DirLock::acquire(dir.path()).unwrap();
    assert_eq!(first_start::inspect(&lock).unwrap(), DirState::Empty);
    first_start::create(&lock, Some(first_owner())).await.unwrap();
    let names: Vec<String> = content(dir.path()).into_keys().collect();
    assert_eq!(names, [DATABASE_FILE, "lock"]);
    Store::open(&lock).await.unwrap();
}

#[actix_rt::test]
async fn a_path_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a b?mode=memory#%41 é");
    let lock = DirLock::acquire(&odd).unwrap();
    first_start::create(&lock, Some(first_owner())).await.unwrap();
    Store::open(&lock).await.unwrap().next_epoch().await.unwrap();
    assert!(odd.join(DATABASE_FILE).is_file());
}
