//! `schema`: a service's tools and what they take. `--json`: `{"name", "tools": [...]}`, each as its server describes it.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Context, values};
use crate::error::CliError;
use crate::output::Style;
use crate::text;
use crate::wire::{self, Tool};

/// Tools that a failure names; `claudemesh schema NAME` shows all of them.
const MAX_NAMED: usize = 20;
/// How like a name must be to be what was meant: the share of pairs of letters that both have.
const CLOSE: f64 = 0.4;

/// The words of `schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    name: String,
    /// One tool only
    tool: Option<String>,
    /// How long to wait for the answer
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "30s")]
    timeout: Duration,
}

/// Runs `schema`.
pub(crate) async fn run(context: &Context, args: SchemaArgs) -> Result<(), CliError> {
    let client = context.client().await?;
    let request = wire::Schema { server_name: args.name.clone(), tool_name: args.tool.clone() };
    let answer = client.request(&request, args.timeout).await;
    let missing = match (&args.tool, &answer) {
        (Some(tool), Ok(answer)) if answer.tools.is_empty() => Some(tool),
        (Some(tool), Err(error)) if error.is_not_found() => Some(tool),
        _ => None,
    };
    if let Some(tool) = missing {
        let all = wire::Schema { server_name: args.name.clone(), tool_name: None };
        // Without an answer it is the service that is not there, which the first answer has said.
        if let Ok(all) = client.request(&all, args.timeout).await {
            client.close().await;
            return Err(no_such_tool(&args.name, tool, &all.tools));
        }
    }
    client.close().await;
    let tools = answer?.tools;
    let document = json!({"name": args.name, "tools": tools});
    context.printer.result(&document, |style| {
        if tools.is_empty() {
            return format!("{} has no tools.", args.name);
        }
        let described: Vec<_> = tools.iter().map(|tool| describe(style, tool)).collect();
        described.join("\n\n")
    })
}

/// A failure that names the tools there are, and the one that may have been meant.
fn no_such_tool(service: &str, asked: &str, tools: &[Tool]) -> CliError {
    let error = CliError::failed(format!("{service} has no tool `{}`", text::line(asked)));
    let names: Vec<String> = tools.iter().map(|tool| tool.name.line()).collect();
    if names.is_empty() {
        return error.hint(format!("{service} has no tools at all: claudemesh logs {service} may say why"));
    }
    let close = |name: &&String| strsim::sorensen_dice(&name.to_lowercase(), &asked.to_lowercase());
    let meant =
        names.iter().max_by(|one, other| close(one).total_cmp(&close(other))).filter(|name| close(name) >= CLOSE);
    let meant = meant.map_or_else(String::new, |name| format!("did you mean `{name}`? "));
    let shown = names.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    error.hint(format!("{meant}it has {shown}{more}"))
}

/// A tool: its name, what its author says of it, a line per argument.
fn describe(style: Style, tool: &Tool) -> String {
    let mut shown = style.green(&tool.name.line());
    for line in tool.description.iter().flat_map(|text| lines(&text.block())) {
        let _ = write!(shown, "\n  {line}");
    }
    let schema = tool.rest.get("inputSchema");
    let required: Vec<&str> = schema
        .and_then(|schema| schema.get("required")?.as_array())
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    for (name, property) in properties.into_iter().flatten() {
        let must = if required.contains(&name.as_str()) { ", required" } else { "" };
        let kind = style.dim(&format!("({}{must})", kind(property)));
        let about = property.get("description").and_then(Value::as_str).unwrap_or_default();
        let line = format!("  {} {kind} {}", text::line(name), text::line(about));
        let _ = write!(shown, "\n  {}", line.trim_end());
    }
    shown
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// The JSON Schema type in a word or two.
fn kind(property: &Value) -> String {
    let kind = match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join("|")
        }
        _ => "any".to_owned(),
    };
    text::line(&kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_tool_is_described_with_its_arguments() {
        let tool: Tool = serde_json::from_value(json!({
            "name": "get_time", "description": "The time.\nIn a zone.\u{1b}[2J",
            "inputSchema": {"type": "object", "required": ["zone"], "properties": {
                "zone": {"type": "string", "description": "IANA name"},
                "style": {"type": ["string", "null"]},
                "extra": {}
            }}
        }))
        .unwrap();
        let shown = describe(Style::default(), &tool);
        assert!(shown.starts_with("get_time\n  The time.\n  In a zone.\n"), "{shown}");
        for line in ["    zone (string, required) IANA name", "    style (string|null)", "    extra (any)"] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} is not in\n{shown}");
        }
    }

    #[test]
    fn a_tool_that_is_not_there_is_told_with_those_that_are() {
        let tools = |names: &[&str]| -> Vec<Tool> {
            names.iter().map(|name| serde_json::from_value(json!({ "name": name })).unwrap()).collect()
        };
        let hint = |asked: &str, names: &[&str]| no_such_tool("time", asked, &tools(names)).hint.unwrap();
        let two = ["convert_time", "get_current_time"];
        assert_eq!(
            hint("get_curent_time", &two),
            "did you mean `get_current_time`? it has convert_time, get_current_time"
        );
        assert_eq!(hint("Convert", &two), "did you mean `convert_time`? it has convert_time, get_current_time");
        assert_eq!(hint("xyz", &two), "it has convert_time, get_current_time");
        assert_eq!(hint("x", &["evil\u{1b}[2J\n"]), "it has evil");
        let many: Vec<String> = (0..25).map(|n| format!("tool-{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(hint("zzz", &many).ends_with("tool-19 and 5 more"));
        assert!(hint("x", &[]).contains("no tools at all"));
    }

    #[test]
    fn a_tool_with_a_senseless_schema_is_still_described() {
        let tool: Tool =
            serde_json::from_value(json!({"name": "x", "inputSchema": {"required": 3, "properties": []}})).unwrap();
        assert_eq!(describe(Style::default(), &tool), "x");
    }
}
