//! What each message leads to. Decides, and carries nothing out.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::options::Options;
use crate::tools::{self, Outcome};

/// The revisions this server speaks, the newest first.
const REVISIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// MCP has no code of its own for it; this is what servers commonly give.
const NOT_INITIALIZED: i64 = -32002;
const PARSE_ERROR: i64 = -32700;
const METHOD_NOT_FOUND: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
/// An id nobody has used.
const FOREIGN_ID: u64 = 4_000_000_000_000;

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write this line.
    Send(String),
    /// Write this line later.
    SendLater { after_ms: u64, line: String },
    /// Write these bytes as a line on both outputs.
    Noise(Vec<u8>),
    /// Write this many bytes as one line.
    LongLine(usize),
    /// Change the tools, and say so.
    ChangeToolsAfter(u64),
    /// Be gone.
    DieAfter { after_ms: u64, code: i32 },
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<std::borrow::Cow<'a, str>>,
    params: Option<Value>,
    result: Option<Value>,
    error: Option<Value>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    options: Options,
    ready: bool,
    calls: u64,
    changed: bool,
    /// What our own requests were answered.
    answers: Vec<Value>,
    /// The requests that were given up.
    cancelled: Vec<Value>,
}

impl Session {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, ready: false, calls: 0, changed: false, answers: Vec::new(), cancelled: Vec::new() }
    }

    /// Takes one line of input.
    pub(crate) fn on(&mut self, line: &str) -> Vec<Effect> {
        let Ok(message) = serde_json::from_str::<Message<'_>>(line) else {
            return vec![failure("null", PARSE_ERROR, "not a JSON-RPC message", None)];
        };
        let params = message.params.unwrap_or(Value::Null);
        match (message.method, message.id) {
            (Some(method), Some(id)) => self.request(id.get(), &method, &params),
            (Some(method), None) => self.notification(&method, &params),
            (None, id) => {
                let id = id.and_then(|id| serde_json::from_str::<Value>(id.get()).ok());
                self.answers.push(json!({ "id": id, "result": message.result, "error": message.error }));
                Vec::new()
            }
        }
    }

    /// The tools change now.
    pub(crate) fn change_tools(&mut self) -> Vec<Effect> {
        self.changed = true;
        vec![send(&json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" }))]
    }

    fn request(&mut self, id: &str, method: &str, params: &Value) -> Vec<Effect> {
        match method {
            "initialize" => self.initialize(id, params),
            "ping" => vec![success(id, &json!({}))],
            "tools/list" | "tools/call" if self.options.enforce_handshake && !self.ready => {
                vec![failure(id, NOT_INITIALIZED, "not initialized", None)]
            }
            "tools/list" => vec![self.list(id, params)],
            "tools/call" => self.call(id, params),
            _ => vec![failure(id, METHOD_NOT_FOUND, &format!("method not found: {method}"), None)],
        }
    }

    fn initialize(&self, id: &str, params: &Value) -> Vec<Effect> {
        if self.options.hang_handshake {
            return Vec::new();
        }
        let asked = params.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let newest = REVISIONS.first().copied().unwrap_or_default();
        let spoken = REVISIONS.iter().copied().find(|&revision| revision == asked).unwrap_or(newest);
        let answer = json!({
            "protocolVersion": spoken,
            "capabilities": { "tools": { "listChanged": true } },
            "serverInfo": { "name": "fixture-mcp", "version": env!("CARGO_PKG_VERSION") },
        });
        let mut effects = vec![success(id, &answer)];
        if self.options.not_utf8 {
            effects.push(Effect::Noise(b"\xff\xfe no text \xc3(".to_vec()));
        }
        effects.extend(self.options.long_line.map(Effect::LongLine));
        effects
    }

    fn notification(&mut self, method: &str, params: &Value) -> Vec<Effect> {
        if method == "notifications/cancelled" {
            self.cancelled.push(params.clone());
        }
        if method != "notifications/initialized" || self.ready {
            return Vec::new();
        }
        self.ready = true;
        let mut effects = Vec::new();
        if self.options.requests {
            let sampling = json!({
                "messages": [{ "role": "user", "content": { "type": "text", "text": "hello" } }],
                "maxTokens": 1,
            });
            for (id, method, params) in [
                (json!("own-ping"), "ping", json!({})),
                (json!(1), "sampling/createMessage", sampling),
                (json!("own-roots"), "roots/list", json!({})),
                (json!("own-question"), "elicitation/create", json!({ "message": "?", "requestedSchema": {} })),
            ] {
                effects.push(send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })));
            }
        }
        effects.extend(self.options.change_tools_after_ms.map(Effect::ChangeToolsAfter));
        effects.extend(self.options.die_after_ms.map(|after_ms| Effect::DieAfter { after_ms, code: 1 }));
        effects
    }

    /// A page of the tools; the last ones may be empty. A cursor is the
    /// page's number.
    fn list(&self, id: &str, params: &Value) -> Effect {
        let tools = tools::list(self.changed);
        let pages = self.options.pages.clamp(1, tools.len());
        let page = match params.get("cursor") {
            None | Some(Value::Null) => Some(0),
            Some(cursor) => cursor.as_str().and_then(|text| text.strip_prefix("page-")?.parse().ok()),
        };
        let Some(page) = page.filter(|&page| page < pages) else {
            return failure(id, INVALID_PARAMS, "unknown cursor", None);
        };
        let shown: Vec<_> =
            tools.chunks(tools.len().div_ceil(pages)).nth(page).map(<[Value]>::to_vec).unwrap_or_default();
        let answer = match page + 1 {
            next if next < pages => json!({ "tools": shown, "nextCursor": format!("page-{next}") }),
            _ => json!({ "tools": shown }),
        };
        success(id, &answer)
    }

    fn call(&mut self, id: &str, params: &Value) -> Vec<Effect> {
        if self.options.crash_after.is_some_and(|calls| self.calls >= calls) {
            return vec![Effect::DieAfter { after_ms: 0, code: 1 }];
        }
        self.calls += 1;
        if self.options.hang_calls {
            return Vec::new();
        }
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let arguments = params.get("arguments").unwrap_or(&Value::Null);
        let seen = tools::Seen { answers: &self.answers, cancelled: &self.cancelled };
        let mut effects = Vec::new();
        let answer = match tools::call(name, arguments, self.options.count_file.as_deref(), seen) {
            Outcome::Text(text) => success(id, &content(&text, false)),
            Outcome::Result(result) => success(id, &result),
            Outcome::Failed(text) => success(id, &content(&text, true)),
            Outcome::Error { code, message, data } => failure(id, code, &message, data),
            Outcome::Later { after_ms, text } => {
                Effect::SendLater { after_ms, line: line(id, "result", &content(&text, false)) }
            }
            Outcome::Steps { steps, after_ms, text } => {
                effects.extend(steps_of(params, steps));
                Effect::SendLater { after_ms, line: line(id, "result", &content(&text, false)) }
            }
            Outcome::Crash => {
                return vec![Effect::DieAfter { after_ms: 0, code: 1 }];
            }
        };
        effects.extend(self.surrounded(answer));
        effects
    }

    /// An answer among those that should not be there.
    fn surrounded(&self, answer: Effect) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.options.foreign_id {
            effects.push(success(&FOREIGN_ID.to_string(), &content("nobody asked", false)));
            effects.push(success("\"foreign\"", &content("nobody asked", false)));
        }
        let again = match &answer {
            Effect::Send(line) if self.options.double_answer => Some(Effect::Send(line.clone())),
            _ => None,
        };
        effects.push(answer);
        effects.extend(again);
        effects
    }
}

/// So many words about a call's progress, if whoever called wants to know.
fn steps_of(params: &Value, steps: u64) -> Vec<Effect> {
    let Some(token) = params.pointer("/_meta/progressToken") else { return Vec::new() };
    let word = |step| {
        let params =
            json!({ "progressToken": token, "progress": step, "total": steps, "message": format!("step {step}") });
        send(&json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }))
    };
    (1..=steps).map(word).collect()
}

fn content(text: &str, failed: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": failed })
}

fn send(message: &Value) -> Effect {
    Effect::Send(message.to_string())
}

fn success(id: &str, result: &Value) -> Effect {
    Effect::Send(line(id, "result", result))
}

fn failure(id: &str, code: i64, message: &str, data: Option<Value>) -> Effect {
    let error = match data {
        Some(data) => json!({ "code": code, "message": message, "data": data }),
        None => json!({ "code": code, "message": message }),
    };
    Effect::Send(line(id, "error", &error))
}

/// An answer. The id goes back as the bytes it came as.
fn line(id: &str, member: &str, value: &Value) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{value}}}")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
