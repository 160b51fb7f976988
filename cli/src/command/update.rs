//! `update`: resolves a service's source anew; what runs serves until the new one is ready. `--json` as `deploy`.

use super::Context;
use super::deploy::{self, BringUpArgs};
use crate::error::CliError;
use crate::wire;

/// Runs `update`.
pub(crate) async fn run(context: &Context, BringUpArgs { name, wait }: BringUpArgs) -> Result<(), CliError> {
    let request = wire::Update { server_name: name.clone() };
    deploy::bring_up(context, &name, &request, wait).await
}
