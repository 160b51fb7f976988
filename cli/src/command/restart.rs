//! `restart`: ends a service's processes and starts them again; calls wait meanwhile. `--json` as `deploy`.

use super::Context;
use super::deploy::{self, BringUpArgs};
use crate::error::CliError;
use crate::wire;

/// Runs `restart`.
pub(crate) async fn run(context: &Context, BringUpArgs { name, wait }: BringUpArgs) -> Result<(), CliError> {
    let request = wire::RestartService { server_name: name.clone() };
    deploy::bring_up(context, &name, &request, wait).await
}
