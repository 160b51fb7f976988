//! `restart`: ends a service's processes and starts them again; calls wait meanwhile. `--json` as `deploy`.

use std::time::Duration;

use clap::Args;

use super::deploy::{self, DEFAULT_TIMEOUT};
use super::{Context, values};
use crate::error::CliError;
use crate::wire;

/// The words of `restart`.
#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How long to wait for it to run
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = DEFAULT_TIMEOUT)]
    timeout: Duration,
    /// Return as soon as the broker has taken it
    #[arg(long)]
    no_wait: bool,
}

/// Runs `restart`.
pub(crate) async fn run(context: &Context, args: RestartArgs) -> Result<(), CliError> {
    let request = wire::RestartService { server_name: args.name.clone() };
    deploy::bring_up(context, &args.name, &request, args.timeout, args.no_wait).await
}
