//! `rollback`: brings an earlier deployment of a service back. `--json` as `deploy`.

use std::time::Duration;

use clap::Args;

use super::deploy::{self, DEFAULT_TIMEOUT};
use super::{Context, values};
use crate::error::CliError;
use crate::wire;

/// The words of `rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// The deployment to go back to, as `events` names it; without it the one before the active one
    #[arg(long, value_name = "DEPLOYMENT")]
    to: Option<String>,
    /// How long to wait for it to run
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = DEFAULT_TIMEOUT)]
    timeout: Duration,
    /// Return as soon as the broker has taken it
    #[arg(long)]
    no_wait: bool,
}

/// Runs `rollback`.
pub(crate) async fn run(context: &Context, args: RollbackArgs) -> Result<(), CliError> {
    let request = wire::Rollback { server_name: args.name.clone(), deployment: args.to };
    deploy::bring_up(context, &args.name, &request, args.timeout, args.no_wait).await
}
