//! `logs`: what a service wrote. `--json`: `{"name", "lines": [...]}`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, values};
use crate::error::CliError;
use crate::wire;

/// The most lines that the wire lets one ask for.
const MAX_LINES: i64 = 1_000;

/// The words of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How many lines, the last ones
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=MAX_LINES))]
    lines: u32,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `logs`.
pub(crate) async fn run(context: &Context, args: LogsArgs) -> Result<(), CliError> {
    let mut client = context.client().await?;
    let request = wire::Logs { server_name: args.name.clone(), lines: args.lines };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let lines = answer?.lines;
    if lines.is_empty() {
        context.printer.note(&format!("No logs for \"{}\".", args.name));
    }
    let document = json!({"name": args.name, "lines": lines});
    context.printer.result(&document, |_| {
        let clean: Vec<_> = lines.iter().map(|line| line.line()).collect();
        clean.join("\n")
    })
}
