//! `watch`: addresses that the broker looks at for you; what changes comes to your inbox.
//!
//! `--json`: `add` and `remove` `{"watchId", "url", "mode", "interval"}`; `list` `{"watches": [...]}`; `history` `{"watchId",
//! "changes": [...]}`; `test` `{"value"?, "hash"?, "error"?, "status"?, "bytes"}`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use protocol::SecretString;
use protocol::wire::{
    Priority, Seconds, Watch, WatchAck, WatchChange, WatchEntry, WatchHistory, WatchId, WatchListResult, WatchMode,
    WatchTestResult,
};

use super::{Context, values};
use crate::client::{ANSWER_TIMEOUT, Client};
use crate::error::CliError;
use crate::output::table::{self, NOTHING};
use crate::text;
use crate::wire::mesh::{TestWatch, WatchList};

/// A look may wait for its turn before its own time begins.
const LOOK_TIMEOUT: Duration = Duration::from_secs(50);
/// The columns of `list` and `history`.
const WATCH_HEADINGS: [&str; 6] = ["id", "what", "every", "value", "last look", "state"];
const CHANGE_HEADINGS: [&str; 4] = ["time", "what", "before", "after"];
/// Characters of a URL or a value in a table.
const CELL_CHARS: usize = 48;

/// The words of `watch`.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(subcommand)]
    command: WatchCommand,
}

#[derive(Debug, Subcommand)]
enum WatchCommand {
    /// Watch a URL
    Add {
        #[command(flatten)]
        what: What,
        /// How often to look
        #[arg(long, value_name = "TIME", value_parser = values::duration)]
        every: Option<Duration>,
        /// When to tell you: change, match:VALUE or not_match:VALUE
        #[arg(long, value_name = "WHEN")]
        on: Option<String>,
        /// What you call it
        #[arg(long)]
        label: Option<String>,
        /// How urgent what it says is: now, next or low
        #[arg(long, value_name = "P", value_parser = priority)]
        priority: Option<Priority>,
        /// Failures in a row after which you are told
        #[arg(long, value_name = "N")]
        fail_after: Option<u32>,
        /// Looks in a row at which a new value has to be there before you are told
        #[arg(long, value_name = "N")]
        settle: Option<u32>,
    },
    /// List your watches
    List,
    /// End a watch
    Remove {
        /// Its id, w_ and eight digits
        id: String,
    },
    /// Show what happened to a watch
    History {
        /// Its id
        id: String,
        /// How many changes, the last ones
        #[arg(long, short = 'n', value_name = "N", default_value = "50")]
        limit: u32,
    },
    /// Look once, and show what would be watched
    Test {
        #[command(flatten)]
        what: What,
    },
}

/// What is looked at.
#[derive(Debug, Args)]
struct What {
    /// http:// or https://
    url: String,
    /// What of it: hash, json or status
    #[arg(long, value_parser = mode)]
    mode: Option<WatchMode>,
    /// Which part of the JSON: data.items[0].status, or a JSONPath from $
    #[arg(long, value_name = "PATH")]
    extract: Option<String>,
    /// A header to send, "Name: value"; the broker sees it
    #[arg(long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(String, SecretString)>,
}

impl What {
    fn watch(self) -> Watch {
        let headers: BTreeMap<_, _> = self.headers.into_iter().collect();
        Watch { url: self.url, mode: self.mode, extract: self.extract, headers, ..Watch::default() }
    }
}

fn mode(word: &str) -> Result<WatchMode, String> {
    let found = WatchMode::ALL.into_iter().find(|mode| mode.as_str() == word);
    found.ok_or_else(|| "expected hash, json or status".to_owned())
}

fn priority(word: &str) -> Result<Priority, String> {
    let found = Priority::ALL.into_iter().find(|priority| priority.as_str() == word);
    found.ok_or_else(|| "expected now, next or low".to_owned())
}

fn header(text: &str) -> Result<(String, SecretString), String> {
    // The error never repeats the text, which may be a secret.
    let (name, value) = text.split_once(':').ok_or("expected \"Name: value\"")?;
    Ok((name.trim().to_owned(), SecretString::from(value.trim())))
}

