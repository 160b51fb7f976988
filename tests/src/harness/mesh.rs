//! One `claudemesh up` with directories and a port of its own.
//!
//! What it starts is watched by (pid, start time): when the mesh is stopped or dropped, every process that ever was
//! seen below it, names its directory or works in it must be gone.

mod ask;
mod crew;
mod end;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::level::Level;
use super::postgres::Database;
use super::processes::Identity;
use super::turn::{self, Turn};
use super::{BOOT, programs, wait_until};

/// How much of a log a failure shows.
const TAIL_LINES: usize = 60;

/// What a person's shell may hold that would reach into a mesh of a test.
const FOREIGN: &[&str] = &[
    "BROKER_ENCRYPTION_KEY",
    "BROKER_PORT",
    "CLAUDEMESH_CACHE_LIMIT",
    "CLAUDEMESH_DISPLAY_NAME",
    "CLAUDEMESH_GIT_PROTOCOLS",
    "CLAUDEMESH_GIT_TOKEN",
    "CLAUDEMESH_GROUPS",
    "CLAUDEMESH_LOG",
    "CLAUDEMESH_MESSAGE_MODE",
    "CLAUDEMESH_OPERATOR_TOKEN",
    "CLAUDEMESH_ROLE",
    "CLAUDEMESH_SESSION_ID",
    "CLAUDEMESH_WATCH_ALLOW",
    "CLAUDEMESH_WATCH_MIN_INTERVAL_MS",
    "DATABASE_URL",
    "MAX_MCP_OUTPUT_TOKENS",
    "MCP_TIMEOUT",
    "RUNNER_PORT",
    "RUNNER_TOKEN",
    "RUNNER_URL",
    "RUST_LOG",
];

/// What a mesh keeps its memory in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Backend {
    /// The file in its directory.
    #[default]
    Sqlite,
    /// A database of its own on the run's server.
    Postgres,
}

/// What a mesh may be told at its start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// More words for `up`.
    pub words: Vec<String>,
    /// More variables for `up` and for every command.
    pub variables: Vec<(String, String)>,
    /// Whether no other mesh may run beside it.
    pub alone: bool,
    /// The isolation that its runner is forced to; `None` for the best there is.
    pub level: Option<Level>,
    /// What it keeps its memory in.
    pub backend: Backend,
}

/// A running mesh.
#[derive(Debug)]
pub struct Mesh {
    root: TempDir,
    port: u16,
    options: Options,
    /// Gone when the mesh is.
    database: Option<Database>,
    up: Option<Child>,
    /// Everyone who was ever seen to belong to this mesh.
    seen: RefCell<BTreeSet<Identity>>,
    /// Last, so dropped last: the next story begins when nothing of this one is left.
    _turn: Option<Turn>,
}

impl Mesh {
    /// Starts one and waits until it is ready.
    #[must_use]
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// The same for a story that measures or presses hard: no other mesh runs beside it.
    #[must_use]
    pub fn start_alone() -> Self {
        Self::with(Options { alone: true, ..Options::default() })
    }

    /// The same with its runner forced to this level; [`Mesh::check_level`] asks whether it took.
    #[must_use]
    pub fn at(level: Level) -> Self {
        Self::with(Options { level: Some(level), ..Options::default() })
    }

    /// Both.
    #[must_use]
    pub fn alone_at(level: Level) -> Self {
        Self::with(Options { alone: true, level: Some(level), ..Options::default() })
    }

    /// The same on a backend.
    #[must_use]
    pub fn start_alone_on(backend: Backend) -> Self {
        Self::with(Options { alone: true, backend, ..Options::default() })
    }

