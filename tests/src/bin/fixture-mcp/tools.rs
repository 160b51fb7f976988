//! The tools: what they say they are, and what a call of each does.

use std::fs::OpenOptions;
use std::io::{self, Seek, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::orphan;

/// `big` gives no more than this.
const MAX_BIG_BYTES: u64 = 256 * 1024 * 1024;
/// `steps` takes no more than these.
const MAX_STEPS: u64 = 10_000;
/// `slow` takes no longer than this.
const MAX_SLOW_MS: u64 = 3_600_000;

/// What a call comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A result with this text.
    Text(String),
    /// This very result.
    Result(Value),
    /// A result that says it failed.
    Failed(String),
    /// A JSON-RPC error.
    Error { code: i64, message: String, data: Option<Value> },
    /// A result, but not yet.
    Later { after_ms: u64, text: String },
    /// Words about its progress at once, and then a result, but not yet.
    Steps { steps: u64, after_ms: u64, text: String },
    /// No answer: the process is gone.
    Crash,
}

/// What the connection has seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen<'a> {
    /// What its own requests were answered.
    pub(crate) answers: &'a [Value],
    /// What was given up.
    pub(crate) cancelled: &'a [Value],
}

/// Every tool, in the order it is listed. `changed` adds the one that appears later.
pub(crate) fn list(changed: bool) -> Vec<Value> {
    let text = |name: &str| json!({ name: { "type": "string" } });
    let count = |name: &str| json!({ name: { "type": "integer", "minimum": 0 } });
    let none = || json!({});
    let safe = json!({ "readOnlyHint": true, "idempotentHint": true });
    let reads = json!({ "readOnlyHint": true });
    let acts = json!({ "readOnlyHint": false, "idempotentHint": false });
    let mut tools = vec![
        tool("echo", "Says what it is told", &text("text"), &["text"], &safe),
        tool("count", "Writes down that it ran, and how often; then takes its time", &count("ms"), &[], &acts),
        tool("slow", "Takes its time", &count("ms"), &["ms"], &reads),
        tool("big", "Gives this many bytes", &count("bytes"), &["bytes"], &reads),
        tool("env", "Shows its environment", &text("name"), &[], &reads),
        tool("pid", "Shows its own process id", &none(), &[], &reads),
        tool("answers", "Shows what its own requests were answered", &none(), &[], &reads),
        tool("cancelled", "Shows which requests were given up", &none(), &[], &reads),
        tool("steps", "Tells of its progress in so many steps, and takes its time", &count("steps"), &["steps"], &acts),
        tool("rich", "Gives content of every kind", &none(), &[], &reads),
        tool("fail", "Fails as a tool does", &none(), &[], &reads),
        tool("rpcerror", "Fails as a request does", &none(), &[], &reads),
        tool("crash", "Exits without an answer", &none(), &[], &acts),
        tool("orphan", "Leaves a process behind", &text("token"), &["token"], &acts),
    ];
    if changed {
        tools.push(tool("later", "Was not there before", &none(), &[], &safe));
    }
    tools
}

fn tool(name: &str, description: &str, properties: &Value, required: &[&str], hints: &Value) -> Value {
    json!({
        "name": name,
        "description": description,
        "inputSchema": { "type": "object", "properties": properties, "required": required },
        "annotations": hints,
    })
}

/// Calls a tool. `count_file` is what `count` needs, `seen` what some tools show.
pub(crate) fn call(name: &str, arguments: &Value, count_file: Option<&str>, seen: Seen<'_>) -> Outcome {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str);
    let number = |key: &str| arguments.get(key).and_then(Value::as_u64);
    match name {
        "echo" => text("text").map_or_else(|| missing("text"), |text| Outcome::Text(text.to_owned())),
        // Written down before the time is taken: what is killed meanwhile has run.
        "count" => match (reported(count(count_file), |count| count.to_string()), number("ms")) {
            (Outcome::Text(text), Some(ms)) => Outcome::Later { after_ms: ms.min(MAX_SLOW_MS), text },
            (outcome, _) => outcome,
        },
        "slow" => number("ms").map_or_else(
            || missing("ms"),
            |ms| Outcome::Later { after_ms: ms.min(MAX_SLOW_MS), text: format!("slept {ms} ms") },
        ),
        "big" => number("bytes").map_or_else(
            || missing("bytes"),
            |bytes| {
                let bytes = usize::try_from(bytes.min(MAX_BIG_BYTES)).unwrap_or(usize::MAX);
                Outcome::Text("x".repeat(bytes))
            },
        ),
        "env" => Outcome::Text(environment(text("name")).to_string()),
        "pid" => Outcome::Text(std::process::id().to_string()),
        "answers" => Outcome::Text(json!(seen.answers).to_string()),
        "cancelled" => Outcome::Text(json!(seen.cancelled).to_string()),
        "steps" => number("steps").map_or_else(
            || missing("steps"),
            |steps| Outcome::Steps {
                steps: steps.min(MAX_STEPS),
                after_ms: number("ms").unwrap_or(0).min(MAX_SLOW_MS),
                text: format!("{steps} steps"),
            },
        ),
        "rich" => Outcome::Result(rich()),
        "fail" => Outcome::Failed("this tool always fails".to_owned()),
        "rpcerror" => Outcome::Error {
            code: -32602,
            message: "this request is always refused".to_owned(),
            data: Some(json!({ "reason": "rpcerror", "nested": [1, { "two": 2 }] })),
        },
        // Not listed: for those who look at what becomes of secrets.
        "cat" => match text("path") {
            Some(path) => reported(std::fs::read_to_string(path), |read| read),
            None => missing("path"),
        },
        "tell" => match text("text") {
            Some(text) => {
                eprintln!("{text}");
                Outcome::Text("told".to_owned())
            }
            None => missing("text"),
        },
        "refuse" => match text("text") {
            Some(text) => {
                Outcome::Error { code: -32000, message: text.to_owned(), data: Some(json!({ "said": text })) }
            }
            None => missing("text"),
        },
        "crash" => Outcome::Crash,
        "orphan" => match text("token") {
            Some(token) => reported(orphan::leave(token), |()| format!("left {token}")),
            None => missing("token"),
        },
        "later" => Outcome::Text("here now".to_owned()),
        _ => Outcome::Error { code: -32602, message: format!("unknown tool: {name}"), data: None },
    }
}

