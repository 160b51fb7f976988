//! PostgreSQL for tests: a database of one's own on the run's server, or a whole server to restart and break.
//!
//! `scripts/test.sh` starts the run's server and names it in `CLAUDEMESH_TEST_DATABASE_URL`; somebody else's server may
//! be named there as well. A test makes its database on it, and drops it at the end, whoever is connected to it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::programs;

/// Names the server that tests make their databases on.
pub const SERVER: &str = "CLAUDEMESH_TEST_DATABASE_URL";

/// Of PostgreSQL 15 and newer.
const ORDER: &str = "LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C.UTF-8'";

/// The address of the server's own database, from the environment.
///
/// # Panics
/// When there is none: a test that needs a server fails then, and says what to type.
#[must_use]
pub fn server_url() -> String {
    std::env::var(SERVER).unwrap_or_else(|_| {
        panic!("{SERVER} is not set: type `make test`, or first: eval \"$(scripts/postgres.sh start)\"")
    })
}

/// A database of one test.
#[derive(Debug)]
pub struct Database {
    server: String,
    url: String,
    name: String,
}

impl Database {
    /// Makes an empty one on the run's server.
    #[must_use]
    pub fn create() -> Self {
        Self::create_on(&server_url())
    }

    /// Makes an empty one on this server. Its letters are ordered as people do it, so that a text column of ours that
    /// leaves the order to the database is noticed.
    #[must_use]
    pub fn create_on(server: &str) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("cm_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let _ = rows(server, &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {ORDER}"));
        Self { server: server.to_owned(), url: with_database(server, &name), name }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements beside the product's own connections; the rows of all of them, as text.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        rows(&self.url, sql)
    }

    /// The same, for statements that may be refused: the server's words.
    ///
    /// # Errors
    /// What the server, or the way to it, answered.
    pub fn try_rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        try_rows(&self.url, sql)
    }

    /// Ends every session on it, as the server does when an administrator says so. How many there were.
    pub fn end_sessions(&self) -> usize {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ";
        rows(&self.server, &format!("{sql}'{}'", self.name)).len()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that is down, or going down with its test, has nothing left to tidy up.
        let _ = try_rows(&self.server, &format!("DROP DATABASE {} WITH (FORCE)", self.name));
    }
}

/// The same server's address with another database.
#[must_use]
pub fn with_database(server: &str, name: &str) -> String {
    let (address, query) = server.split_once('?').map_or((server, None), |(address, query)| (address, Some(query)));
    let (host, _database) = address.rsplit_once('/').expect("an address names a database");
    format!("{host}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
}

fn rows(url: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    try_rows(url, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// On a thread of its own, since callers may be inside a runtime, and may be going down.
fn try_rows(url: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, String> {
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
                let driver = tokio::spawn(connection);
                let answer = client.simple_query(sql).await;
                drop(client);
                let _ = driver.await;
                answer
            })
        });
        asking.join().expect("asking a server does not panic")
    });
    let messages = asked.map_err(|error: tokio_postgres::Error| {
        error.as_db_error().map_or_else(|| error.to_string(), |answer| answer.message().to_owned())
    })?;
    let found = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    });
    Ok(found.collect())
}

/// A server of one test, which it may restart and kill.
#[derive(Debug)]
pub struct Server {
    url: String,
    home: String,
    /// Where it speaks TLS, if it was given a certificate.
    pub tls_port: Option<u16>,
}

impl Server {
    /// Starts one that is reached through its Unix socket alone.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[], None)
    }

    /// Starts one that speaks TLS on 127.0.0.1 too, with this certificate, and asks for a password there.
    #[must_use]
    pub fn start_tls(cert: &Path, key: &Path) -> Self {
        // Free a moment ago. The kernel hands these numbers out in turn, so nobody else has it yet.
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
        let number = port.to_string();
        let path = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        Self::start_with(&["--port", &number, "--cert", &path(cert), "--key", &path(key)], Some(port))
    }

    fn start_with(words: &[&str], tls_port: Option<u16>) -> Self {
        let owner = std::process::id().to_string();
        let said = script(&[&["start", "--owner", &owner], words].concat());
        let value = |name: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("no {name} in: {said}")).to_owned()
        };
        Self { url: value(SERVER), home: value("CLAUDEMESH_TEST_POSTGRES"), tls_port }
    }

    /// The address of its own database, through its socket.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder with all of its files.
    #[must_use]
    pub fn home(&self) -> &Path {
        Path::new(&self.home)
    }

    /// Stops it without a goodbye.
    pub fn kill(&self) {
        let _ = script(&["kill", &self.home]);
    }

    /// Starts it where it was killed; stops it in order before, where it runs.
    pub fn restart(&self) {
        let _ = script(&["restart", &self.home]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = script(&["stop", &self.home]);
    }
}

fn script(words: &[&str]) -> String {
    let done = Command::new(programs::project().join("scripts/postgres.sh")).args(words).output();
    let done = done.expect("the script can be run");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "postgres.sh {words:?}: {said}{}", String::from_utf8_lossy(&done.stderr));
    said
}
