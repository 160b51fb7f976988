//! The store on real files and a real server: each test on both, as `…::sqlite::name` and `…::postgres::name`.

/// The tests of a file: each of these functions is one on every backend.
macro_rules! on_both {
    ($($test:ident,)*) => {
        mod sqlite {
            $(#[actix_rt::test]
            async fn $test() {
                super::$test($crate::store::Backend::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[actix_rt::test]
            async fn $test() {
                super::$test($crate::store::Backend::Postgres).await;
            })*
        }
    };
}

mod batch;
mod cost;
mod expiry;
mod files;
mod handle;
mod hellos;
mod history;
mod invites;
mod lease;
mod mail;
mod mailboxes;
mod members;
mod opening;
mod opening_file;
mod outage;
mod plans;
mod rotation;
mod schema;
mod secrets;
mod services;
mod statements;
mod tls;
mod upgrade;
mod vault_entries;
mod watches;

use broker::config::DatabaseUrl;
use broker::store::first_start::{self, Born, DirState, FirstOwner};
use broker::store::{
    DATABASE_FILE, DeploymentId, DirLock, Document, Founded, MeshId, NewDeployment, NewServiceEvent, OpenError, Slot,
    Store, UtcMs,
};
use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use tempfile::TempDir;
use tests::harness::postgres::Database;

pub(crate) const NOW: UtcMs = UtcMs::from_ms(1_775_671_200_000);
/// The first mesh's root of trust.
pub(crate) const ROOT: &str = "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7";
/// The key of its owner.
pub(crate) const OWNER: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

/// Names that a query made by pasting text would choke on.
pub(crate) const HOSTILE: [&str; 8] = [
    "'; DROP TABLE mesh; --",
    "' OR '1'='1",
    "\"; DELETE FROM member WHERE \"1\"=\"1",
    "%",
    "_",
    "\\'",
    "naïve \u{202e}gnp.exe 🦀",
    "",
];

/// A name that no backend takes.
pub(crate) const NUL: &str = "a\u{0}b";

/// Which database a test is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

/// A locked directory, and on PostgreSQL an empty database beside it.
pub(crate) struct Place {
    pub(crate) lock: DirLock,
    pub(crate) dir: TempDir,
    pub(crate) database: Option<Database>,
}

impl Place {
    pub(crate) fn new(backend: Backend) -> Self {
        Self::with(tempfile::tempdir().unwrap(), backend)
    }

    /// A directory that holds something already.
    pub(crate) fn with(dir: TempDir, backend: Backend) -> Self {
        let lock = DirLock::acquire(dir.path()).unwrap();
        Self { lock, dir, database: (backend == Backend::Postgres).then(Database::create) }
    }

    pub(crate) fn url(&self) -> Option<DatabaseUrl> {
        self.database.as_ref().map(|database| database.url().parse().unwrap())
    }

    pub(crate) async fn inspect(&self) -> Result<DirState, OpenError> {
        first_start::inspect(&self.lock, self.url().as_ref()).await
    }

    pub(crate) async fn create(&self, owner: Option<FirstOwner>) -> Result<Born, OpenError> {
        first_start::create(&self.lock, self.url().as_ref(), owner).await
    }

    pub(crate) async fn open(&self) -> Result<Store, OpenError> {
        Store::open(&self.lock, self.url().as_ref()).await
    }

    /// Runs statements on the database beside the store's own connections.
    pub(crate) fn change(&self, sql: &str) {
        match &self.database {
            Some(database) => drop(database.rows(sql)),
            None => self.beside().batch_execute(sql).unwrap(),
        }
    }

    /// The same, for statements that should be refused: the database's words.
    pub(crate) fn try_change(&self, sql: &str) -> Result<(), String> {
        match &self.database {
            Some(database) => database.try_rows(sql).map(drop),
            None => self.beside().batch_execute(sql).map_err(|error| error.to_string()),
        }
    }

    /// The number that a query `SELECT … AS number` gives: what is there, whatever the store would show of it.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Number {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            number: i64,
        }
        match &self.database {
            Some(database) => database.rows(sql)[0][0].as_ref().unwrap().parse().unwrap(),
            None => diesel::sql_query(sql).get_result::<Number>(&mut self.beside()).unwrap().number,
        }
    }

    fn beside(&self) -> SqliteConnection {
        SqliteConnection::establish(self.dir.path().join(DATABASE_FILE).to_str().unwrap()).unwrap()
    }
}

/// A fresh store with the mesh `default` in it. Directory and database live as long as this.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) first: Founded,
    pub(crate) place: Place,
}

pub(crate) fn first_owner() -> FirstOwner {
    FirstOwner {
        mesh_id: MeshId::new(),
        pubkey: ROOT.to_owned(),
        member_pubkey: OWNER.to_owned(),
        certificate: Some("certificate".to_owned()),
        display_name: "Ada".to_owned(),
    }
}

pub(crate) async fn fixture(backend: Backend) -> Fixture {
    let place = Place::new(backend);
    let born = place.create(Some(first_owner())).await.unwrap();
    let store = place.open().await.unwrap();
    Fixture { store, first: born.founded.unwrap(), place }
}

/// A deployment of `service` in the fixture's mesh by its owner.
pub(crate) fn deployment(of: &Founded, service: &str) -> NewDeployment {
    NewDeployment {
        id: DeploymentId::new(),
        mesh_id: of.mesh.id.clone(),
        service: service.to_owned(),
        source: r#"{"type":"npx","package":"p"}"#.parse().unwrap(),
        args: Document::of(&["--port", "1"]).unwrap(),
        config: Document::of(&serde_json::json!({"policy": {}})).unwrap(),
        env_sealed: Some("v1.sealed".to_owned()),
        version: None,
        created_by: of.owner.id.clone(),
        scope: Document::of("peer").unwrap(),
        description: "d".to_owned(),
        runner: None,
        moving_to: None,
        slot: Slot::Pending,
        takes_over: true,
        file_id: None,
    }
}

/// An event numbered `at`.
pub(crate) fn event(of: &Founded, service: &str, at: i64) -> NewServiceEvent {
    NewServiceEvent {
        mesh_id: of.mesh.id.clone(),
        service: service.to_owned(),
        deployment: None,
        from_state: Some("starting".to_owned()),
        to_state: "running".to_owned(),
        cause: format!("event {at}"),
        at: UtcMs::from_ms(at),
    }
}
