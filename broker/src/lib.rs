//! The broker: keeps meshes, routes between their peers, and says what should run where.
//!
//! [`run`] is the whole life of the process: it opens what must be open before anything starts, hands
//! over to the tree, and returns when the tree is down. Everything that lives in between is a node.

pub mod config;
pub mod drain;
pub mod files;
pub mod http;
pub mod mesh;
pub mod metrics;
pub mod runners;
pub mod store;
pub mod tree;
pub mod vault;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix_web::web;
use protocol::SecretString;
use supervision::{ExitReason, Registry, WatchdogConfig};
use tokio::signal::unix::{SignalKind, signal};

use config::Config;
use files::{Files, FilesError};
use http::{Gauges, Http};
use mesh::Meshes;
use mesh::watch::Lookout;
use mesh::watch::fetch::Fetcher;
use mesh::watch::guard::Guard;
use metrics::{Metrics, MetricsError};
use runners::{RunnerConfig, Runners};
use store::{DirLock, Founded, OpenError, Role, Store, StoreError, UtcMs};
use tree::Parts;
use vault::VaultError;

/// Longest wait for the tree to come up.
const UP_WITHIN: Duration = Duration::from_secs(90);

/// What a broker is started with.
pub struct Options {
    /// Checked settings, secrets filled in.
    pub config: Config,
    /// The held lock of the data directory. There is a database, in it or where the settings say.
    pub lock: DirLock,
    /// The runners, with the embedded one if there is one.
    pub runners: Vec<RunnerConfig>,
    /// True: when the broker ends in order, the embedded runner ends too.
    pub take_runner_along: Option<Arc<AtomicBool>>,
    /// Version, shown.
    pub build: String,
    /// Called once everything is up.
    pub on_ready: Box<dyn FnOnce(Started) + Send>,
}

/// A broker that is up.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// Every mesh, with its owner as a member.
    pub founded: Vec<Founded>,
}

/// Why a broker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The uploaded files could not be had.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The at-rest key could not be had.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The port could not be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A setting is missing that this start needs.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// Signals could not be listened for.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] std::io::Error),
    /// The metrics could not be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The watchdog's thread could not be started.
    #[error("the watchdog cannot be started: {0}")]
    Watchdog(#[source] std::io::Error),
    /// The tree gave up.
    #[error("the broker ended: {0}")]
    Ended(ExitReason),
}

/// Runs a broker until SIGTERM or SIGINT, or until its tree gives up.
///
/// # Errors
/// [`BrokerError`]; `Ok` is an orderly end.
pub fn run(options: Options) -> Result<(), BrokerError> {
    supervision::assert_unwind();
    actix_rt::System::new().block_on(live(options))
}

