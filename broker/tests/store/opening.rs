//! Start: what is opened, what is made, and what is refused with nothing changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use broker::config::AT_REST_KEY_FILE;
use broker::store::first_start::{DirState, FIRST_MESH_SLUG};
use broker::store::{DATABASE_FILE, DirLock, LockError, OpenError, Role};

use super::{Backend, OWNER, Place, ROOT, first_owner, fixture};

on_both! {
    a_first_start_makes_the_default_mesh_and_its_owner,
    a_database_may_be_born_without_a_mesh,
    the_files_are_for_their_owner_only,
    what_was_written_is_there_after_reopening,
    h48_a_missing_database_is_not_made_up,
    h48_a_directory_in_use_is_refused_to_a_second_broker,
    h48_a_database_of_another_program_is_refused,
    h48_a_database_without_its_identity_is_refused,
    h48_a_newer_database_is_refused,
    h48_a_key_without_its_database_is_refused,
    h48_a_directory_with_another_purpose_is_refused,
    a_database_is_never_made_over_another,
    a_first_start_that_was_cut_short_is_begun_anew,
    a_path_is_taken_as_it_is,
}

/// Every file of a directory with its content.
pub(crate) fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

impl Place {
    /// Everything that is kept: files, and on a server every table with its columns and rows.
    fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = content(self.dir.path());
        let Some(database) = &self.database else { return all };
        let tables = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'";
        for table in database.rows(tables).concat().into_iter().flatten() {
            let columns =
                format!("SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'public.{table}'::regclass");
            let rows = format!("SELECT t::text FROM public.{table} t ORDER BY 1");
            let found = [database.rows(&columns), database.rows(&rows)];
            all.insert(format!("table {table}"), format!("{found:?}").into_bytes());
        }
        all
    }

    /// Opening must fail and leave everything as it was.
    pub(crate) async fn refusal(&self) -> OpenError {
        let before = self.content();
        let error = self.open().await.expect_err("it opened");
        let after = self.content();
        let names = |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "something came or went on: {error}");
        assert!(after == before, "something changed on: {error}");
        error
    }
}

/// A healthy database that nobody has open.
pub(crate) async fn closed_database(backend: Backend) -> Place {
    let place = Place::new(backend);
    place.create(Some(first_owner())).await.unwrap();
    place
}

async fn a_first_start_makes_the_default_mesh_and_its_owner(backend: Backend) {
    let place = Place::new(backend);
    assert_eq!(place.inspect().await.unwrap(), DirState::Empty);
    let born = place.create(Some(first_owner())).await.unwrap();
    assert_eq!(place.inspect().await.unwrap(), DirState::Database);

    let store = place.open().await.unwrap();
    assert_eq!(*store.id(), born.store_id);
    let founded = born.founded.unwrap();
    assert_eq!(store.list_meshes().await.unwrap(), std::slice::from_ref(&founded.mesh));
    assert_eq!(founded.mesh.slug, FIRST_MESH_SLUG);
    assert_eq!(founded.mesh.owner_pubkey, ROOT);
    assert_eq!(founded.owner.certificate.as_deref(), Some("certificate"));
    assert_eq!(founded.owner.role, Role::Owner);
    let owner = store.member_by_pubkey(&founded.mesh.id, OWNER).await.unwrap();
    assert_eq!(owner, Some(founded.owner));
}

async fn a_database_may_be_born_without_a_mesh(backend: Backend) {
    let place = Place::new(backend);
    assert!(place.create(None).await.unwrap().founded.is_none());
    assert_eq!(place.open().await.unwrap().list_meshes().await.unwrap(), []);
}

async fn the_files_are_for_their_owner_only(backend: Backend) {
    use std::os::unix::fs::PermissionsExt;
    let fixture = fixture(backend).await;
    fixture.store.next_epoch().await.unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(fixture.place.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name());
    }
    assert_eq!(names.iter().any(|name| name == DATABASE_FILE), backend == Backend::Sqlite, "{names:?}");
}

async fn what_was_written_is_there_after_reopening(backend: Backend) {
    let fixture = fixture(backend).await;
    let id = fixture.store.id().clone();
    assert_eq!(fixture.store.next_epoch().await.unwrap(), 1);
    fixture.store.close().await.unwrap();
    let again = fixture.place.open().await.unwrap();
    assert_eq!(*again.id(), id);
    assert_eq!(again.next_epoch().await.unwrap(), 2);
    assert_eq!(again.list_meshes().await.unwrap(), [fixture.first.mesh]);
}

async fn h48_a_missing_database_is_not_made_up(backend: Backend) {
    let place = Place::new(backend);
    assert!(matches!(place.refusal().await, OpenError::Missing(_)));
}

