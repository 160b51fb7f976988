//! `broker`: a broker on a machine of its own.

use std::path::PathBuf;

use clap::Args;
use protocol::SecretString;

use super::Context;
use crate::daemon;
use crate::error::CliError;

/// The words of `broker`. What is left out is decided by the broker's own configuration, which also reads the environment.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// Where to listen, such as 127.0.0.1:7900
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Where files are kept [default: ~/.local/share/claudemesh]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A PostgreSQL database in place of the embedded one. Others see the words of a command: leave a password to
    /// DATABASE_URL or the configuration file
    #[arg(long, value_name = "URL")]
    pub(crate) database_url: Option<SecretString>,
    /// A configuration file (claudemesh.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A runner's address; may be repeated
    #[arg(long = "runner-url", value_name = "URL")]
    pub(crate) runner_urls: Vec<String>,
    /// TLS ends at a proxy in front of the broker
    #[arg(long)]
    pub(crate) behind_proxy: bool,
    /// Print the configuration, secrets hidden, and exit
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Runs `broker` until it is told to stop.
pub(crate) fn run(context: &Context, args: &BrokerArgs) -> Result<(), CliError> {
    daemon::broker::start(context.printer, args)
}