async fn live(options: Options) -> Result<(), BrokerError> {
    let mut signals = Signals::listen()?;
    let listener = bind(options.config.listen)?;
    let metrics = Arc::new(Metrics::new()?);
    // A server that does not answer must not keep anybody from ending this.
    let memory = tokio::select! {
        memory = Memory::open(&options, &metrics) => memory?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopping before the database was open");
            return Ok(());
        }
    };
    let Memory { store, at_rest, files, epoch, founded } = memory;
    let registry = Registry::new();
    let _watchdog = registry.watchdog(WatchdogConfig::default()).map_err(BrokerError::Watchdog)?;
    let runners = Runners::new(options.runners.iter().map(|runner| runner.name.clone()), &metrics);
    let max_services = options.config.max_services_per_mesh;
    let lookout = Lookout {
        fetcher: Fetcher::new(Guard::new(options.config.watch_allow.clone()), format!("claudemesh/{}", options.build)),
        min_interval_ms: u64::from(options.config.watch_min_interval_ms),
    };
    let meshes = Meshes::new(
        store.clone(),
        Arc::new(at_rest),
        files,
        runners.clone(),
        Arc::clone(&metrics),
        max_services,
        lookout,
    );
    let address =
        listener.local_addr().map_err(|source| BrokerError::Listen { address: options.config.listen, source })?;
    let http = web::Data::new(Http {
        address,
        operator_token: options
            .config
            .operator_token
            .clone()
            .ok_or(BrokerError::Missing("CLAUDEMESH_OPERATOR_TOKEN"))?,
        registry: registry.clone(),
        meshes: meshes.clone(),
        runners: runners.clone(),
        gauges: Gauges::new(&metrics, &options.build, epoch, &runners),
        tree_waiters: Arc::default(),
        metrics,
        max_message_bytes: usize::try_from(options.config.max_message_bytes).unwrap_or(usize::MAX),
        max_connections_per_mesh: usize::try_from(options.config.max_connections_per_mesh).unwrap_or(usize::MAX),
        behind_proxy: options.config.behind_proxy,
        announced: AtomicBool::new(false),
        draining: Arc::new(AtomicBool::new(false)),
        sockets: AtomicUsize::new(0),
        unknown: http::session::Unknown::default(),
        started: Instant::now(),
        build: options.build.clone(),
    });
    let parts = Parts {
        store: store.clone(),
        runner_configs: options.runners,
        runners,
        meshes,
        http: http.clone(),
        listener,
        epoch,
        build: options.build,
    };
    let root = tree::tree(parts).start_root(tree::ROOT, &registry, None);
    let take_along = options.take_runner_along.as_ref();
    tokio::select! {
        up = tokio::time::timeout(UP_WITHIN, root.ready()) => match up {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => return Err(BrokerError::Ended(reason)),
            Err(_) => return Err(BrokerError::Ended(stop(&root, take_along).await)),
        },
        name = signals.next() => {
            tracing::info!(signal = name, "stopping before everything was up");
            stop(&root, take_along).await;
            return Ok(());
        }
        reason = store.fenced() => return Err(lost(reason, &root, take_along).await),
    }
    tracing::info!(%address, epoch, store = %store.id(), "up");
    (options.on_ready)(Started { address, founded });
    http.announced.store(true, Ordering::Release);
    tokio::select! {
        biased;
        reason = store.fenced() => return Err(lost(reason, &root, take_along).await),
        name = signals.next() => tracing::info!(signal = name, "stopping"),
        reason = root.wait() => return Err(BrokerError::Ended(reason)),
    }
    stop(&root, take_along).await;
    Ok(())
}

/// What a broker knows before anything of it runs.
struct Memory {
    store: Store,
    at_rest: vault::AtRest,
    files: Arc<Files>,
    epoch: u64,
    founded: Vec<Founded>,
}

impl Memory {
    /// Begins a life on the database.
    async fn open(options: &Options, metrics: &Metrics) -> Result<Self, BrokerError> {
        let store = Store::open(&options.lock, options.config.database_url.as_ref()).await?;
        store.measure(metrics.store.clone());
        let key = options.config.encryption_key.as_ref().map(SecretString::expose);
        let at_rest = vault::open(key, options.lock.dir(), &store).await?;
        let epoch = store.next_epoch().await?;
        let founded = founded(&store).await?;
        let files = Arc::new(Files::open(options.lock.dir(), &at_rest)?);
        files.sweep(&store, UtcMs::now()).await?;
        Ok(Self { store, at_rest, files, epoch, founded })
    }
}

/// Another broker serves these meshes now. What still runs here must not go on beside it.
async fn lost(reason: String, root: &supervision::Root, take_along: Option<&Arc<AtomicBool>>) -> BrokerError {
    tracing::error!(reason, "stopping: the store belongs to another broker");
    stop(root, take_along).await;
    StoreError::Fenced { reason }.into()
}

async fn founded(store: &Store) -> Result<Vec<Founded>, StoreError> {
    let mut founded = Vec::new();
    for mesh in store.list_meshes().await? {
        let members = store.list_members(&mesh.id).await?;
        if let Some(owner) = members.into_iter().find(|member| member.role == Role::Owner) {
            founded.push(Founded { mesh, owner });
        }
    }
    Ok(founded)
}

async fn stop(root: &supervision::Root, take_along: Option<&Arc<AtomicBool>>) -> ExitReason {
    if let Some(take_along) = take_along {
        take_along.store(true, Ordering::Release);
    }
    let reason = root.shutdown().await;
    tracing::info!(%reason, "down");
    reason
}

/// Binds the port before the tree starts, so that a taken port is an error at the prompt.
fn bind(address: SocketAddr) -> Result<TcpListener, BrokerError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| BrokerError::Listen { address, source })
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, BrokerError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(BrokerError::Signals)?,
            interrupt: signal(SignalKind::interrupt()).map_err(BrokerError::Signals)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
