//! `tree`: the broker's supervision tree with its runners' trees grafted in; `--watch` is in `watch`. `--json`: the
//! document of `GET /tree` as the broker gave it: `{"seq", "at_ms", "roots": [{"id", "kind", "state", "since_ms",
//! "restarts": {"window", "total"}, "last_exit": {"reason", "at_ms"} | null, "queue", "facts", "children"}]}`.

mod watch;

use std::path::PathBuf;

use clap::Args;
use serde_json::value::RawValue;

use super::Context;
use crate::error::CliError;
use crate::operator::Answer;
use crate::output::tree::{TreeDocument, render};
use crate::text;

/// The words of `tree`.
#[derive(Debug, Args)]
pub(crate) struct TreeArgs {
    /// Only the node with this full path, and what is below it
    #[arg(long)]
    path: Option<String>,
    /// At most this many levels below the top
    #[arg(long, value_name = "N")]
    depth: Option<u32>,
    /// Show it again whenever it changes, until Ctrl-C; waits for a broker that goes away
    #[arg(long, short)]
    watch: bool,
    /// The broker's data directory on this machine, where the operator token lies
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs `tree`.
pub(crate) async fn run(context: &Context, args: TreeArgs) -> Result<(), CliError> {
    let operator = context.operator(args.data_dir.as_deref())?;
    let mut query = Vec::new();
    if let Some(path) = &args.path {
        query.push(("path", path.clone()));
    }
    if let Some(depth) = args.depth {
        query.push(("depth", depth.to_string()));
    }
    if args.watch {
        let part = watch::Part { query, path: args.path, depth: args.depth };
        return watch::watch(context.printer, &operator, part).await;
    }
    let answer = operator.get(&["tree"], &query).await?;
    let (raw, document) = read(&answer, args.path.as_deref())?;
    context.printer.result(&raw, |style| render(style, &document, args.depth))
}

fn read(answer: &Answer, path: Option<&str>) -> Result<(Box<RawValue>, TreeDocument), CliError> {
    match (answer.status, path) {
        (200, _) => {}
        (404, Some(path)) => {
            return Err(CliError::failed(format!("there is no node {}", text::line(path)))
                .hint("claudemesh tree shows all of them"));
        }
        (status, _) => {
            return Err(CliError::failed(format!("the broker answered with HTTP status {status}")));
        }
    }
    let unreadable = |error: serde_json::Error| {
        CliError::failed(format!("the broker's tree cannot be understood: {error}"))
            .hint("broker and client may be of different versions: claudemesh version")
    };
    let document: TreeDocument = serde_json::from_str(&answer.body).map_err(unreadable)?;
    let raw = RawValue::from_string(answer.body.clone()).map_err(unreadable)?;
    match path {
        Some(path) if document.roots.is_empty() => {
            Err(CliError::failed(format!("there is no node {}", text::line(path)))
                .hint("claudemesh tree shows all of them"))
        }
        _ => Ok((raw, document)),
    }
}
