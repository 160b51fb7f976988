//! `runner`: a runner on a machine of its own. Its token comes from the environment or a file: words can be seen by everybody
//! on the machine.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use runner::process::Level;

use super::values;
use crate::daemon;
use crate::error::CliError;

/// The words of `runner`. What is left out is decided by the environment and by defaults.
#[derive(Debug, Args)]
pub(crate) struct RunnerArgs {
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
    /// Leave the terminal's session
    #[arg(long, hide = true)]
    pub(crate) detach: bool,
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

/// Runs `runner` until it is told to stop.
pub(crate) fn run(args: &RunnerArgs) -> Result<(), CliError> {
    daemon::runner::start(args)
}
