//! `catalog`: the services you may use. `--json`: `{"services": [...]}`, each as the broker describes it.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{Context, values};
use crate::error::CliError;
use crate::output::age;
use crate::output::table::{self, NOTHING};
use crate::text::{self, Foreign};
use crate::wire::{self, Service};

/// The columns.
const HEADINGS: [&str; 8] = ["name", "state", "tools", "type", "version", "scope", "by", "since"];

/// Digits of a commit that are shown.
const SHORT_COMMIT: usize = 12;
/// Those that `--wide` adds.
const WIDE: [&str; 7] = ["runtime", "restarts", "runner", "isolation", "instances", "deployment", "secrets"];

/// The words of `catalog`.
#[derive(Debug, Args)]
pub(crate) struct CatalogArgs {
    /// Show all there is to say of each
    #[arg(long)]
    wide: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `catalog`.
pub(crate) async fn run(context: &Context, args: CatalogArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.request(&wire::Catalog {}, args.timeout).await;
    client.close().await;
    let answer = answer?;
    context.printer.result(&answer, |style| {
        if answer.services.is_empty() {
            return "No services deployed in the mesh.".to_owned();
        }
        let now_ms = age::now_ms();
        let wide: &[&str] = if args.wide { &WIDE } else { &[] };
        let rows = answer.services.iter().map(|service| {
            let more = if args.wide { wider(service) } else { Vec::new() };
            row(service, now_ms).into_iter().chain(more).collect()
        });
        table::render(style, &[&HEADINGS, wide].concat(), rows.collect())
    })
}

fn row(service: &Service, now_ms: u64) -> Vec<String> {
    // Since when its state holds; where the broker does not say, since when it exists.
    let since = service
        .since_ms
        .or_else(|| age::parse_iso(service.created_at.raw()))
        .map_or(NOTHING.to_owned(), |then_ms| age::since(now_ms, then_ms));
    vec![
        service.name.line(),
        or_nothing(&service.status),
        service.tool_count.to_string(),
        or_nothing(&service.source_type),
        service.version.as_ref().map_or(NOTHING.to_owned(), |version| short(or_nothing(version))),
        scope(&service.scope, service.guards),
        or_nothing(&service.deployed_by),
        since,
    ]
}

/// A commit by its first digits, as git shows it; any other version as it is.
fn short(version: String) -> String {
    let commit = matches!(version.len(), 40 | 64) && version.bytes().all(|byte| byte.is_ascii_hexdigit());
    if commit { version.chars().take(SHORT_COMMIT).collect() } else { version }
}

/// What `--wide` shows besides.
fn wider(service: &Service) -> Vec<String> {
    let text = |name: &str| service.rest.get(name).and_then(Value::as_str).map(text::line);
    let number = |name: &str| service.rest.get(name).and_then(Value::as_u64).map(|number| number.to_string());
    let (restarts, instances) = (number("restarts"), number("instances"));
    let all =
        [text("runtime"), restarts, text("runner"), text("level"), instances, text("deployment"), text("secrets")];
    all.into_iter().map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned())).collect()
}

fn or_nothing(text: &Foreign) -> String {
    match text.line() {
        line if line.is_empty() => NOTHING.to_owned(),
        line => line,
    }
}

/// A scope in the words of `--scope`, and whether it keeps nobody out; one of an unknown form is shown as it is.
pub(super) fn scope(scope: &Value, guards: Option<bool>) -> String {
    let words = match scope {
        Value::Null => NOTHING.to_owned(),
        Value::String(word) => word.clone(),
        Value::Object(fields) => match fields.iter().next() {
            Some((kind, Value::String(name))) if fields.len() == 1 => format!("{kind}:{name}"),
            Some((kind, Value::Array(names))) if fields.len() == 1 => {
                let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
                format!("{kind}:{}", names.join(","))
            }
            _ => scope.to_string(),
        },
        other => other.to_string(),
    };
    let mark = if guards == Some(false) { " (open)" } else { "" };
    format!("{}{mark}", text::line(&words))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::json;

    #[test]
    fn scopes_are_shown_in_the_words_they_are_given_in() {
        for (form, shown) in [
            (json!("mesh"), "mesh"),
            (json!({"group": "eng"}), "group:eng"),
            (json!({"groups": ["a", "b"]}), "groups:a,b"),
            (json!(null), "-"),
            (json!({"group": "e\u{202e}vil\u{1b}[2J"}), "group:evil"),
            (json!({"a": "b", "guards": false}), r#"{"a":"b","guards":false}"#),
        ] {
            assert_eq!(scope(&form, Some(true)), shown, "{form}");
        }
    }

    #[test]
    fn a_commit_is_shown_by_its_first_digits() {
        assert_eq!(short("0123456789abcdef".repeat(4)), "0123456789ab");
        assert_eq!(short("2025.8.4".to_owned()), "2025.8.4");
        assert_eq!(short("z".repeat(40)), "z".repeat(40));
    }

    #[test]
    fn a_scope_that_keeps_nobody_out_says_so() {
        assert_eq!(scope(&json!({"group": "eng"}), Some(false)), "group:eng (open)");
        assert_eq!(scope(&json!({"group": "eng"}), None), "group:eng", "an older broker does not say");
    }

    #[test]
    fn a_row_has_a_cell_for_every_heading_even_from_a_broker_that_says_little() {
        let service: Service = serde_json::from_value(json!({"name": "time"})).unwrap();
        let cells = row(&service, 0);
        assert_eq!(cells.len(), HEADINGS.len());
        assert_eq!(wider(&service).len(), WIDE.len());
        assert_eq!(cells.join(" "), "time - 0 - - - - -");
    }
}
