//! `broker`: a broker on a machine of its own. `rotate-key`: another at-rest key for a broker that does not run;
//! `--json`: `{"values", "keyVersion"}`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use protocol::SecretString;

use super::Context;
use crate::daemon;
use crate::error::CliError;

/// The words of `broker`. What is left out is decided by the broker's own configuration, which also reads the environment.
#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BrokerCommand>,
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

/// What is done with a broker that does not run.
#[derive(Debug, Subcommand)]
pub(crate) enum BrokerCommand {
    /// Seal everything in the database under a new at-rest key
    RotateKey {
        /// In place of BROKER_ENCRYPTION_KEY, where that is set: a file of mode 600 with the 64 hexadecimal digits
        #[arg(long, value_name = "FILE")]
        next_key_file: Option<PathBuf>,
    },
}

/// Runs `broker` until it is told to stop.
pub(crate) fn run(context: &Context, args: &BrokerArgs) -> Result<(), CliError> {
    match &args.command {
        None => daemon::broker::start(context.printer, args),
        Some(BrokerCommand::RotateKey { next_key_file }) => {
            daemon::broker::rotate_key(context.printer, args, next_key_file.as_deref())
        }
    }
}
