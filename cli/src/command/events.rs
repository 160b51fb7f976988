//! `events`: what happened to a service. `--json`: `{"name", "events": [{"seq", "at", "from"?, "to", "cause",
//! "deployment"?}]}`; with `--follow` one document an event.

use std::time::Duration;

use clap::Args;
use protocol::wire::{McpEvents, ServiceEventEntry};
use serde_json::json;

use super::logs::ASK_AGAIN;
use super::{Context, values};
use crate::client::Client;
use crate::error::CliError;
use crate::output::table::{self, NOTHING};
use crate::text;

/// The most events that the wire lets one ask for.
const MAX_EVENTS: i64 = 1_000;
/// The columns.
const HEADINGS: [&str; 5] = ["time", "from", "to", "cause", "deployment"];

/// The words of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// How many events, the last ones
    #[arg(long, short = 'n', value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=MAX_EVENTS))]
    limit: u32,
    /// Show what happens from now on as well, until it is stopped
    #[arg(long, short)]
    follow: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `events`.
pub(crate) async fn run(context: &Context, args: EventsArgs) -> Result<(), CliError> {
    let mut client = context.client().await?;
    if args.follow {
        let followed = follow(context, &mut client, &args).await;
        client.close().await;
        return followed;
    }
    let request = McpEvents { server_name: args.name.clone(), limit: Some(args.limit), after: None };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let events = answer?.events;
    if events.is_empty() {
        context.printer.note(&format!("nothing happened to \"{}\" yet", args.name));
    }
    let document = json!({"name": args.name, "events": events});
    context.printer.result(&document, |style| table::render(style, &HEADINGS, events.iter().map(row).collect()))
}

async fn follow(context: &Context, client: &mut Client, args: &EventsArgs) -> Result<(), CliError> {
    let mut after = None;
    loop {
        let request = McpEvents { server_name: args.name.clone(), limit: Some(args.limit), after };
        let answer = client.request(&request, args.timeout).await?;
        for event in &answer.events {
            let document = serde_json::to_value(event).unwrap_or_default();
            if !context.printer.next_result(&document, |_| row(event).join("  "))? {
                return Ok(());
            }
        }
        after = Some(answer.next);
        if answer.events.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

fn row(event: &ServiceEventEntry) -> Vec<String> {
    let or_nothing = |text: &Option<String>| text.as_deref().map_or_else(|| NOTHING.to_owned(), text::line);
    vec![
        text::line(&event.at),
        or_nothing(&event.from),
        text::line(&event.to),
        text::line(&event.cause),
        or_nothing(&event.deployment),
    ]
}
