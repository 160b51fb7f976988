//! `runner`: a runner on a machine of its own. Its token comes from the environment or a file: words can be seen by everybody
//! on the machine.
//!
//! `runner cache`: what it has installed, and clearing it away. `--json`: `{"bytes", "items": [...]}`, of what is there or
//! of what went.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand, ValueEnum};
use runner::prepare::{GitProtocols, Stock, StockItem};
use runner::process::Level;
use serde_json::json;

use super::{Context, values};
use crate::daemon;
use crate::error::CliError;
use crate::output::age;
use crate::output::table::{self, NOTHING};
use crate::text;

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
    /// See and clear away what it has installed, whether or not it runs
    Cache(CacheArgs),
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
struct Place {
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
        Some(RunnerCommand::Cache(CacheArgs { command })) => cache(context, command),
    }
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
