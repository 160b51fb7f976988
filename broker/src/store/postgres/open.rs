//! What a server's database holds; how it is checked, brought up to date, and born.
//!
//! **Contract.** As on SQLite: everything is looked at, in a transaction that cannot write, before anything is
//! changed; and a database is born complete or not at all, here in one transaction. Whoever changes something holds
//! the lease. No step waits without end for what another program holds: a session has its limits from the beginning.

use diesel::connection::Connection as _;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::dial::{self, Role, Server};
use super::lease::{self, LEASE_WAIT, Lease};
use crate::config::DatabaseUrl;
use crate::store::column::StoreId;
use crate::store::error::{OpenError, Which};
use crate::store::first_start::{Born, DirState, FirstOwner, first_rows};
use crate::store::open::{known_versions, newer_or_unmade};
use crate::store::schema::{__diesel_schema_migrations as applied, meta};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/postgres");

/// Where the migration harness writes down what it did.
const APPLIED_TABLE: &str = "__diesel_schema_migrations";
/// The table that makes a database ours.
const META_TABLE: &str = "meta";

/// A database that passed its checks, and the session that holds its lease.
pub(in crate::store) struct Opened {
    pub(super) server: Server,
    pub(super) connection: AsyncPgConnection,
    pub(super) lease: Lease,
}

impl Opened {
    pub(in crate::store) fn id(&self) -> &StoreId {
        self.lease.store()
    }
}

/// Looks whether there is a database of anybody, and changes nothing.
pub(in crate::store) async fn inspect(url: &DatabaseUrl) -> Result<DirState, OpenError> {
    let server = Server::new(url)?;
    let mut connection = connect(&server, Role::Reader).await?;
    state(&mut connection, &server.which()).await
}

/// Takes the lease, checks the database, and brings its schema up to date.
pub(in crate::store) async fn open(url: &DatabaseUrl) -> Result<Opened, OpenError> {
    let server = Server::new(url)?;
    let mut connection = connect(&server, Role::Writer).await?;
    hold(&mut connection, &server).await?;
    let (store, epoch) = check(&mut connection, &server.which()).await?;
    let which = server.which();
    dial::unhurried(&mut connection).await.map_err(|error| refused("prepare", &which, error))?;
    let mut connection = blocking(connection, which.clone(), move |connection| {
        let done = connection.run_pending_migrations(MIGRATIONS).map(drop);
        done.map_err(|source| OpenError::Migrate { database: which, source })
    })
    .await?
    .0;
    let settled = dial::settle(&mut connection, Role::Writer).await;
    settled.map_err(|error| refused("prepare", &server.which(), error))?;
    Ok(Opened { server, connection, lease: Lease::new(store, epoch) })
}

/// Makes schema, identity, mesh and owner in an empty database, in one transaction.
pub(in crate::store) async fn create(url: &DatabaseUrl, owner: Option<FirstOwner>) -> Result<Born, OpenError> {
    let server = Server::new(url)?;
    let which = server.which();
    let mut connection = connect(&server, Role::Writer).await?;
    hold(&mut connection, &server).await?;
    if state(&mut connection, &which).await? == DirState::Database {
        return Err(OpenError::Exists(which));
    }
    dial::unhurried(&mut connection).await.map_err(|error| refused("prepare", &which, error))?;
    let made = blocking(connection, which.clone(), move |connection| {
        connection
            .transaction(|connection| {
                connection.run_pending_migrations(MIGRATIONS)?;
                Ok(first_rows!(connection, owner.as_ref())?)
            })
            .map_err(|source| OpenError::Migrate { database: which, source })
    });
    // The session goes here, and the lease with it.
    Ok(made.await?.1)
}

async fn connect(server: &Server, role: Role) -> Result<AsyncPgConnection, OpenError> {
    let connected = server.connect().await;
    let mut connection = connected.map_err(|source| OpenError::Unreachable { database: server.which(), source })?;
    let settled = dial::settle(&mut connection, role).await;
    settled.map_err(|error| refused("prepare", &server.which(), error))?;
    Ok(connection)
}

