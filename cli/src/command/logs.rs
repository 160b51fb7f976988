//! `logs`: what a service wrote. `--json`: `{"name", "lines": [...]}`; with `--follow` one document a line, `{"line"}`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, values};
use crate::client::Client;
use crate::error::CliError;
use crate::wire;

/// The most lines that the wire lets one ask for.
const MAX_LINES: i64 = 1_000;
/// How many lines are asked for at a time by who follows.
const BATCH: u32 = 1_000;
/// The pause before it is asked again, when there was nothing new.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The words of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How many lines, the last ones
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=MAX_LINES))]
    lines: u32,
    /// Show what is written from now on as well, until it is stopped
    #[arg(long, short)]
    follow: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `logs`.
pub(crate) async fn run(context: &Context, args: LogsArgs) -> Result<(), CliError> {
    let mut client = context.client().await?;
    if args.follow {
        let followed = follow(context, &mut client, &args).await;
        client.close().await;
        return followed;
    }
    let request = wire::Logs { server_name: args.name.clone(), lines: args.lines, after: None };
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

/// Goes on from where the answer before ended, so that nothing is repeated, and nothing lost in silence.
async fn follow(context: &Context, client: &mut Client, args: &LogsArgs) -> Result<(), CliError> {
    let mut after = None;
    loop {
        let lines = if after.is_some() { BATCH } else { args.lines };
        let request = wire::Logs { server_name: args.name.clone(), lines, after };
        let answer = client.request(&request, args.timeout).await?;
        if answer.lost {
            context.printer.warning("lines were lost here: more was written than is kept, or the runner was restarted");
        }
        for line in &answer.lines {
            if !context.printer.next_result(&json!({"line": line}), |_| line.line())? {
                return Ok(());
            }
        }
        let before = after;
        after = answer.next;
        if after.is_none() {
            return Err(CliError::failed("this broker cannot go on from a line: it is too old for --follow"));
        }
        if before == after || before.is_none() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}
