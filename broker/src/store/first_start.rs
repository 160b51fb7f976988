//! What a data directory holds, and how the database in it is born.
//!
//! **Contract.** A database appears under its name complete or not at all: it is made beside, with its
//! schema, its identity and the first mesh, and then renamed. So whatever bears the name is a whole
//! database, and a crash in the middle leaves an empty directory's worth of leftovers, which the next
//! start sweeps. A directory that holds anything else without a database is refused: it belongs to
//! something else, or its database was lost, and starting afresh would hide that. With a server's database the
//! directory keeps the lock, the keys and the tokens, and the same is asked of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::column::{MeshId, StoreId, UtcMs};
use super::error::{OpenError, Which};
use super::lock::{DirLock, LOCK_FILE};
use super::mesh::{Founded, NewMesh};
use super::open::{self, Access, DATABASE_FILE};
use super::postgres;
use crate::config::{AT_REST_KEY_FILE, DatabaseUrl};

/// The slug of the mesh that a first start makes.
pub const FIRST_MESH_SLUG: &str = "default";

/// Where a database is made before it gets its name.
const UNBORN_FILE: &str = "claudemesh.db.new";
/// An operator may put the settings here before the first start.
const SETTINGS_FILE: &str = "claudemesh.toml";

/// What was found in a data directory, or in a server's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirState {
    /// Nothing of value: a first start may [`create`].
    Empty,
    /// A database, not yet looked into: [`super::Store::open`] does.
    Database,
}

/// Who owns the first mesh.
#[derive(Debug, Clone)]
pub struct FirstOwner {
    /// The mesh, chosen by its owner so that statements about it can be signed ahead.
    pub mesh_id: MeshId,
    /// The public key that is the mesh's root of trust, 64 hex digits.
    pub pubkey: String,
    /// The public key that the owner is a member by, 64 hex digits.
    pub member_pubkey: String,
    /// The root's statement that this member is the owner.
    pub certificate: Option<String>,
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

/// Looks at a locked directory, and with `url` at a server's database, and changes nothing.
///
/// # Errors
/// [`OpenError::KeyWithoutDatabase`] and [`OpenError::NotEmpty`] when there is no database but there
/// are traces that there was one, or that the directory has another purpose; [`OpenError::TwoDatabases`] when the
/// directory has a database and another one is asked for.
pub async fn inspect(lock: &DirLock, url: Option<&DatabaseUrl>) -> Result<DirState, OpenError> {
    one_database(lock, url)?;
    let Some(url) = url else { return in_directory(lock) };
    let state = postgres::open::inspect(url).await?;
    if state == DirState::Empty {
        nothing_of_value(lock, &Which::Server(url.to_string()))?;
    }
    Ok(state)
}

/// Refuses a directory with a database of its own while another one is asked for.
pub(super) fn one_database(lock: &DirLock, url: Option<&DatabaseUrl>) -> Result<(), OpenError> {
    let file = lock.dir().join(DATABASE_FILE);
    match url {
        Some(url) if present(&file)? => Err(OpenError::TwoDatabases { file, database: Which::Server(url.to_string()) }),
        _ => Ok(()),
    }
}

fn in_directory(lock: &DirLock) -> Result<DirState, OpenError> {
    let database = lock.dir().join(DATABASE_FILE);
    if present(&database)? {
        return Ok(DirState::Database);
    }
    nothing_of_value(lock, &Which::File(database))?;
    Ok(DirState::Empty)
}

/// Refuses a directory that a new database would make unreadable, or whose purpose is another.
fn nothing_of_value(lock: &DirLock, database: &Which) -> Result<(), OpenError> {
    let dir = lock.dir();
    let key = dir.join(AT_REST_KEY_FILE);
    if present(&key)? {
        return Err(OpenError::KeyWithoutDatabase { key, database: database.clone() });
    }
    let failed = |source| OpenError::Io { step: "list", path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if !expected_when_empty(&name) {
            let (dir, found, database) = (dir.to_path_buf(), name.into_owned(), database.clone());
            return Err(OpenError::NotEmpty { dir, found, database });
        }
    }
    Ok(())
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

/// Makes the database of an empty directory, or with `url` that in an empty database of a server, and in it the mesh
/// [`FIRST_MESH_SLUG`] when an owner is given: identity, mesh and owner in one transaction.
///
/// # Errors
/// [`OpenError::Exists`] when there is one already, those of [`inspect`], and what the system or the
/// database refuse. Directory and database then still count as empty.
pub async fn create(lock: &DirLock, url: Option<&DatabaseUrl>, owner: Option<FirstOwner>) -> Result<Born, OpenError> {
    if let Some(url) = url {
        return match inspect(lock, Some(url)).await? {
            DirState::Empty => postgres::open::create(url, owner).await,
            DirState::Database => Err(OpenError::Exists(Which::Server(url.to_string()))),
        };
    }
    let lock = lock.clone();
    let database = Which::File(lock.dir().join(DATABASE_FILE));
    tokio::task::spawn_blocking(move || create_blocking(&lock, owner.as_ref()))
        .await
        .map_err(|source| OpenError::Database { step: "make", database, source: Box::new(source) })?
}

fn create_blocking(lock: &DirLock, owner: Option<&FirstOwner>) -> Result<Born, OpenError> {
    let database = lock.dir().join(DATABASE_FILE);
    if in_directory(lock)? == DirState::Database {
        return Err(OpenError::Exists(Which::File(database)));
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

/// The first rows of a database, in the transaction that the connection is in: on whichever backend.
macro_rules! first_rows {
    ($connection:ident, $owner:expr) => {{
        use ::diesel::{ExpressionMethods as _, RunQueryDsl, insert_into};
        use $crate::store::schema::{member, mesh, meta};

        let born = $crate::store::first_start::Born::new($owner);
        let row = (
            meta::singleton.eq(1),
            meta::store_id.eq(&born.store_id),
            meta::epoch.eq(0),
            meta::created_at.eq($crate::store::UtcMs::now()),
        );
        RunQueryDsl::execute(insert_into(meta::table).values(row), $connection)
            .and_then(|_| match &born.founded {
                None => Ok(0),
                Some($crate::store::Founded { mesh: first, owner }) => {
                    RunQueryDsl::execute(insert_into(mesh::table).values(first), $connection)?;
                    RunQueryDsl::execute(insert_into(member::table).values(owner), $connection)
                }
            })
            .map(|_| born)
    }};
}
pub(super) use first_rows;

/// Schema and first rows. The connection is closed, and so its journal folded in, on return.
fn fill(path: &Path, owner: Option<&FirstOwner>) -> Result<Born, OpenError> {
    let mut connection = open::connect(path, Access::ReadWrite)?;
    open::migrate(&mut connection, path)?;
    connection
        .immediate_transaction(|connection| first_rows!(connection, owner))
        .map_err(|error| open::refused("fill", path, error))
}

impl Born {
    /// A new identity, and with an owner a new mesh. Nothing of it is written yet.
    pub(super) fn new(owner: Option<&FirstOwner>) -> Self {
        let founded = owner.map(|owner| {
            let new = NewMesh {
                id: owner.mesh_id.clone(),
                slug: FIRST_MESH_SLUG.to_owned(),
                name: FIRST_MESH_SLUG.to_owned(),
                owner_pubkey: owner.pubkey.clone(),
                member_pubkey: owner.member_pubkey.clone(),
                certificate: owner.certificate.clone(),
                owner_name: owner.display_name.clone(),
            };
            Founded::new(new, UtcMs::now())
        });
        Self { store_id: StoreId::new(), founded }
    }
}
