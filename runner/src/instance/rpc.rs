//! JSON-RPC lines between the runner and a server: read, told apart, and written, without parsing what they carry.
//!
//! Contract: pure but for [`LineReader::next`]. A result or error is handed on as the very bytes the server wrote, as a
//! slice of its line. A line is at most [`LINE_BYTES_MAX`] long; of a longer one only both ends are kept, which is enough
//! to find out whose answer it was. What goes out is one line, whatever newlines its parameters had between tokens.

mod reader;
#[cfg(test)]
mod tests;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

pub use reader::{Line, LineReader};

/// Longest line that is taken from a server.
pub const LINE_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Messages in one JSON-RPC batch.
const BATCH_MAX: usize = 1_024;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// An answer to request `id`.
    Result {
        /// The request that is answered.
        id: u64,
        /// Raw JSON.
        result: Bytes,
    },
    /// An error answer to request `id`.
    Error {
        /// The request that is answered.
        id: u64,
        /// The raw error object.
        error: Bytes,
    },
    /// The server asks something.
    Request {
        /// Its id, raw JSON, to be echoed.
        id: Bytes,
        /// What it asks.
        method: String,
    },
    /// The server says something.
    Notification {
        /// What it says.
        method: String,
        /// Raw JSON, empty for none.
        params: Bytes,
    },
    /// An answer to a request that nobody here could have made.
    Foreign,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// What the line says, or `None` when it is no JSON-RPC: then it is a line of the log.
#[must_use]
pub fn understand(line: &Bytes) -> Option<Vec<Incoming>> {
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace())?;
    if *first == b'[' {
        let batch: Vec<&RawValue> = serde_json::from_slice(line).ok()?;
        let messages: Vec<Incoming> =
            batch.into_iter().take(BATCH_MAX).filter_map(|raw| one(&line.slice_ref(raw.get().as_bytes()))).collect();
        return (!messages.is_empty()).then_some(messages);
    }
    one(line).map(|message| vec![message])
}

fn one(line: &Bytes) -> Option<Incoming> {
    let envelope: Envelope<'_> = serde_json::from_slice(line).ok()?;
    let slice = |raw: &RawValue| line.slice_ref(raw.get().as_bytes());
    if let Some(method) = envelope.method {
        return Some(match envelope.id {
            Some(id) => Incoming::Request { id: slice(id), method },
            None => Incoming::Notification { method, params: envelope.params.map(slice).unwrap_or_default() },
        });
    }
    let id = envelope.id.and_then(|raw| raw.get().parse().ok());
    match (id, envelope.result, envelope.error) {
        (Some(id), _, Some(error)) if error.get() != "null" => Some(Incoming::Error { id, error: slice(error) }),
        (Some(id), Some(result), _) => Some(Incoming::Result { id, result: slice(result) }),
        // `"result": null` reads as absent; it is an answer all the same.
        (Some(id), None, _) if envelope_has_result(line) => {
            Some(Incoming::Result { id, result: Bytes::from_static(b"null") })
        }
        (None, Some(_), _) | (None, _, Some(_)) => Some(Incoming::Foreign),
        _ => None,
    }
}

fn envelope_has_result(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Keys {
        #[serde(default, deserialize_with = "present")]
        result: bool,
    }
    fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| true)
    }
    serde_json::from_slice::<Keys>(line).is_ok_and(|keys| keys.result)
}

