//! `runner`: a runner on a machine of its own. Its token comes from the environment or a file: words can be seen by everybody
//! on the machine.
//!
//! `runner list`, `runner forget`: the runners of the mesh's broker, for admins. `--json` as the broker answers.
//!
//! `runner key`: what secrets are sealed for; `runner accept`: that they are, for a key that a person compared.
//! `runner cache`: what it has installed, and clearing it away. `--json`: `{"bytes", "items": [...]}`, of what is there or
//! of what went.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use protocol::sealed;
use runner::keys::BoxKey;
use runner::prepare::{GitProtocols, Stock, StockItem};
use runner::process::Level;
use serde_json::json;

use super::{Context, block_on, values};
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::daemon;
use crate::error::CliError;
use crate::output::age;
use crate::output::table::{self, NOTHING};
use crate::profile::Profile;
use crate::sealing;
use crate::text;
use crate::wire::{self, RunnerKeys};

/// The words of `runner`. What is left out is decided by the environment and by defaults.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RunnerArgs {
    #[command(subcommand)]
    pub(crate) command: Option<RunnerCommand>,
    /// Where to listen: an address such as 127.0.0.1:7901, or unix:/path/to/socket
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where services and their data are kept
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What people call it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The file with the token that it shares with its broker, instead of RUNNER_TOKEN
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// A directory that no service sees; may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) hide: Vec<PathBuf>,
    /// The highest isolation to use; without it the best that works here
    #[arg(long, value_name = "LEVEL")]
    pub(crate) isolation_maximum: Option<IsolationLevel>,
    /// How long to go on without a broker
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) orphan_timeout: Option<Duration>,
    /// The transports that git sources may use, of https, ssh and file, with `:` between them
    #[arg(long, value_name = "LIST", env = "CLAUDEMESH_GIT_PROTOCOLS")]
    pub(crate) git_protocols: Option<GitProtocols>,
    /// What installed packages may take on the disk, as in 10GiB; what runs stays all the same
    #[arg(long, value_name = "SIZE", env = "CLAUDEMESH_CACHE_LIMIT", value_parser = values::bytes)]
    pub(crate) cache_limit: Option<u64>,
    /// Leave the terminal's session
    #[arg(long, hide = true)]
    pub(crate) detach: bool,
}

/// What can be done about a runner besides running it.
#[derive(Debug, Subcommand)]
pub(crate) enum RunnerCommand {
    /// List the runners of the mesh's broker
    List(ListArgs),
    /// Give up a runner that is away for good: its services go to others
    Forget(ForgetArgs),
    /// See and clear away what it has installed, whether or not it runs
    Cache(CacheArgs),
    /// Show the key that secrets for it are sealed for; on its own machine
    Key {
        #[command(flatten)]
        place: Place,
    },
    /// Accept the key of a runner of the mesh: from now on secrets are sealed for it
    Accept {
        /// The key's short name, as a deploy or `runner key` shows it
        kid: String,
    },
}

/// The words of `runner list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// The words of `runner forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// The runner, as `runner list` shows it
    name: String,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "2m")]
    timeout: Duration,
}

/// The words of `runner cache`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List what is installed
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Clear away what no service runs, the longest unused first
    Clean {
        #[command(flatten)]
        place: Place,
        /// Stop when the rest takes no more than this, as in 2GiB; without it everything goes that is not in use
        #[arg(long, value_name = "SIZE", value_parser = values::bytes, default_value = "0")]
        keep: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The runner's data directory, if it is not that of `claudemesh up`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// How services are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationLevel {
    /// A guard process for each, without namespaces
    Guard,
    /// Namespaces of processes and mounts
    Namespace,
}

impl From<IsolationLevel> for Level {
    fn from(level: IsolationLevel) -> Self {
        match level {
            IsolationLevel::Guard => Self::Guard,
            IsolationLevel::Namespace => Self::Namespace,
        }
    }
}

impl IsolationLevel {
    /// The word that says it.
    pub(crate) fn as_str(self) -> &'static str {
        Level::from(self).as_str()
    }
}

/// Runs `runner` until it is told to stop, or what is to be done besides.
pub(crate) fn run(context: &Context, args: &RunnerArgs) -> Result<(), CliError> {
    match &args.command {
        None => daemon::runner::start(args),
        Some(RunnerCommand::List(args)) => block_on(list(context, args)),
        Some(RunnerCommand::Forget(args)) => block_on(forget(context, args)),
        Some(RunnerCommand::Key { place }) => key(context, place),
        Some(RunnerCommand::Accept { kid }) => block_on(accept(context, kid)),
        Some(RunnerCommand::Cache(CacheArgs { command })) => cache(context, command),
    }
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.request(&wire::ListRunners {}, args.timeout).await;
    client.close().await;
    let answer = answer?;
    context.printer.result(&answer, |style| {
        if answer.runners.is_empty() {
            return "The broker has no runner.".to_owned();
        }
        let now_ms = age::now_ms();
        let rows = answer.runners.iter().map(|runner| {
            let heard = runner.last_seen_ms.map_or(NOTHING.to_owned(), |then| age::since(now_ms, then));
            let state = if runner.up { "connected" } else { "away" };
            vec![runner.name.line(), state.to_owned(), runner.services.to_string(), heard]
        });
        table::render(style, &["name", "state", "services", "heard"], rows.collect())
    })
}

