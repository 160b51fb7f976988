//! What happens to SQLite's file ahead of its first query: it is checked, then brought up to date.
//!
//! **Contract.** [`prepare`] looks before it touches. Every check reads through a connection that
//! cannot write; only when all have passed is the schema changed, each step in a transaction.
//! These functions block: they run where blocking is allowed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::prelude::*;
use diesel::sqlite::Sqlite;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::column::StoreId;
use super::error::{OpenError, Which};
use super::schema::{__diesel_schema_migrations as applied, meta};

/// The database's name inside the data directory.
pub const DATABASE_FILE: &str = "claudemesh.db";

/// Every SQLite database starts with these bytes.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Up to this size every page is verified at start (about a second); above it only what is read.
const FULL_CHECK_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// How long the checks wait for another program to let go of the file.
const CHECK_PRAGMAS: &str = "PRAGMA busy_timeout = 1000;";
/// For the connection that changes the schema. The journal mode stays with the file.
const MIGRATE_PRAGMAS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
                               PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/sqlite");

/// What a connection may do to the file.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Read a file that nobody has open: without locks, and without the journals that even a
    /// reading connection would otherwise leave beside it.
    ReadClosed,
    /// Read a file and its log.
    Read,
    ReadWrite,
}

/// What SQLite may keep beside a database.
pub(super) const JOURNAL_ENDINGS: [&str; 3] = ["-wal", "-shm", "-journal"];

pub(super) fn journals(database: &Path) -> [PathBuf; 3] {
    JOURNAL_ENDINGS.map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    })
}

/// The connection text for `path`. A mode in it keeps SQLite from making a file that is not there.
pub(super) fn sqlite_url(path: &Path, access: Access) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt;

    let mut url = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                url.push(char::from(*byte));
            }
            // Writing into a String cannot fail.
            other => {
                let _ = write!(url, "%{other:02X}");
            }
        }
    }
    url.push_str(match access {
        Access::ReadClosed => "?mode=ro&immutable=1",
        Access::Read => "?mode=ro",
        Access::ReadWrite => "?mode=rw",
    });
    url
}

/// Checks the database and brings its schema up to date.
pub(super) fn prepare(path: &Path) -> Result<StoreId, OpenError> {
    check_header(path)?;
    let id = check_content(path)?;
    let mut connection = connect(path, Access::ReadWrite)?;
    migrate(&mut connection, path)?;
    Ok(id)
}

/// Runs the schema changes that are not there yet.
pub(super) fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    connection.batch_execute(MIGRATE_PRAGMAS).map_err(|e| refused("prepare", path, e))?;
    connection
        .run_pending_migrations(MIGRATIONS)
        .map(drop)
        .map_err(|source| OpenError::Migrate { database: which(path), source })
}

pub(super) fn connect(path: &Path, access: Access) -> Result<SqliteConnection, OpenError> {
    SqliteConnection::establish(&sqlite_url(path, access)).map_err(|source| OpenError::Database {
        step: "connect to",
        database: which(path),
        source: Box::new(source),
    })
}

/// Sorts a database error into what a person can act on.
pub(super) fn refused(step: &'static str, path: &Path, error: diesel::result::Error) -> OpenError {
    let text = error.to_string();
    let database = which(path);
    // The driver passes SQLite's result code on as its text only.
    if text.contains("database is locked") || text.contains("database table is locked") {
        return OpenError::Busy(database);
    }
    if ["malformed", "not a database", "no such table", "no such column"].iter().any(|sign| text.contains(sign)) {
        return OpenError::Corrupt { database, reason: text };
    }
    OpenError::Database { step, database, source: Box::new(error) }
}

fn which(path: &Path) -> Which {
    Which::File(path.to_path_buf())
}

fn corrupt(path: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Corrupt { database: which(path), reason: reason.into() }
}

fn check_header(path: &Path) -> Result<(), OpenError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing(which(path)));
        }
        Err(source) => {
            return Err(OpenError::Io { step: "open", path: path.to_path_buf(), source });
        }
    };
    let mut magic = [0_u8; SQLITE_MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == SQLITE_MAGIC => Ok(()),
        Ok(()) => Err(corrupt(path, "it is not an SQLite database")),
        // SQLite takes a file of no bytes for a new database; here it is one that lost its content.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(corrupt(path, "it is too short to be a database"))
        }
        Err(source) => Err(OpenError::Io { step: "read", path: path.to_path_buf(), source }),
    }
}