/// The request whose answer was longer than a line may be, found at either end of it: writers put the id first or last.
#[must_use]
pub fn id_of_cut_line(head: &[u8], tail: &[u8]) -> Option<u64> {
    let head = String::from_utf8_lossy(head);
    let tail = String::from_utf8_lossy(tail);
    let first = || {
        let rest = head.trim_start().strip_prefix('{')?;
        let rest = rest.trim_start().strip_prefix(r#""jsonrpc":"2.0","#).unwrap_or(rest);
        number(rest.trim_start().strip_prefix(r#""id":"#)?)
    };
    let last = || {
        let rest = tail.trim_end().strip_suffix('}')?.trim_end();
        let rest = rest.strip_suffix(r#","jsonrpc":"2.0""#).unwrap_or(rest);
        let (_, id) = rest.rsplit_once(r#","id":"#)?;
        id.trim().parse().ok()
    };
    first().or_else(last)
}

fn number(text: &str) -> Option<u64> {
    let digits = text.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits.get(..end)?.parse().ok()
}

/// Whether the bytes are one JSON value: anything else could add members to the envelope around it.
#[must_use]
pub fn is_json(params: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(params).is_ok()
}

/// A request as one line. `params` is one JSON value, or empty for none.
#[must_use]
pub fn request(id: u64, method: &str, params: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(params.len() + method.len() + 96);
    line.put_slice(br#"{"jsonrpc":"2.0","id":"#);
    line.put_slice(id.to_string().as_bytes());
    put_method(&mut line, method, params);
    line.freeze()
}

/// A request as one line whose server is asked to tell of its progress, under the request's id. Parameters that say
/// something of their own in `_meta`, or are no object, stay as they are: then there is no progress.
#[must_use]
pub fn request_with_progress(id: u64, method: &str, params: &[u8]) -> Bytes {
    match with_token(id, params) {
        Some(params) => request(id, method, &params),
        None => request(id, method, params),
    }
}

fn with_token(token: u64, params: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Meta {
        #[serde(default, rename = "_meta")]
        meta: Option<IgnoredAny>,
    }
    let rest = params.trim_ascii_start().strip_prefix(b"{")?;
    if serde_json::from_slice::<Meta>(params).ok()?.meta.is_some() {
        return None;
    }
    let head = format!(r#"{{"_meta":{{"progressToken":{token}}}"#);
    let mut whole = BytesMut::with_capacity(head.len() + rest.len() + 1);
    whole.put_slice(head.as_bytes());
    if !rest.trim_ascii_start().starts_with(b"}") {
        whole.put_slice(b",");
    }
    whole.put_slice(rest);
    Some(whole.freeze())
}

/// A notification as one line. `params` is one JSON value, or empty for none.
#[must_use]
pub fn notification(method: &str, params: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(params.len() + method.len() + 64);
    line.put_slice(br#"{"jsonrpc":"2.0""#);
    put_method(&mut line, method, params);
    line.freeze()
}

/// The answer to a request of the server: `ping` is answered, the rest is not offered here.
#[must_use]
pub fn answer(id: &[u8], method: &str) -> Bytes {
    let mut line = BytesMut::with_capacity(id.len() + method.len() + 128);
    line.put_slice(br#"{"jsonrpc":"2.0","id":"#);
    put_on_one_line(&mut line, id);
    if method == "ping" {
        line.put_slice(br#","result":{}}"#);
    } else {
        let error = serde_json::json!({ "code": -32601, "message": format!("this client does not offer {method}") });
        line.put_slice(br#","error":"#);
        line.put_slice(error.to_string().as_bytes());
        line.put_slice(b"}");
    }
    line.put_slice(b"\n");
    line.freeze()
}

fn put_method(line: &mut BytesMut, method: &str, params: &[u8]) {
    line.put_slice(br#","method":"#);
    line.put_slice(serde_json::Value::from(method).to_string().as_bytes());
    if !params.is_empty() {
        line.put_slice(br#","params":"#);
        put_on_one_line(line, params);
    }
    line.put_slice(b"}\n");
}

/// Inside JSON a raw newline can only stand between tokens, where a space means the same.
fn put_on_one_line(line: &mut BytesMut, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        let (before, from) = rest.split_at(at);
        line.put_slice(before);
        line.put_slice(b" ");
        rest = from.get(1..).unwrap_or_default();
    }
    line.put_slice(rest);
}
