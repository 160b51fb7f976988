//! `undeploy`: stops a service and takes it out of the mesh. `--json`: `{"name", "status"}`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, values};
use crate::error::CliError;
use crate::wire;

/// The words of `undeploy`.
#[derive(Debug, Args)]
pub(crate) struct UndeployArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How long to wait for it to stop
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    timeout: Duration,
}

/// Runs `undeploy`.
pub(crate) async fn run(context: &Context, args: UndeployArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let request = wire::Undeploy { server_name: args.name.clone() };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let answer = answer?;
    if let Some(error) = answer.error.filter(|error| !error.is_empty()) {
        return Err(CliError::failed(format!("{} is not undeployed: {}", args.name, error.line())));
    }
    let document = json!({"name": args.name, "status": answer.status.line()});
    context.printer.confirm(&document, |_| format!("Service \"{}\" undeployed.", args.name))
}