async fn forget(context: &Context, args: &ForgetArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let request = wire::ForgetRunner { name: args.name.clone() };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let answer = answer.map_err(|error| unknown_runner(error.into()))?;
    context.printer.result(&answer, |_| {
        if answer.services.is_empty() {
            return "No service of this mesh was on it.".to_owned();
        }
        let went = answer.services.iter().map(|service| match (&service.runner, &service.reason) {
            (Some(runner), _) => format!("{} goes to {}", service.service.line(), runner.line()),
            (None, Some(reason)) => format!("{} stays: {}", service.service.line(), reason.line()),
            (None, None) => format!("{} stays", service.service.line()),
        });
        went.collect::<Vec<_>>().join("\n")
    })?;
    match answer.services.iter().filter(|service| service.runner.is_none()).count() {
        0 => Ok(()),
        left => Err(CliError::failed(format!("{left} of its services could not be given to another runner"))
            .hint("claudemesh runner list shows those that are connected")
            .already_documented()),
    }
}

fn unknown_runner(error: CliError) -> CliError {
    match error.code.as_deref() {
        Some("not_found") => error.hint("claudemesh runner list shows the runners of the broker"),
        Some("deploy_error") => {
            error.hint("claudemesh deploy NAME … --runner OTHER moves a service from a runner that is there")
        }
        _ => error,
    }
}

fn key(context: &Context, place: &Place) -> Result<(), CliError> {
    let data_dir = daemon::runner::data_dir(place.data_dir.as_deref())?;
    let key = BoxKey::read(&data_dir).map_err(|error| CliError::failed(text::line(&error.to_string())))?;
    let Some(key) = key.map(|key| key.public()) else {
        return Err(CliError::failed(format!("no runner has lived in {}", data_dir.display()))
            .hint("--data-dir names another place; that of `claudemesh up` is `runner` in its data directory"));
    };
    let (kid, fingerprint) = (sealed::kid(&key), sealed::fingerprint(&key));
    let document = json!({ "kid": kid, "fingerprint": fingerprint, "pubkey": hex::encode(key.as_bytes()) });
    context.printer.result(&document, |_| format!("{kid}  {fingerprint}"))
}

/// What the broker tells now is what is kept: whoever says this has compared the fingerprint.
async fn accept(context: &Context, kid: &str) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&RunnerKeys {}, ANSWER_TIMEOUT).await;
    let mesh_id = mesh.membership.mesh.mesh_id.clone();
    mesh.client.close().await;
    let told = sealing::told(&answer?.runners);
    let meant = told.iter().find(|runner| runner.kid == kid).ok_or_else(|| {
        let known: Vec<_> =
            told.iter().map(|runner| format!("{} ({})", runner.kid, text::line(&runner.name))).collect();
        CliError::failed(format!("no runner of this mesh has the key {}", text::line(kid)))
            .hint(format!("those that are connected: {}", known.join(", ")))
    })?;
    Profile::from_environment()?.accept_runners(&mesh_id, &sealing::accepted([meant]))?;
    let document = json!({ "id": meant.id, "name": meant.name, "kid": meant.kid, "fingerprint": meant.fingerprint });
    context.printer.confirm(&document, |_| {
        format!("secrets are sealed for {} from now on: {}", text::line(&meant.name), meant.fingerprint)
    })
}

fn cache(context: &Context, command: &CacheCommand) -> Result<(), CliError> {
    let (CacheCommand::List { place } | CacheCommand::Clean { place, .. }) = command;
    let data_dir = daemon::runner::data_dir(place.data_dir.as_deref())?;
    if !data_dir.is_dir() {
        return Err(CliError::failed(format!("no runner has lived in {}", data_dir.display()))
            .hint("--data-dir names another place; that of `claudemesh up` is `runner` in its data directory"));
    }
    let stock = Stock::of(&data_dir);
    match command {
        CacheCommand::List { .. } => show(context, &stock.items(), "installed"),
        CacheCommand::Clean { keep, .. } => show(context, &stock.trim(*keep), "cleared away"),
    }
}

fn show(context: &Context, items: &[StockItem], what: &str) -> Result<(), CliError> {
    let bytes = items.iter().fold(0_u64, |sum, item| sum.saturating_add(item.bytes));
    let described = items.iter().map(|item| {
        json!({
            "type": item.kind, "package": item.package, "version": item.version, "bytes": item.bytes,
            "last_used_ms": item.last_used.map(milliseconds), "in_use": item.in_use,
        })
    });
    let document = json!({ "bytes": bytes, "items": described.collect::<Vec<_>>() });
    context.printer.result(&document, |style| {
        if items.is_empty() {
            return format!("Nothing {what}.");
        }
        let rows = items.iter().map(row).collect();
        let table = table::render(style, &["type", "package", "version", "size", "used", "state"], rows);
        format!("{table}\n{} {what}", size(bytes))
    })
}

fn row(item: &StockItem) -> Vec<String> {
    let used = item.last_used.map_or(NOTHING.to_owned(), |used| age::since(age::now_ms(), milliseconds(used)));
    let state = if item.in_use { "in use" } else { NOTHING };
    [item.kind, &text::line(&item.package), &text::line(&item.version), &size(item.bytes), &used, state]
        .map(str::to_owned)
        .into()
}

fn milliseconds(time: SystemTime) -> u64 {
    values::milliseconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// In MiB, which is what packages take.
fn size(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
