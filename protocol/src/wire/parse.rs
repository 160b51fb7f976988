//! From text to a message, or to a refusal that names what is wrong.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::scan::{self, Survey};
use super::{
    ClientMessage, Envelope, ErrorCode, MAX_DEPTH, MAX_REQ_ID_BYTES, Reply, Request, ServerMessage, WireError,
    WireLimit,
};
use crate::validate;

/// Longest foreign text that a refusal repeats.
const MAX_REPEATED_CHARS: usize = 64;

/// Reads what a client sent.
///
/// # Errors
/// `bad_json`, `unknown_type`, `bad_request`; `malformed` for a hello. Each has the request's id where there is one.
pub fn parse(text: &str) -> Result<Request<'_>, WireError> {
    read(text, ClientMessage::read, |kind| if kind == "hello" { ErrorCode::Malformed } else { ErrorCode::BadRequest })
}

/// Reads what a broker sent. A client ignores `unknown_type`: it is a message of a later version.
///
/// # Errors
/// As [`parse`].
pub fn parse_reply(text: &str) -> Result<Reply<'_>, WireError> {
    read(text, ServerMessage::read, |_| ErrorCode::BadRequest)
}

/// What is known of a frame while it is read.
struct Frame<'a> {
    text: &'a str,
    req_id: Option<Cow<'a, str>>,
}

fn read<'a, M>(
    text: &'a str,
    by_type: impl FnOnce(&str, &'a str) -> Option<Result<M, serde_json::Error>>,
    code_of: impl FnOnce(&str) -> ErrorCode,
) -> Result<Envelope<'a, M>, WireError> {
    let Survey { depth, kind, req_id } = scan::survey(text);
    let long_id = req_id.as_ref().is_some_and(|id| id.len() > MAX_REQ_ID_BYTES);
    let frame = Frame { text, req_id: req_id.filter(|_| !long_id) };
    if depth > MAX_DEPTH {
        let refused = frame.refuse(ErrorCode::BadJson, format!("nested deeper than {MAX_DEPTH} levels"));
        return Err(WireError { limit: Some(WireLimit::Depth), ..refused });
    }
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(frame.refuse(ErrorCode::BadJson, "a frame is one JSON object".to_owned()));
    }
    if long_id {
        let words = format!("`_reqId` is longer than {MAX_REQ_ID_BYTES} bytes");
        return Err(WireError { limit: Some(WireLimit::ReqIdBytes), ..frame.refuse(ErrorCode::BadRequest, words) });
    }
    let kind = frame.kind(kind)?;
    match by_type(&kind, text) {
        Some(Ok(message)) => frame.envelope(message),
        Some(Err(error)) => Err(frame.explain(&error, code_of(&kind))),
        None => {
            frame.check_syntax()?;
            Err(frame.refuse(ErrorCode::UnknownType, format!("no message has the type `{}`", repeatable(&kind))))
        }
    }
}

impl<'a> Frame<'a> {
    /// The type, as the survey saw it; or else the reason why there is none.
    fn kind(&self, seen: Option<Cow<'a, str>>) -> Result<Cow<'a, str>, WireError> {
        #[derive(serde::Deserialize)]
        struct Typed {
            r#type: String,
        }
        match seen {
            Some(kind) => Ok(kind),
            None => serde_json::from_str(self.text)
                .map(|Typed { r#type }| Cow::Owned(r#type))
                .map_err(|error| self.explain(&error, ErrorCode::BadRequest)),
        }
    }

    /// The request's id was found by its place; if it was not, it may be there in a form that is not allowed.
    fn envelope<M>(self, message: M) -> Result<Envelope<'a, M>, WireError> {
        #[derive(serde::Deserialize)]
        struct Identified {
            #[serde(default, rename = "_reqId")]
            req_id: Option<String>,
        }
        if self.req_id.is_none() && self.text.contains("_reqId") {
            let Identified { req_id } =
                serde_json::from_str(self.text).map_err(|error| self.explain(&error, ErrorCode::BadRequest))?;
            return Ok(Envelope { message, req_id: req_id.map(Cow::Owned) });
        }
        Ok(Envelope { message, req_id: self.req_id })
    }

    fn check_syntax(&self) -> Result<(), WireError> {
        match serde_json::from_str::<IgnoredAny>(self.text) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain(&error, ErrorCode::BadJson)),
        }
    }

    /// A parser's error as a refusal: `data_code` when the JSON is right and a field is not.
    fn explain(&self, error: &serde_json::Error, data_code: ErrorCode) -> WireError {
        let shown = error.to_string();
        if error.classify() != Category::Data {
            return self.refuse(ErrorCode::BadJson, shown);
        }
        // The place is given as a path instead of a column.
        let reason = shown.rfind(" at line ").and_then(|at| shown.get(..at)).unwrap_or(&shown);
        let path = self.path_of(error, reason);
        let message = if path.is_empty() { reason.to_owned() } else { format!("`{path}`: {reason}") };
        self.refuse(data_code, message)
    }

    /// Where a field is wrong. When the parser noticed it only behind the frame's last brace, it is the last field,
    /// unless it is one that is missing.
    fn path_of(&self, error: &serde_json::Error, reason: &str) -> String {
        let line = error.line().saturating_sub(1);
        let before: usize = self.text.split_inclusive('\n').take(line).map(str::len).sum();
        let at = before + error.column();
        let path = scan::path_at(self.text, at);
        if path.is_empty() && !reason.starts_with("missing field") {
            return scan::path_at(self.text, self.text.trim_end().len().min(at).saturating_sub(1));
        }
        path
    }

    fn refuse(&self, code: ErrorCode, message: String) -> WireError {
        WireError {
            code,
            message: validate::cleaned(&message),
            req_id: self.req_id.as_deref().map(str::to_owned),
            limit: None,
        }
    }
}

/// Foreign text, short enough to be repeated.
fn repeatable(text: &str) -> String {
    text.chars().take(MAX_REPEATED_CHARS).collect()
}

#[cfg(test)]
mod tests;
