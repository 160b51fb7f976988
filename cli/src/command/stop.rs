//! `stop`: stops a service and keeps it, to be started again. `--json`: `{"name", "status"}`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, values};
use crate::error::CliError;
use crate::wire;

/// The words of `stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How long to wait for it to stop
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    timeout: Duration,
}

/// Runs `stop`.
pub(crate) async fn run(context: &Context, args: StopArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let request = wire::StopService { server_name: args.name.clone() };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let answer = answer?;
    if let Some(error) = answer.error.filter(|error| !error.is_empty()) {
        return Err(CliError::failed(format!("{} is not stopped: {}", args.name, error.line())));
    }
    let document = json!({"name": args.name, "status": answer.status.line()});
    context.printer.confirm(&document, |_| format!("Service \"{}\" stopped.", args.name))
}
