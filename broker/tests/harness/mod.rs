//! A real broker in a process of its own, and what tests reach it with.
//!
//! [`Broker::start`] runs this test binary again, as the one ignored test [`broker_process`], which calls
//! [`broker::run`]: so a test can stop, kill and measure the broker, and a panic in it is seen. The broker
//! ends with the test that started it, whatever ended that: it watches its standard input.

mod client;
mod rest;
mod runner;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use broker::config::{Config, RunnerUrl};
use broker::runners::RunnerConfig;
use broker::store::first_start::{self, DirState, FirstOwner};
use broker::store::{DirLock, MeshId, NewMember, Role, Store, UtcMs};
use protocol::SecretString;
use protocol::identity::MemberKey;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

pub(crate) use client::{Client, Hello, now_ms};
pub(crate) use rest::{Answer, get, get_bytes, post};
pub(crate) use runner::{Conn, FakeRunner, Load, greet, receive, report, tool};

/// Longest wait for anything that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// What operators of the test brokers show.
pub(crate) const OPERATOR_TOKEN: &str = "operator-token-of-the-tests";
/// What test brokers and fake runners know each other by.
pub(crate) const RUNNER_TOKEN: &str = "runner-token-of-the-tests-0123456789abcdef";
/// The slug of the mesh.
pub(crate) const MESH: &str = first_start::FIRST_MESH_SLUG;

/// Where the broker process finds its setup.
const SETUP: &str = "TEST_BROKER_SETUP";
/// Goes before the line that says where the broker is.
const READY: &str = "BROKER-READY ";

/// Who is in the mesh: name, role, and the byte that the key's seed is made of.
pub(crate) const OWNER: Who = Who { name: "Ada", seed: 1 };
pub(crate) const MEMBER: Who = Who { name: "Ben", seed: 2 };
pub(crate) const OTHER: Who = Who { name: "Cleo", seed: 3 };
pub(crate) const ADMIN: Who = Who { name: "Dora", seed: 4 };

/// A member of the mesh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) name: &'static str,
    seed: u8,
}

impl Who {
    pub(crate) const fn with_seed(name: &'static str, seed: u8) -> Self {
        Self { name, seed }
    }

    pub(crate) fn key(self) -> MemberKey {
        MemberKey::from_seed(&[self.seed; 32])
    }
}

/// What a broker is started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) data_dir: PathBuf,
    pub(crate) runners: BTreeMap<String, PathBuf>,
    pub(crate) max_message_bytes: u32,
    pub(crate) max_services: u32,
    pub(crate) max_connections: u32,
    /// Addresses that watches may reach.
    pub(crate) watch_allow: Vec<String>,
    pub(crate) watch_min_interval_ms: u32,
    /// Members besides those that every mesh of a test has: name, and the byte of the key's seed.
    pub(crate) more: Vec<(String, u8)>,
}

/// What it says when it is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ready {
    address: SocketAddr,
    mesh: String,
    members: BTreeMap<String, String>,
}

/// A running broker.
pub(crate) struct Broker {
    pub(crate) setup: Setup,
    process: Child,
    ready: Ready,
    /// The directory that holds its data, its log and its runners' sockets.
    dir: TempDir,
}

impl Broker {
    /// A broker without runners.
    pub(crate) async fn alone() -> Self {
        Self::start(|_| {}).await
    }

    /// A broker in a fresh directory.
    pub(crate) async fn start(adjust: impl FnOnce(&mut Setup)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), adjust).await
    }

    /// A broker, and a fake runner that listens already.
    pub(crate) async fn with_runner() -> (Self, FakeRunner) {
        let dir = tempfile::tempdir().unwrap();
        let runner = FakeRunner::listen(dir.path(), "local");
        let socket = runner.socket();
        let broker = Self::start_in(dir, |setup| drop(setup.runners.insert("local".to_owned(), socket))).await;
        (broker, runner)
    }

    /// A broker in this directory.
    pub(crate) async fn start_in(dir: TempDir, adjust: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup {
            data_dir: dir.path().join("data"),
            runners: BTreeMap::new(),
            max_message_bytes: 1024 * 1024,
            max_services: 20,
            max_connections: 2_000,
            watch_allow: vec!["127.0.0.1".to_owned()],
            watch_min_interval_ms: 50,
            more: Vec::new(),
        };
        adjust(&mut setup);
        let (process, ready) = spawn(&setup, dir.path()).await;
        Self { setup, process, ready, dir }
    }

    /// Ends the process as `kill -9` does, and starts another on the same data.
    pub(crate) async fn killed_and_started(mut self) -> Self {
        self.process.kill().await.unwrap();
        (self.process, self.ready) = spawn(&self.setup, self.dir.path()).await;
        self
    }

    /// Waits for its end; the exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        // Its standard input stays open meanwhile: `Child::wait` would close it.
        let _held = self.process.stdin.take();
        timeout(SOON, self.process.wait()).await.expect("it ends soon").unwrap().code()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.ready.address
    }

    pub(crate) fn mesh(&self) -> &str {
        &self.ready.mesh
    }

    pub(crate) fn member_id(&self, who: Who) -> &str {
        &self.ready.members[who.name]
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(log_file(self.dir.path())).unwrap()
    }

    /// The most memory it ever held, in KiB (`VmHWM`, proc_pid_status(5)).
    pub(crate) fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("broker.log")
}