async fn hold(connection: &mut AsyncPgConnection, server: &Server) -> Result<(), OpenError> {
    let held = lease::take(connection, LEASE_WAIT).await;
    let held = held.map_err(|error| refused("take the lease on", &server.which(), error))?;
    held.map_err(|holder| OpenError::InUse { database: server.which(), holder })
}

type Blocking = AsyncConnectionWrapper<AsyncPgConnection>;

/// Runs what the migration harness can only do blocking, where blocking is allowed.
async fn blocking<T: Send + 'static>(
    connection: AsyncPgConnection,
    database: Which,
    work: impl FnOnce(&mut Blocking) -> Result<T, OpenError> + Send + 'static,
) -> Result<(AsyncPgConnection, T), OpenError> {
    let done = tokio::task::spawn_blocking(move || {
        let mut connection = Blocking::from(connection);
        let done = work(&mut connection)?;
        Ok((connection.into_inner(), done))
    });
    done.await.map_err(|source| OpenError::Database { step: "open", database, source: Box::new(source) })?
}

#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = Text)]
    encoding: String,
    #[diesel(sql_type = diesel::sql_types::Nullable<Text>)]
    schema: Option<String>,
}

#[derive(QueryableByName)]
struct Relation {
    #[diesel(sql_type = Text)]
    name: String,
}

/// What is in the schema that our names would lead to, but for what belongs to extensions.
async fn relations(connection: &mut AsyncPgConnection, which: &Which) -> Result<Vec<String>, OpenError> {
    let facts: Facts =
        diesel::sql_query("SELECT current_setting('server_encoding') AS encoding, current_schema()::text AS schema")
            .get_result(connection)
            .await
            .map_err(|error| refused("look at", which, error))?;
    let unsuitable = |reason: String| OpenError::Unsuitable { database: which.clone(), reason };
    if facts.encoding != "UTF8" {
        return Err(unsuitable(format!("its encoding is {}: make one with ENCODING 'UTF8'", facts.encoding)));
    }
    if facts.schema.is_none() {
        return Err(unsuitable("its search_path leads to no schema: make one, or say which".to_owned()));
    }
    let found: Vec<Relation> = diesel::sql_query(
        "SELECT relname::text AS name FROM pg_class \
         WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
         AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') ORDER BY 1",
    )
    .load(connection)
    .await
    .map_err(|error| refused("look at", which, error))?;
    Ok(found.into_iter().map(|relation| relation.name).collect())
}

async fn state(connection: &mut AsyncPgConnection, which: &Which) -> Result<DirState, OpenError> {
    let found = relations(connection, which).await?;
    Ok(if found.is_empty() { DirState::Empty } else { DirState::Database })
}

/// Every check reads in a transaction that cannot write.
async fn check(connection: &mut AsyncPgConnection, which: &Which) -> Result<(StoreId, i64), OpenError> {
    let found = relations(connection, which).await?;
    let Some(foreign) = found.as_slice().first() else {
        return Err(OpenError::Missing(which.clone()));
    };
    let corrupt = |reason: String| OpenError::Corrupt { database: which.clone(), reason };
    if ![APPLIED_TABLE, META_TABLE].iter().all(|table| found.iter().any(|name| name == table)) {
        return Err(corrupt(format!("it belongs to another program (it has {foreign:?})")));
    }
    let read = connection
        .build_transaction()
        .read_only()
        .repeatable_read()
        .run(async |connection| {
            let versions: Vec<String> =
                applied::table.select(applied::version).order(applied::version.asc()).load(connection).await?;
            Ok((versions, meta::table.select((meta::store_id, meta::epoch)).load(connection).await?))
        })
        .await;
    let (versions, stores): (Vec<String>, Vec<(StoreId, i64)>) = read.map_err(|error| refused("read", which, error))?;
    newer_or_unmade(&versions, &known_versions::<Pg>(&MIGRATIONS, which)?, which)?;
    match <[(StoreId, i64); 1]>::try_from(stores) {
        Ok([store]) => Ok(store),
        Err(stores) => Err(corrupt(format!("it names {} stores, not one", stores.len()))),
    }
}

fn refused(step: &'static str, which: &Which, error: diesel::result::Error) -> OpenError {
    OpenError::Database { step, database: which.clone(), source: Box::new(error) }
}