    /// The same, with options.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let mut mesh = Self::unstarted(options);
        mesh.start_up();
        mesh
    }

    /// Another one beside this, in the turn that this one has: it must go first.
    #[must_use]
    pub fn beside(&self, options: Options) -> Self {
        let mut mesh = Self::made(options, None);
        mesh.start_up();
        mesh
    }

    /// Directories and a port, and nothing that runs.
    #[must_use]
    pub fn unstarted(options: Options) -> Self {
        let turn = if options.alone { turn::alone() } else { turn::shared() };
        Self::made(options, Some(turn))
    }

    fn made(options: Options, turn: Option<Turn>) -> Self {
        // A short name: a socket's path has room for 107 bytes.
        let root = tempfile::Builder::new().prefix("cm-").tempdir().expect("a temporary directory");
        // Free a moment ago. The kernel hands these numbers out in turn, so nobody else has it yet.
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port();
        Self {
            root,
            port,
            up: None,
            database: (options.backend == Backend::Postgres).then(Database::create),
            _turn: turn,
            options,
            seen: RefCell::default(),
        }
    }

    /// Starts `up` again after [`Mesh::kill_broker`], or for the first time, and waits until it is ready.
    pub fn start_up(&mut self) {
        self.launch_up();
        let ready = wait_until("/health/ready", BOOT, || {
            if let Some(status) = self.up.as_mut().and_then(|up| up.try_wait().ok().flatten()) {
                return Ok(Err(status));
            }
            match self.get("/health/ready") {
                Ok(response) if response.status == 200 => Ok(Ok(())),
                Ok(response) => Err(format!("{} {}", response.status, response.body)),
                Err(error) => Err(error),
            }
        });
        match ready {
            Ok(Ok(())) => self.look(),
            Ok(Err(status)) => panic!("`up` ended before it was ready: {status}\n{}", self.logs()),
            Err(error) => panic!("{error}\n{}", self.logs()),
        }
    }

    /// Starts `up` and does not wait.
    pub fn launch_up(&mut self) {
        assert!(self.up.is_none(), "this mesh is up already");
        let log = || {
            let path = self.root.path().join("up.log");
            OpenOptions::new().create(true).append(true).open(path).expect("the log can be written")
        };
        let mut command = self.program();
        command
            .args(["up", "--listen", &format!("127.0.0.1:{}", self.port)])
            .args(self.options.level.iter().flat_map(|level| ["--isolation-maximum", level.as_str()]))
            .args(self.database.iter().flat_map(|database| ["--database-url", database.url()]))
            .args(&self.options.words)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            // A terminal's Ctrl-C on the tests is not a Ctrl-C on the mesh: dropping it stops it.
            .process_group(0);
        self.up = Some(command.spawn().expect("the built program starts"));
    }

    /// Its database on a server; none when it keeps its memory in a file.
    #[must_use]
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// The directory of everything of this mesh.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// What it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// `CLAUDEMESH_DATA_DIR`.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// `CLAUDEMESH_CONFIG_DIR`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.path().join("config")
    }

    /// The broker's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The first mesh in the client's `config.json`.
    #[must_use]
    pub fn membership(&self) -> Value {
        let text = fs::read_to_string(self.config().join("config.json")).expect("the first start writes config.json");
        let config: Value = serde_json::from_str(&text).expect("config.json is JSON");
        config["meshes"][0].clone()
    }

    /// The ends of the logs, for a failure.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut files = vec![self.root.path().join("up.log")];
        for folder in [self.data(), self.data().join("runner")] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            files.extend(entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "log")));
        }
        files.iter().map(|file| format!("--- end of {}\n{}\n", file.display(), tail(file))).collect()
    }

    /// The program, in this mesh's directories.
    #[must_use]
    pub fn program(&self) -> Command {
        let mut command = Command::new(programs::claudemesh());
        for name in FOREIGN {
            command.env_remove(name);
        }
        let downloads = programs::download_cache();
        command
            .env("CLAUDEMESH_DATA_DIR", self.data())
            .env("CLAUDEMESH_CONFIG_DIR", self.config())
            .env("NO_COLOR", "1")
            // What npm and uv fetched for an earlier story need not be fetched again.
            .env("npm_config_cache", downloads.join("npm"))
            .env("UV_CACHE_DIR", downloads.join("uv"))
            .envs(self.options.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.root.path());
        command
    }
}

fn tail(file: &Path) -> String {
    let bytes = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
