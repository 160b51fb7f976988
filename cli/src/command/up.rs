//! `up`: broker and runner on this machine, with the embedded defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use protocol::SecretString;

use super::runner::IsolationLevel;
use super::{Context, values};
use crate::daemon;
use crate::error::CliError;
use crate::profile::Profile;

/// The words of `up`. What is left out is decided by the broker's own configuration, which also reads the environment.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Where to listen, such as 127.0.0.1:7900
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where everything is kept [default: ~/.local/share/claudemesh]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A PostgreSQL database in place of the embedded one. Others see the words of a command: leave a password to the
    /// configuration file
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<SecretString>,
    /// A configuration file (claudemesh.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// TLS ends at a proxy in front of the broker
    #[arg(long)]
    pub(crate) behind_proxy: bool,
    /// Leave the runner and its services running when this ends
    #[arg(long)]
    pub(crate) keep_runner: bool,
    /// How long the runner goes on without a broker
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) orphan_timeout: Option<Duration>,
    /// The highest isolation that the runner uses; without it the best that works here
    #[arg(long, value_name = "LEVEL")]
    pub(crate) isolation_maximum: Option<IsolationLevel>,
    /// Print the configuration, secrets hidden, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Runs `up` until it is told to stop.
pub(crate) fn run(context: &Context, args: &UpArgs) -> Result<(), CliError> {
    daemon::up::start(context.printer, &Profile::from_environment()?, args)
}
