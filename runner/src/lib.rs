//! The runner: installs services, runs them, supervises them, and hands calls to them.
//!
//! Contract: [`run`] holds the data directory, serves brokers until it is asked to end, and returns only when nothing of
//! any service is left. A runner starts nothing by itself: what runs was loaded by a broker whose epoch is the highest
//! seen. When the runner dies, however it dies, the wardens of its processes end them.
//!
//! | folder | what |
//! |---|---|
//! | [`tree`] | every child of the root on one page |
//! | [`link`] | brokers: sessions, commands, reports, fencing |
//! | [`service`] | deployments: state, gate, log |
//! | [`instance`] | one MCP process and those who keep it |
//! | [`prepare`] | sources become programs |
//! | [`process`] | the only place that touches the operating system |
//! | [`http`] | the listener |
//! | [`metrics`] | what is counted |
//!
//! Everything runs on one thread: the link, the gates and the pipes share it, so a call never waits for another one.

pub mod config;
pub mod ending;
mod home;
pub mod http;
pub mod instance;
pub mod keys;
pub mod link;
pub mod metrics;
pub mod prepare;
pub mod process;
pub mod service;
pub mod tree;

use std::sync::Arc;
use std::time::Duration;

use supervision::{ExitReason, Registry, Root, WatchdogConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

pub use config::{ConfigError, Listen, RunnerConfig, socket_path};
pub use home::{Fencing, Home, HomeError};

use ending::{Ending, Why};
use http::{Front, Gauges};
use link::{Desk, Identity, Ports, Reception};
use metrics::{Metrics, MetricsError};
use prepare::{BUILDS_AT_ONCE, EnvSource, Preparer};
use process::Launcher;
use service::{Board, Directory, Means};

/// Why a runner did not run, or ended other than it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The configuration is wrong; nothing was touched.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Programs cannot be started here at all.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// A part of the tree did not start.
    #[error("the runner did not start: {0}")]
    Start(ExitReason),
    /// A part of the tree failed too often.
    #[error("the runner failed: {0}")]
    Failed(ExitReason),
}

/// Runs a runner on this thread until it is asked to end by a signal, by a broker, or by the lack of one.
///
/// # Errors
/// See [`RunnerError`].
pub fn run(config: RunnerConfig) -> Result<(), RunnerError> {
    supervision::assert_unwind();
    config.validate()?;
    let home = Home::open(&config.data_dir)?;
    actix_rt::System::new().block_on(serve(config, home))
}

async fn serve(config: RunnerConfig, home: Home) -> Result<(), RunnerError> {
    let mut signals = Signals::listen().map_err(RunnerError::Signals)?;
    let parts = Parts::assemble(&config, &home).await?;
    let _watchdog = parts.registry.watchdog(WatchdogConfig::default());
    let (services, links) = (parts.directory.set(), parts.reception.set());
    let front = Arc::clone(&parts.front);
    let tree = tree::tree(services, links, &parts.ports, &parts.ending, config.orphan_timeout, move |life| {
        http::run(life, Arc::clone(&front))
    });
    let root = tree.start_root(tree::ROOT, &parts.registry, None);
    root.ready().await.map_err(RunnerError::Start)?;
    home.tell(&config.name, &config.build, config.listen.to_string())?;
    tracing::info!(name = config.name, listen = %config.listen, data_dir = %config.data_dir.display(), "the runner runs");
    let ended = until_the_end(&parts, &root, &mut signals).await;
    home.untell();
    ended
}

async fn until_the_end(parts: &Parts, root: &Root, signals: &mut Signals) -> Result<(), RunnerError> {
    let why = tokio::select! {
        why = parts.ending.asked() => why,
        () = signals.caught() => Why::Signal,
        exit = root.wait() => return Err(RunnerError::Failed(exit)),
    };
    tracing::info!(%why, "the runner ends");
    parts.front.gauges.draining.set(1.0);
    if why == Why::Signal {
        // A second signal does not wait for calls.
        tokio::select! {
            () = parts.directory.drain_all() => {}
            () = signals.caught() => {}
        }
    }
    match root.shutdown().await {
        ExitReason::Normal | ExitReason::Shutdown => Ok(()),
        exit => Err(RunnerError::Failed(exit)),
    }
}

/// What the tree is made of.
struct Parts {
    registry: Registry,
    directory: Arc<Directory>,
    ports: Arc<Ports>,
    reception: Arc<Reception>,
    front: Arc<Front>,
    ending: Ending,
}

impl Parts {
    async fn assemble(config: &RunnerConfig, home: &Home) -> Result<Self, RunnerError> {
        let registry = Registry::new();
        let ending = Ending::new();
        let metrics = Arc::new(Metrics::new()?);
        let directory = directory(config, home, &registry, &metrics).await?;
        let ports = Ports::new();
        let callers: Arc<dyn service::Callers> = ports.clone();
        directory.board().connect(callers);
        let reception = Reception::new(Desk {
            identity: Identity {
                runner_id: home.runner_id.clone(),
                name: config.name.clone(),
                build: config.build.clone(),
                pid: std::process::id(),
                pid_start: home::process_start(),
                token: config.token.clone(),
                key: home.key.public(),
            },
            directory: Arc::clone(&directory),
            ports: Arc::clone(&ports),
            fencing: home.fencing(),
            ending: ending.clone(),
            registry: registry.clone(),
            metrics: Arc::clone(&metrics),
        });
        let front = Arc::new(Front {
            listen: config.listen.clone(),
            token: config.token.clone(),
            build: config.build.clone(),
            started: Instant::now(),
            directory: Arc::clone(&directory),
            reception: Arc::clone(&reception),
            registry: registry.clone(),
            gauges: Gauges::new(&metrics, &config.build, &ports),
        });
        Ok(Self { registry, directory, ports, reception, front, ending })
    }
}

async fn directory(
    config: &RunnerConfig,
    home: &Home,
    registry: &Registry,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Directory>, RunnerError> {
    let mut hidden = vec![config.data_dir.clone()];
    hidden.extend(config.hidden.iter().cloned());
    let launcher = Launcher::probe(config.exe.clone(), hidden, config.isolation_maximum).await?;
    let launcher = launcher.measured(metrics.processes.clone());
    let env = EnvSource::new(config.env.clone());
    let preparer = Preparer::new(home.cache_dir(), launcher.clone(), env, BUILDS_AT_ONCE);
    let preparer = preparer.settled(config.sources.clone()).measured(metrics.builds.clone());
    preparer.files().clear();
    let sweeping = preparer.clone();
    // Beside everything else: what a killed build left may be large.
    drop(tokio::task::spawn_blocking(move || sweeping.sweep()));
    let services_dir = home.services_dir();
    service::sweep(&services_dir);
    let versions = service::Versions::in_dir(home.dir());
    let means = Arc::new(Means { launcher, preparer, services_dir, key: home.key.clone(), versions });
    Ok(Directory::new(Board::new(registry.clone(), Arc::clone(metrics)), means))
}

/// The signals that ask for an orderly end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn caught(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// How long a runner that was asked to end may take before somebody should look, all limits added up.
pub const END_LIMIT: Duration = Duration::from_secs(60);
