//! `start`: starts a service that was stopped, or that failed or crashed. `--json` as `deploy`.

use super::Context;
use super::deploy::{self, BringUpArgs};
use crate::error::CliError;
use crate::wire;

/// Runs `start`.
pub(crate) async fn run(context: &Context, BringUpArgs { name, wait }: BringUpArgs) -> Result<(), CliError> {
    let request = wire::StartService { server_name: name.clone() };
    deploy::bring_up(context, &name, &request, wait).await
}