#[derive(QueryableByName)]
struct CheckLine {
    #[diesel(sql_type = diesel::sql_types::Text)]
    quick_check: String,
}

fn check_content(path: &Path) -> Result<StoreId, OpenError> {
    // A log beside the file holds what was committed last, so it has to be read too.
    let access = match journals(path).iter().any(|journal| journal.exists()) {
        true => Access::Read,
        false => Access::ReadClosed,
    };
    let connection = &mut connect(path, access)?;
    connection.batch_execute(CHECK_PRAGMAS).map_err(|e| refused("prepare", path, e))?;
    let bytes = std::fs::metadata(path).map_or(0, |facts| facts.len());
    if bytes <= FULL_CHECK_MAX_BYTES {
        // A constant text: the query builder has no word for it.
        let lines: Vec<CheckLine> =
            diesel::sql_query("PRAGMA quick_check(1)").load(connection).map_err(|e| refused("check", path, e))?;
        match lines.first() {
            Some(line) if line.quick_check == "ok" => {}
            Some(line) => return Err(corrupt(path, line.quick_check.as_str())),
            None => return Err(corrupt(path, "the check gave no answer")),
        }
    }
    check_version(connection, path)?;
    let ids: Vec<StoreId> =
        meta::table.select(meta::store_id).load(connection).map_err(|e| refused("read", path, e))?;
    match <[StoreId; 1]>::try_from(ids) {
        Ok([id]) => Ok(id),
        Err(ids) => Err(corrupt(path, format!("it names {} stores, not one", ids.len()))),
    }
}

fn check_version(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let versions: Vec<String> = applied::table
        .select(applied::version)
        .order(applied::version.asc())
        .load(connection)
        .map_err(|e| refused("read the schema version of", path, e))?;
    newer_or_unmade(&versions, &known_versions::<Sqlite>(&MIGRATIONS, &which(path))?, &which(path))
}

/// Refuses a schema that a later program changed, and one that never was made.
pub(super) fn newer_or_unmade(
    versions: &[String],
    known: &BTreeSet<String>,
    database: &Which,
) -> Result<(), OpenError> {
    if let Some(found) = versions.iter().find(|version| !known.contains(*version)) {
        return Err(OpenError::Newer {
            database: database.clone(),
            found: found.clone(),
            known: known.last().cloned().unwrap_or_default(),
        });
    }
    if versions.is_empty() {
        let reason = "no schema was ever made in it".to_owned();
        return Err(OpenError::Corrupt { database: database.clone(), reason });
    }
    Ok(())
}

/// The versions of the schema that this program knows.
pub(super) fn known_versions<DB: Backend>(
    source: &EmbeddedMigrations,
    database: &Which,
) -> Result<BTreeSet<String>, OpenError> {
    let migrations: Vec<Box<dyn Migration<DB>>> =
        source.migrations().map_err(|source| OpenError::Migrate { database: database.clone(), source })?;
    Ok(migrations.iter().map(|migration| migration.name().version().to_string()).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn a_path_cannot_speak_to_the_connection() {
        let url = sqlite_url(Path::new("/a b/c?mode=memory#x%41/é"), Access::Read);
        assert_eq!(url, "file:/a%20b/c%3Fmode%3Dmemory%23x%2541/%C3%A9?mode=ro");
    }

    #[test]
    fn every_migration_has_a_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("there and back.db");
        File::create_new(&path).unwrap();
        let mut connection = connect(&path, Access::ReadWrite).unwrap();
        migrate(&mut connection, &path).unwrap();
        connection.revert_all_migrations(MIGRATIONS).unwrap();
        migrate(&mut connection, &path).unwrap();
        meta::table.count().get_result::<i64>(&mut connection).unwrap();
    }

    #[test]
    fn errors_are_sorted_by_what_to_do() {
        let sorted = |text: &str| {
            let error = diesel::result::Error::DatabaseError(
                diesel::result::DatabaseErrorKind::Unknown,
                Box::new(text.to_owned()),
            );
            refused("read", Path::new("x"), error)
        };
        assert!(matches!(sorted("database is locked"), OpenError::Busy(_)));
        assert!(matches!(sorted("file is not a database"), OpenError::Corrupt { .. }));
        assert!(matches!(sorted("disk I/O error"), OpenError::Database { .. }));
    }
}
