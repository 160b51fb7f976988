//! `update`: resolves a service's source anew; what runs serves until the new one is ready. `--json` as `deploy`.

use protocol::wire::McpUpdate;

use super::Context;
use super::deploy::{self, BringUpArgs};
use crate::error::CliError;

/// Runs `update`.
pub(crate) async fn run(context: &Context, BringUpArgs { name, wait }: BringUpArgs) -> Result<(), CliError> {
    let request = McpUpdate { server_name: name.clone(), sealed: None };
    deploy::bring_up(context, &name, &request, wait).await
}