/// Runs `watch`.
pub(crate) async fn run(context: &Context, args: WatchArgs) -> Result<(), CliError> {
    let mut client = context.client().await?;
    let done = match args.command {
        WatchCommand::Add { what, every, on, label, priority, fail_after, settle } => {
            let interval = every.map(|every| Seconds { ms: values::milliseconds(every) });
            let watch = Watch { interval, notify_on: on, label, priority, fail_after, settle, ..what.watch() };
            add(context, &mut client, watch).await
        }
        WatchCommand::List => list(context, &mut client).await,
        WatchCommand::Remove { id } => remove(context, &mut client, id).await,
        WatchCommand::History { id, limit } => history(context, &mut client, id, limit).await,
        WatchCommand::Test { what } => test(context, &mut client, what.watch()).await,
    };
    client.close().await;
    done
}

async fn add(context: &Context, client: &mut Client, watch: Watch) -> Result<(), CliError> {
    let ack = client.request(&watch, ANSWER_TIMEOUT).await?;
    context.printer.result(&ack, |_| begun(&ack))
}

/// What a person, or a session, is told of a new watch.
pub(crate) fn begun(ack: &WatchAck) -> String {
    let WatchAck { watch_id, url, mode, interval } = ack;
    format!("Watch ID: {}\n{} · {mode} · every {}", text::line(watch_id), text::line(url), every(*interval))
}

async fn remove(context: &Context, client: &mut Client, id: String) -> Result<(), CliError> {
    let ack = client.request(&WatchId { watch_id: id }, ANSWER_TIMEOUT).await?;
    context.printer.confirm(&ack, |_| format!("{} is watched no more.", text::line(&ack.url)))
}

async fn list(context: &Context, client: &mut Client) -> Result<(), CliError> {
    let answer: WatchListResult = client.request(&WatchList {}, ANSWER_TIMEOUT).await?;
    if answer.watches.is_empty() {
        context.printer.note("you watch nothing: claudemesh watch add URL");
    }
    let rows = || answer.watches.iter().map(watch_row).collect();
    context.printer.result(&answer, |style| table::render(style, &WATCH_HEADINGS, rows()))
}

/// Its id, what, how often, the value, the last look, and how it is.
pub(crate) fn watch_row(watch: &WatchEntry) -> Vec<String> {
    let what = watch.label.as_deref().unwrap_or(&watch.url);
    let state = match (&watch.last_error, watch.failing) {
        (Some(error), true) => format!("failing: {}", cell(error)),
        (Some(error), false) => format!("failed {} times: {}", watch.failures, cell(error)),
        (None, _) => "ok".to_owned(),
    };
    vec![
        text::line(&watch.id),
        cell(what),
        every(watch.interval),
        watch.last_value.as_deref().map_or_else(|| NOTHING.to_owned(), cell),
        watch.last_check.as_deref().map_or_else(|| NOTHING.to_owned(), text::line),
        state,
    ]
}

async fn history(context: &Context, client: &mut Client, id: String, limit: u32) -> Result<(), CliError> {
    let request = WatchHistory { watch_id: id, limit: Some(limit) };
    let answer = client.request(&request, ANSWER_TIMEOUT).await?;
    if answer.changes.is_empty() {
        context.printer.note("nothing was seen yet");
    }
    let rows = || answer.changes.iter().map(change_row).collect();
    context.printer.result(&answer, |style| table::render(style, &CHANGE_HEADINGS, rows()))
}

fn change_row(change: &WatchChange) -> Vec<String> {
    let or_nothing = |value: &Option<String>| value.as_deref().map_or_else(|| NOTHING.to_owned(), cell);
    vec![text::line(&change.at), text::line(&change.kind), or_nothing(&change.old_value), or_nothing(&change.new_value)]
}

async fn test(context: &Context, client: &mut Client, watch: Watch) -> Result<(), CliError> {
    let answer: WatchTestResult = client.request(&TestWatch(watch), LOOK_TIMEOUT).await?;
    context.printer.result(&answer, |_| {
        let answered = match answer.status {
            Some(status) => format!("answer {status}, {} bytes", answer.bytes),
            None => "no answer".to_owned(),
        };
        match &answer.value {
            Some(value) => format!("{answered}\n{}", text::block(value)),
            None => answered,
        }
    })?;
    if answer.value.is_some() {
        return Ok(());
    }
    let why = answer.error.as_deref().unwrap_or("the broker does not say why");
    Err(CliError::failed(format!("no value: {}", text::line(why))).already_documented())
}

fn every(interval: Seconds) -> String {
    if interval.ms.is_multiple_of(1_000) { format!("{} s", interval.ms / 1_000) } else { format!("{} ms", interval.ms) }
}

fn cell(value: &str) -> String {
    let line = text::line(value);
    let mut cut: String = line.chars().take(CELL_CHARS).collect();
    if cut.len() < line.len() {
        cut.push('…');
    }
    cut
}
