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
        None if operator.has_token() => segments.push("ready"),
        // Without the token a broker only says that it lives.
        None => context.printer.note("no operator token here: asking only whether the broker lives"),
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

/// What the broker says is wrong.
fn reason(detail: &Value) -> Option<String> {
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
        assert_eq!(reason(&json!({"reason": 3})), None);
        assert_eq!(reason(&Value::Null), None);
    }
}
