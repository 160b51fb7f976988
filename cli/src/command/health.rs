//! `health`: whether the broker, or one node of its tree, is well. Exit 0 when it is, 1 when it is not, 3 when nobody
//! answers. `--json`: `{"path": null | "…", "healthy": bool, "detail": <what the broker said, or null>}`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use crate::error::CliError;
use crate::text;

/// Fields of the broker's answer that say why something is not well, in order of preference.
const REASONS: [&str; 4] = ["reason", "message", "error", "state"];

/// Fields of the broker's answer that list nodes, and what to say before them.
const LISTS: [(&str, &str); 2] = [("ill", ""), ("waiting_for", "waiting for ")];

/// The words of `health`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The full path of a node, such as meshes/default/services/time; without it the broker as a whole
    path: Option<String>,
    /// The broker's data directory on this machine, where the operator token lies
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs `health`.
pub(crate) async fn run(context: &Context, args: HealthArgs) -> Result<(), CliError> {
    let operator = context.operator(args.data_dir.as_deref())?;
    let path = args.path.as_deref().map(|path| path.trim_matches('/'));
    let mut segments = vec!["health"];
    match path {
        Some(path) => segments.extend(path.split('/')),
        None => segments.push("ready"),
    }
    let answer = operator.get(&segments, &[]).await?;
    let subject = path.map_or_else(|| "the broker".to_owned(), text::line);
    let detail: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    let document = |healthy: bool| json!({"path": path, "healthy": healthy, "detail": detail});
    match answer.status {
        200..=299 => context.printer.confirm(&document(true), |style| format!("{subject} is {}", style.green("well"))),
        404 if path.is_some() => {
            Err(CliError::failed(format!("there is no node {subject}")).hint("claudemesh tree shows all of them"))
        }
        status => Err(CliError::failed(format!(
            "{subject} is not well: {}",
            reason(&detail).unwrap_or_else(|| format!("HTTP status {status}"))
        ))
        .hint("claudemesh tree shows which part")
        .document(document(false))),
    }
}

/// What the broker says is wrong: the nodes that are ill or waited for, else the most telling word.
fn reason(detail: &Value) -> Option<String> {
    for (field, word) in LISTS {
        let nodes: Vec<_> = detail[field].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !nodes.is_empty() {
            return Some(text::line(&format!("{word}{}", nodes.join(", "))));
        }
    }
    REASONS.iter().find_map(|field| detail.get(field)?.as_str()).map(text::line).filter(|reason| !reason.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_most_telling_field() {
        assert_eq!(
            reason(&json!({"state": "crashed", "reason": "above the\nintensity"})).as_deref(),
            Some("above the intensity")
        );
        assert_eq!(reason(&json!({"state": "crashed"})).as_deref(), Some("crashed"));
        assert_eq!(
            reason(&json!({"healthy": false, "ill": ["a/b: crashed", "c: starting"], "state": "x"})).as_deref(),
            Some("a/b: crashed, c: starting")
        );
        assert_eq!(
            reason(&json!({"ready": false, "waiting_for": ["runners/link:local"]})).as_deref(),
            Some("waiting for runners/link:local")
        );
        assert_eq!(reason(&json!({"ill": []})), None);
        assert_eq!(reason(&json!({"reason": 3})), None);
        assert_eq!(reason(&Value::Null), None);
    }
}
