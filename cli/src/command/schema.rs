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
    let mut client = context.client().await?;
    let request = wire::Schema { server_name: args.name.clone(), tool_name: args.tool.clone() };
    let answer = client.request(&request, args.timeout).await;
    client.close().await;
    let tools = answer?.tools;
    if let (Some(tool), true) = (&args.tool, tools.is_empty()) {
        return Err(CliError::failed(format!("{} has no tool `{tool}`", args.name))
            .hint(format!("claudemesh schema {} lists its tools", args.name)));
    }
    let document = json!({"name": args.name, "tools": tools});
    context.printer.result(&document, |style| {
        if tools.is_empty() {
            return format!("{} has no tools.", args.name);
        }
        let described: Vec<_> = tools.iter().map(|tool| describe(style, tool)).collect();
        described.join("\n\n")
    })
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
    fn a_tool_with_a_senseless_schema_is_still_described() {
        let tool: Tool =
            serde_json::from_value(json!({"name": "x", "inputSchema": {"required": 3, "properties": []}})).unwrap();
        assert_eq!(describe(Style::default(), &tool), "x");
    }
}
