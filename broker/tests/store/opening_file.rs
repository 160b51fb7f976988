//! What only a file can be: damaged, cut off, locked, or left by a kill with its log.

use std::fs;

use broker::store::{DATABASE_FILE, DirLock, OpenError, Store};
use diesel::connection::SimpleConnection as _;

use super::opening::{closed_database, content};
use super::{Backend, Place, fixture};

/// SQLite's, as it makes databases.
const PAGE_BYTES: usize = 4_096;

#[actix_rt::test]
async fn a_second_life_without_closing_reads_the_log() {
    let fixture = fixture(Backend::Sqlite).await;
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);
    // The state a kill leaves behind: database and log, copied while both are open.
    let copy = tempfile::tempdir().unwrap();
    for (name, bytes) in content(fixture.place.dir.path()) {
        fs::write(copy.path().join(name), bytes).unwrap();
    }
    let lock = DirLock::acquire(copy.path()).unwrap();
    assert_eq!(Store::open(&lock, None).await.unwrap().next_epoch().await.unwrap(), 2);
}

#[actix_rt::test]
async fn h48_a_database_held_by_another_program_is_refused() {
    let place = closed_database(Backend::Sqlite).await;
    let mut other = place.beside();
    other.batch_execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").unwrap();
    assert!(matches!(place.refusal().await, OpenError::Busy(_)));
    drop(other);
    place.open().await.unwrap();
}

#[actix_rt::test]
async fn h48_what_is_no_database_is_refused() {
    let place = closed_database(Backend::Sqlite).await;
    let path = place.dir.path().join(DATABASE_FILE);
    for garbage in [b"".as_slice(), b"SQLite", &[0; 8_192], b"SQLite format 3\0 and then not"] {
        fs::write(&path, garbage).unwrap();
        let error = place.refusal().await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(DATABASE_FILE), "{error}");
    }
}

#[actix_rt::test]
async fn h48_a_damaged_database_is_refused() {
    let place = closed_database(Backend::Sqlite).await;
    let path = place.dir.path().join(DATABASE_FILE);
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(place.refusal().await, OpenError::Corrupt { .. }));

    // The schema's pages, which every start reads; and the last page, which only a check of the whole finds.
    let last = whole.len() - PAGE_BYTES;
    for damage in [PAGE_BYTES..3 * PAGE_BYTES, last..whole.len()] {
        let mut damaged = whole.clone();
        damaged[damage].fill(0xa5);
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(place.refusal().await, OpenError::Corrupt { .. }));
    }

    fs::write(&path, &whole).unwrap();
    place.open().await.unwrap();
}

#[actix_rt::test]
async fn h48_a_directory_with_a_database_is_refused_to_a_servers() {
    let file = closed_database(Backend::Sqlite).await;
    let server = Place::new(Backend::Postgres);
    let place = Place { database: server.database, ..file };
    for error in [place.inspect().await.unwrap_err(), place.create(None).await.unwrap_err(), place.refusal().await] {
        assert!(matches!(error, OpenError::TwoDatabases { .. }), "{error}");
        assert!(error.to_string().contains(DATABASE_FILE), "{error}");
    }
    let place = Place { database: None, ..place };
    place.open().await.unwrap();
}
