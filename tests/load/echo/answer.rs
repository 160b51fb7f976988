//! One line of input, and what it is answered with.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The revisions that the handshake agrees to; the first when it is asked for another.
const REVISIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const TOOLS: &str = r#"{"tools":[{"name":"echo","description":"Gives back the text","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}]}"#;

/// What the line was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// A call of the tool.
    Call,
    /// Anything else.
    Other,
}

/// What of a message is looked at. The text stays the bytes it came as.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<&'a str>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(rename = "protocolVersion")]
    revision: Option<&'a str>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Appends the answer to one line, if it gets one.
pub(crate) fn answer(line: &[u8], out: &mut Vec<u8>) -> Answered {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
        put(out, "null", &["\"error\":{\"code\":-32700,\"message\":\"not a JSON-RPC message of this server\"}"]);
        return Answered::Other;
    };
    let (Some(id), Some(method)) = (message.id.map(RawValue::get), message.method) else {
        return Answered::Other;
    };
    match method {
        "tools/call" => {
            let text = message.params.and_then(|params| (params.name == Some("echo")).then_some(params.arguments)?);
            match text.and_then(|arguments| arguments.text) {
                Some(text) => {
                    put(out, id, &["\"result\":{\"content\":[{\"type\":\"text\",\"text\":", text.get(), "}]}"]);
                }
                None => {
                    put(out, id, &["\"error\":{\"code\":-32602,\"message\":\"the one tool is echo, with a text\"}"])
                }
            }
            return Answered::Call;
        }
        "initialize" => {
            let asked = message.params.and_then(|params| params.revision);
            let spoken = REVISIONS.iter().find(|revision| asked == Some(**revision)).unwrap_or(&REVISIONS[0]);
            let rest = "\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"load-echo\",\"version\":\"1\"}}";
            put(out, id, &["\"result\":{\"protocolVersion\":\"", spoken, rest]);
        }
        "ping" => put(out, id, &["\"result\":{}"]),
        "tools/list" => put(out, id, &["\"result\":", TOOLS]),
        _ => put(out, id, &["\"error\":{\"code\":-32601,\"message\":\"method not found\"}"]),
    }
    Answered::Other
}

fn put(out: &mut Vec<u8>, id: &str, parts: &[&str]) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id.as_bytes());
    out.push(b',');
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answered(line: &str) -> (Answered, Value) {
        let mut out = Vec::new();
        let what = answer(line.as_bytes(), &mut out);
        if out.is_empty() {
            return (what, Value::Null);
        }
        assert_eq!(out.pop(), Some(b'\n'));
        (what, serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn a_text_comes_back_as_the_bytes_it_was() {
        let line = r#"{"jsonrpc":"2.0","id":"a\u0062","method":"tools/call","params":{"_meta":{"x":1},"name":"echo","arguments":{"more":[1],"text":"\u00e4 \"x\""}}}"#;
        let (what, answer) = answered(line);
        assert_eq!(what, Answered::Call);
        let result = json!({ "content": [{ "type": "text", "text": "ä \"x\"" }] });
        assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": "ab", "result": result }));
        let mut raw = Vec::new();
        super::answer(line.as_bytes(), &mut raw);
        assert!(String::from_utf8(raw).unwrap().contains(r#""text":"\u00e4 \"x\"""#));
    }

    #[test]
    fn the_handshake_agrees_to_a_known_revision_and_lists_the_tool() {
        let ask = |revision: &str| {
            let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "x" } });
            answered(&json!({ "id": 1, "method": "initialize", "params": params }).to_string()).1
        };
        assert_eq!(ask("2025-06-18")["result"]["protocolVersion"], "2025-06-18");
        assert_eq!(ask("1999-01-01")["result"]["protocolVersion"], REVISIONS[0]);
        let (what, list) = answered(r#"{"id":2,"method":"tools/list","params":{}}"#);
        assert_eq!((what, list["result"]["tools"][0]["name"].clone()), (Answered::Other, json!("echo")));
        assert_eq!(answered(r#"{"method":"notifications/initialized"}"#), (Answered::Other, Value::Null));
    }

    #[test]
    fn what_it_does_not_know_is_an_error_with_the_requests_id() {
        for (line, id, code) in [
            (r#"{"id":3,"method":"resources/list"}"#, json!(3), -32601),
            (r#"{"id":4,"method":"tools/call","params":{"name":"other","arguments":{"text":""}}}"#, json!(4), -32602),
            (r#"{"id":5,"method":"tools/call","params":{"name":"echo","arguments":{}}}"#, json!(5), -32602),
            ("no json", Value::Null, -32700),
        ] {
            let (_, answer) = answered(line);
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{line}");
        }
    }
}
