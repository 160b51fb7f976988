//! What a data directory holds, and how the database in it is born.
//!
//! **Contract.** A database appears under its name complete or not at all: it is made beside, with its
//! schema, its identity and the first mesh, and then renamed. So whatever bears the name is a whole
//! database, and a crash in the middle leaves an empty directory's worth of leftovers, which the next
//! start sweeps. A directory that holds anything else without a database is refused: it belongs to
//! something else, or its database was lost, and starting afresh would hide that.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use diesel::prelude::*;

use super::column::{StoreId, UtcMs};
use super::error::OpenError;
use super::lock::{DirLock, LOCK_FILE};
use super::member::Member;
use super::mesh::{Founded, Mesh, NewMesh};
use super::open::{self, Access, DATABASE_FILE};
use super::schema::{member, mesh, meta};
use crate::config::AT_REST_KEY_FILE;

/// The slug of the mesh that a first start makes.
pub const FIRST_MESH_SLUG: &str = "default";

/// Where a database is made before it gets its name.
const UNBORN_FILE: &str = "claudemesh.db.new";
/// An operator may put the settings here before the first start.
const SETTINGS_FILE: &str = "claudemesh.toml";

/// What was found in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirState {
    /// Nothing of value: a first start may [`create`].
    Empty,
    /// A database, not yet looked into: [`super::Store::open`] does.
    Database,
}

/// The key that owns the first mesh.
#[derive(Debug, Clone)]
pub struct FirstOwner {
    /// The owner's public key, 64 hex digits.
    pub pubkey: String,
    /// What the owner is called.
    pub display_name: String,
}

/// What a first start made.
#[derive(Debug, Clone)]
pub struct Born {
    /// The new database.
    pub store_id: StoreId,
    /// The mesh `default` and its owner, when an owner was given.
    pub founded: Option<Founded>,
}

/// Looks at a locked directory and changes nothing.
///
/// # Errors
/// [`OpenError::KeyWithoutDatabase`] and [`OpenError::NotEmpty`] when there is no database but there
/// are traces that there was one, or that the directory has another purpose.
pub fn inspect(lock: &DirLock) -> Result<DirState, OpenError> {
    let dir = lock.dir();
    let database = dir.join(DATABASE_FILE);
    if present(&database)? {
        return Ok(DirState::Database);
    }
    let key = dir.join(AT_REST_KEY_FILE);
    if present(&key)? {
        return Err(OpenError::KeyWithoutDatabase { key, database });
    }
    let failed = |source| OpenError::Io { step: "list", path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if !expected_when_empty(&name) {
            return Err(OpenError::NotEmpty { dir: dir.to_path_buf(), found: name.into_owned() });
        }
    }
    Ok(DirState::Empty)
}

fn expected_when_empty(name: &str) -> bool {
    let leftover = name
        .strip_prefix(UNBORN_FILE)
        .is_some_and(|ending| ending.is_empty() || open::JOURNAL_ENDINGS.contains(&ending));
    leftover || name == LOCK_FILE || name == SETTINGS_FILE
}

fn present(path: &Path) -> Result<bool, OpenError> {
    // A dangling symbolic link counts: it says that something should be there.
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OpenError::Io { step: "look at", path: path.to_path_buf(), source }),
    }
}

/// Makes the database of an empty directory, and in it the mesh [`FIRST_MESH_SLUG`] when an owner is
/// given: identity, mesh and owner in one transaction.
///
/// # Errors
/// [`OpenError::Exists`] when there is one already, those of [`inspect`], and what the system or the
/// database refuse. The directory then still counts as empty.
pub async fn create(lock: &DirLock, owner: Option<FirstOwner>) -> Result<Born, OpenError> {
    let lock = lock.clone();
    let path = lock.dir().join(DATABASE_FILE);
    tokio::task::spawn_blocking(move || create_blocking(&lock, owner.as_ref()))
        .await
        .map_err(|source| OpenError::Database { step: "make", path, source: Box::new(source) })?
}

fn create_blocking(lock: &DirLock, owner: Option<&FirstOwner>) -> Result<Born, OpenError> {
    let database = lock.dir().join(DATABASE_FILE);
    if inspect(lock)? == DirState::Database {
        return Err(OpenError::Exists(database));
    }
    let unborn = lock.dir().join(UNBORN_FILE);
    sweep(&unborn)?;
    let io_failed = |step, path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { step, path, source }
    };
    // Made here, so that it is never readable by others; SQLite gives its journals the same mode.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unborn).map_err(io_failed("make", &unborn))?;
    let born = fill(&unborn, owner)?;
    let whole = File::open(&unborn).and_then(|file| file.sync_all());
    whole.map_err(io_failed("write out", &unborn))?;
    fs::rename(&unborn, &database).map_err(io_failed("name", &database))?;
    let named = File::open(lock.dir()).and_then(|dir| dir.sync_all());
    named.map_err(io_failed("write out", lock.dir()))?;
    Ok(born)
}

fn sweep(unborn: &Path) -> Result<(), OpenError> {
    for path in std::iter::once(unborn.to_path_buf()).chain(open::journals(unborn)) {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(OpenError::Io { step: "sweep", path, source });
            }
        }
    }
    Ok(())
}

/// Schema and first rows. The connection is closed, and so its journal folded in, on return.
fn fill(path: &Path, owner: Option<&FirstOwner>) -> Result<Born, OpenError> {
    let mut connection = open::connect(path, Access::ReadWrite)?;
    open::migrate(&mut connection, path)?;
    connection
        .immediate_transaction(|connection| first_rows(connection, owner))
        .map_err(|error| open::refused("fill", path, error))
}

fn first_rows(connection: &mut SqliteConnection, owner: Option<&FirstOwner>) -> QueryResult<Born> {
    let now = UtcMs::now();
    let store_id = StoreId::new();
    diesel::insert_into(meta::table)
        .values((meta::singleton.eq(1), meta::store_id.eq(&store_id), meta::epoch.eq(0), meta::created_at.eq(now)))
        .execute(connection)?;
    let Some(owner) = owner else {
        return Ok(Born { store_id, founded: None });
    };
    let founded = Founded::new(
        NewMesh {
            slug: FIRST_MESH_SLUG.to_owned(),
            name: FIRST_MESH_SLUG.to_owned(),
            owner_pubkey: owner.pubkey.clone(),
            owner_name: owner.display_name.clone(),
        },
        now,
    );
    let Founded { mesh: first, owner } = &founded;
    diesel::insert_into(mesh::table).values::<&Mesh>(first).execute(connection)?;
    diesel::insert_into(member::table).values::<&Member>(owner).execute(connection)?;
    Ok(Born { store_id, founded: Some(founded) })
}