async fn h48_a_directory_in_use_is_refused_to_a_second_broker(backend: Backend) {
    let place = fixture(backend).await;
    let store = place.store;
    let Place { lock, dir, database: _database } = place.place;
    let LockError::Held(locked) = DirLock::acquire(dir.path()).unwrap_err() else { panic!() };
    assert_eq!(locked.pid, Some(std::process::id()));
    // The store itself holds on to the lock, whoever took it.
    drop(lock);
    assert!(DirLock::acquire(dir.path()).is_err());
    drop(store);
}

async fn h48_a_database_of_another_program_is_refused(backend: Backend) {
    let place = Place::new(backend);
    place.change("CREATE TABLE theirs (x INTEGER); INSERT INTO theirs VALUES (1);");
    assert_eq!(place.inspect().await.unwrap(), DirState::Database);
    assert!(matches!(place.refusal().await, OpenError::Corrupt { .. }));
    assert!(matches!(place.create(Some(first_owner())).await, Err(OpenError::Exists(_))));
    assert_eq!(place.number("SELECT count(*) AS number FROM theirs"), 1);
}

async fn h48_a_database_without_its_identity_is_refused(backend: Backend) {
    let place = closed_database(backend).await;
    place.change("DELETE FROM meta;");
    assert!(matches!(place.refusal().await, OpenError::Corrupt { .. }));
}

async fn h48_a_newer_database_is_refused(backend: Backend) {
    let place = closed_database(backend).await;
    place.change("INSERT INTO __diesel_schema_migrations (version) VALUES ('9999');");
    match place.refusal().await {
        OpenError::Newer { found, known, .. } => {
            assert_eq!(found, "9999");
            assert!(known.as_str() < "9999" && !known.is_empty());
        }
        other => panic!("{other}"),
    }
}

async fn h48_a_key_without_its_database_is_refused(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(AT_REST_KEY_FILE), "k").unwrap();
    let place = Place::with(dir, backend);
    let before = place.content();
    for error in [place.inspect().await.unwrap_err(), place.create(None).await.unwrap_err()] {
        assert!(matches!(error, OpenError::KeyWithoutDatabase { .. }), "{error}");
    }
    assert_eq!(place.content(), before);
}

async fn h48_a_directory_with_another_purpose_is_refused(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.tex"), "…").unwrap();
    let place = Place::with(dir, backend);
    let before = place.content();
    match place.create(None).await.unwrap_err() {
        OpenError::NotEmpty { found, .. } => assert_eq!(found, "thesis.tex"),
        other => panic!("{other}"),
    }
    assert_eq!(place.content(), before);
}

async fn a_database_is_never_made_over_another(backend: Backend) {
    let place = closed_database(backend).await;
    let before = place.content();
    let error = place.create(Some(first_owner())).await.unwrap_err();
    assert!(matches!(error, OpenError::Exists(_)), "{error}");
    assert_eq!(place.content(), before);
}

async fn a_first_start_that_was_cut_short_is_begun_anew(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    for leftover in ["claudemesh.db.new", "claudemesh.db.new-wal", "claudemesh.db.new-shm"] {
        fs::write(dir.path().join(leftover), "half").unwrap();
    }
    let place = Place::with(dir, backend);
    if let Some(database) = &place.database {
        // Its very last row is refused: all that came before must go as well.
        database.rows(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS \
             $$ BEGIN ALTER TABLE member ADD CHECK (false); END $$; \
             CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN tag IN ('CREATE INDEX') EXECUTE FUNCTION refuse();",
        );
        let error = place.create(Some(first_owner())).await.unwrap_err();
        assert!(matches!(error, OpenError::Migrate { .. }), "{error}");
        database.rows("DROP EVENT TRIGGER refuse; DROP FUNCTION refuse;");
    }
    assert_eq!(place.inspect().await.unwrap(), DirState::Empty);
    place.create(Some(first_owner())).await.unwrap();
    if backend == Backend::Sqlite {
        assert_eq!(content(place.dir.path()).into_keys().collect::<Vec<_>>(), [DATABASE_FILE, "lock"]);
    }
    place.open().await.unwrap();
}

async fn a_path_is_taken_as_it_is(backend: Backend) {
    let parent = tempfile::tempdir().unwrap();
    let odd = parent.path().join("a b?mode=memory#%41 é");
    let place = Place { lock: DirLock::acquire(&odd).unwrap(), ..Place::new(backend) };
    place.create(Some(first_owner())).await.unwrap();
    place.open().await.unwrap().next_epoch().await.unwrap();
    assert_eq!(odd.join(DATABASE_FILE).is_file(), backend == Backend::Sqlite);
}