async fn spawn(setup: &Setup, dir: &Path) -> (Child, Ready) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(dir)).unwrap();
    // Not by its path: the file may have been replaced by a newer build.
    let mut process = Command::new("/proc/self/exe")
        .args(["harness::broker_process", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(SETUP, serde_json::to_string(setup).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, ready)) = line.split_once(READY) {
                return Some(serde_json::from_str(ready).unwrap());
            }
        }
        None
    };
    match timeout(SOON, ready).await {
        Ok(Some(ready)) => {
            // Read on, so that it never waits for us.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            (process, ready)
        }
        _ => panic!("the broker did not come up:\n{}", std::fs::read_to_string(log_file(dir)).unwrap()),
    }
}

/// The broker that the other tests start; see the module.
#[test]
#[ignore = "not a test: the broker that the tests of this binary start as a process"]
fn broker_process() {
    let Ok(setup) = std::env::var(SETUP) else { return };
    let setup: Setup = serde_json::from_str(&setup).unwrap();
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(3);
    });
    tracing_subscriber::fmt()
        .with_env_filter("broker=trace,protocol=trace,supervision=debug,warn")
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let (lock, members) = prepare(&setup);
    let runners = setup.runners.iter().map(|(name, socket)| RunnerConfig {
        name: name.clone(),
        address: RunnerUrl::Unix(socket.clone()),
        token: SecretString::from(RUNNER_TOKEN),
        program: None,
    });
    let ended = broker::run(broker::Options {
        config: config(&setup),
        lock,
        runners: runners.collect(),
        take_runner_along: None,
        build: "test-build".to_owned(),
        on_ready: Box::new(|started| {
            let mesh = started.founded[0].mesh.id.to_string();
            let ready = Ready { address: started.address, mesh, members };
            println!("\n{READY}{}", serde_json::to_string(&ready).unwrap());
        }),
    });
    ended.unwrap();
}

fn config(setup: &Setup) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: setup.data_dir.clone(),
        database_url: None,
        runner_urls: Vec::new(),
        runner_token: Some(SecretString::from(RUNNER_TOKEN)),
        encryption_key: Some(SecretString::from("11".repeat(32))),
        operator_token: Some(SecretString::from(OPERATOR_TOKEN)),
        max_connections_per_mesh: setup.max_connections,
        max_message_bytes: setup.max_message_bytes,
        max_services_per_mesh: setup.max_services,
        watch_allow: setup.watch_allow.iter().map(|range| range.parse().unwrap()).collect(),
        watch_min_interval_ms: setup.watch_min_interval_ms,
        behind_proxy: false,
    }
}

/// Takes the directory; at the first start makes the mesh and its members.
fn prepare(setup: &Setup) -> (DirLock, BTreeMap<String, String>) {
    let dir = setup.data_dir.as_path();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let lock = DirLock::acquire(dir).unwrap();
        let first = first_start::inspect(&lock, None).await.unwrap() == DirState::Empty;
        if first {
            let pubkey = OWNER.key().public().to_string();
            let owner = FirstOwner {
                mesh_id: MeshId::new(),
                member_pubkey: pubkey.clone(),
                pubkey,
                certificate: None,
                display_name: OWNER.name.to_owned(),
            };
            first_start::create(&lock, None, Some(owner)).await.unwrap();
        }
        let store = Store::open(&lock, None).await.unwrap();
        let mesh = store.mesh_by_slug(MESH).await.unwrap().unwrap().id;
        let usual = [(MEMBER, Role::Member), (OTHER, Role::Member), (ADMIN, Role::Admin)];
        let usual = usual.map(|(who, role)| (who.name.to_owned(), who.key(), role));
        let more = setup.more.iter();
        let more = more.map(|(name, seed)| (name.clone(), MemberKey::from_seed(&[*seed; 32]), Role::Member));
        for (name, key, role) in usual.into_iter().chain(more) {
            let member = NewMember {
                mesh_id: mesh.clone(),
                pubkey: key.public().to_string(),
                display_name: name,
                role,
                certificate: None,
            };
            if first {
                store.add_member(member, UtcMs::now()).await.unwrap();
            }
        }
        let members = store.list_members(&mesh).await.unwrap();
        (lock, members.into_iter().map(|member| (member.display_name, member.id.to_string())).collect())
    })
}