/// Text, an image, a resource, structured content, and members that no protocol names.
fn rich() -> Value {
    json!({
        "content": [
            { "type": "text", "text": "words", "annotations": { "audience": ["user"], "priority": 0.5 } },
            { "type": "image", "data": "iVBORw0KGgo=", "mimeType": "image/png" },
            { "type": "resource", "resource": { "uri": "mem://1", "mimeType": "text/plain", "text": "inside" } },
        ],
        "structuredContent": { "n": 1.5, "nested": { "list": [1, null, "x"] } },
        "isError": true,
        "_meta": { "vendor/own": [true] },
        "ofTomorrow": {},
    })
}

fn missing(argument: &str) -> Outcome {
    Outcome::Error { code: -32602, message: format!("missing argument: {argument}"), data: None }
}

fn reported<T>(done: io::Result<T>, text: impl FnOnce(T) -> String) -> Outcome {
    match done {
        Ok(value) => Outcome::Text(text(value)),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn environment(name: Option<&str>) -> Value {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    match name {
        Some(name) => std::env::var_os(name).map_or(Value::Null, |value| lossy(value).into()),
        None => std::env::vars_os().map(|(name, value)| (lossy(name), Value::from(lossy(value)))).collect(),
    }
}

/// How often this ran: by the file, across restarts and several processes, or
/// without one, in this process.
fn count(file: Option<&str>) -> io::Result<u64> {
    static RAN: AtomicU64 = AtomicU64::new(0);
    let Some(file) = file else {
        return Ok(RAN.fetch_add(1, Ordering::Relaxed) + 1);
    };
    let line = format!("{:010}\n", std::process::id());
    let mut open = OpenOptions::new().create(true).append(true).open(file)?;
    open.write_all(line.as_bytes())?;
    // All lines have one length, and an append leaves the position at the end
    // of what it wrote, whoever else is writing.
    let width = u64::try_from(line.len()).map_err(io::Error::other)?;
    Ok(open.stream_position()? / width)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn plain(name: &str, arguments: &Value) -> Outcome {
        call(name, arguments, None, Seen::default())
    }

    #[test]
    fn every_listed_tool_is_known() {
        for tool in list(true) {
            let name = tool["name"].as_str().unwrap();
            if !matches!(name, "orphan" | "crash") {
                let outcome = plain(name, &json!({ "text": "t", "ms": 1, "bytes": 2, "token": "x", "steps": 1 }));
                let unknown = matches!(&outcome, Outcome::Error { message, .. } if message.contains("unknown"));
                assert!(!unknown, "{name}: {outcome:?}");
            }
        }
        assert_eq!(list(true).len(), list(false).len() + 1);
    }

    #[test]
    fn results_and_refusals() {
        assert_eq!(plain("echo", &json!({"text": "é"})), Outcome::Text("é".to_owned()));
        assert_eq!(plain("big", &json!({"bytes": 5})), Outcome::Text("xxxxx".to_owned()));
        assert_eq!(plain("slow", &json!({"ms": 7})), Outcome::Later { after_ms: 7, text: "slept 7 ms".to_owned() });
        for (name, arguments) in [("echo", json!({})), ("slow", json!({"ms": "7"})), ("nothing", json!({}))] {
            assert!(matches!(plain(name, &arguments), Outcome::Error { code: -32602, .. }), "{name}");
        }
    }

    #[test]
    fn the_count_file_counts_across_processes() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("count");
        let file = file.to_str().unwrap();
        let once = || call("count", &json!({}), Some(file), Seen::default());
        assert_eq!(once(), Outcome::Text("1".to_owned()));
        assert_eq!(once(), Outcome::Text("2".to_owned()));
        let slow = call("count", &json!({ "ms": 5 }), Some(file), Seen::default());
        assert_eq!(slow, Outcome::Later { after_ms: 5, text: "3".to_owned() });
        let lines = std::fs::read_to_string(file).unwrap();
        assert_eq!(lines.lines().count(), 3);
        let nowhere = call("count", &json!({}), Some("/no/such/directory/count"), Seen::default());
        assert!(matches!(nowhere, Outcome::Failed(_)), "{nowhere:?}");
    }
}
