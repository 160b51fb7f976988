//! `rollback`: brings an earlier deployment of a service back. `--json` as `deploy`.

use clap::Args;

use super::Context;
use super::deploy::{self, WaitArgs};
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
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `rollback`.
pub(crate) async fn run(context: &Context, args: RollbackArgs) -> Result<(), CliError> {
    let request = wire::Rollback { server_name: args.name.clone(), deployment: args.to };
    deploy::bring_up(context, &args.name, &request, args.wait).await
}
