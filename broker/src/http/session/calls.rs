//! The hot path: from a socket's `mcp_call` to the service's desk, and the answer back.
//!
//! Arguments and results are never parsed here; they are set into their frames as they came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use meter::Counters;
use protocol::link::{FailCode, ReplyOutcome};
use protocol::wire::{CallErrorCode, ErrorCode, McpCall, McpCallResult, McpProgress, ServerMessage};
use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::outlet::PortOutlet;
use super::port::Joined;
use crate::mesh::MeshContext;
use crate::mesh::hosted::Hosted;
use crate::mesh::peer::{Outlet as _, reply};
use crate::mesh::scope::Verb;
use crate::mesh::service::{Call, ServiceCell, Ticket};
use crate::metrics::{CallMeter, Limit, Metrics};
use crate::runners::{CallOutcome, ProgressSink};

/// Calls of one session that may be under way or wait: 64 and 256.
const MAX_CALLS: usize = 320;
/// Longest `callId`.
const MAX_CALL_ID_BYTES: usize = 256;

/// Length of what tells members apart at a runner.
const AFFINITY_CHARS: usize = 32;

/// The calls of one session.
#[derive(Clone)]
pub(super) struct Calls {
    outlet: PortOutlet,
    open: Arc<Mutex<Open>>,
    meter: CallMeter,
    limits: Counters<Limit>,
}

/// Those that have no answer yet.
#[derive(Default)]
struct Open {
    last: u64,
    calls: HashMap<u64, OpenCall>,
    /// Those that their client has named.
    by_id: HashMap<String, u64>,
}

/// Where a call went.
#[derive(Clone)]
enum Place {
    Service(Ticket, Arc<ServiceCell>),
    Peer(Arc<Hosted>, String),
}

impl Place {
    /// Nobody waits for the answer any longer.
    fn give_up(&self, reason: &str) {
        match self {
            Self::Service(ticket, cell) => ticket.cancel(&cell.desk, reason),
            Self::Peer(hosted, id) => hosted.cancel(id, reason),
        }
    }
}

struct OpenCall {
    place: Place,
    call_id: Option<String>,
}

impl Calls {
    pub(super) fn new(outlet: PortOutlet, metrics: &Metrics) -> Self {
        Self { outlet, open: Arc::default(), meter: metrics.calls.clone(), limits: metrics.limits.clone() }
    }

    /// Takes a call in; its one answer goes to the outlet.
    pub(super) fn call(&self, joined: &Joined, call: McpCall<'_>, req_id: Option<&str>) {
        let Joined { mesh, presence: who, affinity, .. } = joined;
        let began = self.meter.begun();
        let place = match mesh.services.find(&call.server_name, &who.principal(), Verb::Call) {
            Ok((cell, _)) => Place::Service(Ticket::default(), cell),
            Err(_) if mesh.hosted.has(&call.server_name) => {
                Place::Peer(Arc::clone(&mesh.hosted), uuid::Uuid::now_v7().to_string())
            }
            Err(refused) => return self.refuse(ErrorCode::NotFound, refused.to_string(), req_id),
        };
        let progress = call.call_id.as_deref().map(|call_id| self.progress(call_id));
        let opened = OpenCall { place: place.clone(), call_id: call.call_id.clone() };
        let number = match self.lock().enter(opened) {
            Ok(number) => number,
            Err((limit, code, words)) => {
                limit.into_iter().for_each(|limit| self.limits.count(limit));
                return self.refuse(code, words, req_id);
            }
        };
        let (calls, req_id) = (self.clone(), req_id.map(str::to_owned));
        let sink = Box::new(move |outcome: CallOutcome| {
            calls.lock().leave(number);
            calls.meter.answered(&outcome.outcome, began);
            calls.outlet.send(result_frame(outcome, req_id.as_deref()));
        });
        match place {
            Place::Service(ticket, cell) => cell.desk.submit(Call {
                params: params(&call.tool_name, call.args),
                timeout: call.timeout_ms.map(Duration::from_millis),
                sink,
                progress,
                ticket,
                member: Arc::clone(affinity),
            }),
            Place::Peer(hosted, id) => hosted.call(id, who, &call, sink),
        }
    }

    /// Passes on what is said of the progress of a call, under the name that its client gave it.
    fn progress(&self, call_id: &str) -> ProgressSink {
        let (outlet, call_id) = (self.outlet.clone(), call_id.to_owned());
        Arc::new(move |word| {
            // A runner says only what it could read; anything else is not worth a word.
            if let Ok(word) = serde_json::from_slice::<Word>(&word) {
                let Word { progress, total, message } = word;
                let message = McpProgress { call_id: call_id.clone(), progress, total, message };
                outlet.send(reply::frame(ServerMessage::McpProgress(message), None));
            }
        })
    }

    /// The client gives a call of its own up; unknown ids were answered already.
    pub(super) fn cancel(&self, call_id: &str) {
        let named = self.lock().named(call_id);
        // Outside the lock: a call that still waits is answered here and now.
        if let Some(place) = named {
            place.give_up("the caller gave it up");
        }
    }

    /// The client is gone: nobody waits for any of its calls.
    pub(super) fn cancel_all(&self) {
        let calls = std::mem::take(&mut self.lock().calls);
        for call in calls.into_values() {
            call.place.give_up("the caller is gone");
        }
    }

    fn refuse(&self, code: ErrorCode, words: String, req_id: Option<&str>) {
        self.meter.refused(code);
        self.outlet.send(failure(words, CallErrorCode::Mesh(code), None, 0, req_id));
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn enter(&mut self, call: OpenCall) -> Result<u64, (Option<Limit>, ErrorCode, String)> {
        if self.calls.len() >= MAX_CALLS {
            let words = format!("limit: {MAX_CALLS} calls of this session are under way or wait");
            return Err((Some(Limit::SessionCalls), ErrorCode::Limit, words));
        }
        let number = self.last + 1;
        if let Some(call_id) = &call.call_id {
            if call_id.len() > MAX_CALL_ID_BYTES {
                let words = format!("`callId` is longer than {MAX_CALL_ID_BYTES} bytes");
                return Err((Some(Limit::CallIdBytes), ErrorCode::BadRequest, words));
            }
            if self.by_id.contains_key(call_id) {
                let words = "`callId` names a call that is under way".to_owned();
                return Err((None, ErrorCode::BadRequest, words));
            }
            self.by_id.insert(call_id.clone(), number);
        }
        self.last = number;
        self.calls.insert(number, call);
        Ok(number)
    }

    fn leave(&mut self, number: u64) {
        if let Some(OpenCall { call_id: Some(call_id), .. }) = self.calls.remove(&number) {
            self.by_id.remove(&call_id);
        }
    }

    fn named(&self, call_id: &str) -> Option<Place> {
        Some(self.calls.get(self.by_id.get(call_id)?)?.place.clone())
    }
}

/// What a runner passes on of MCP's progress.
#[derive(Deserialize)]
struct Word {
    progress: Option<Number>,
    total: Option<Number>,
    message: Option<String>,
}

/// What a runner learns of the member that calls: always the same for one, and nothing that names it.
pub(super) fn affinity(mesh: &MeshContext, member: &str) -> Arc<str> {
    let mut hash = Sha256::new();
    for part in ["claudemesh/affinity/v1", mesh.id.as_str(), member] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let key: String = hex::encode(hash.finalize()).chars().take(AFFINITY_CHARS).collect();
    key.into()
}

/// `{"name":…,"arguments":…}`, the arguments as they stand.
fn params(tool: &str, arguments: &RawValue) -> Bytes {
    let name = serde_json::Value::from(tool).to_string();
    let mut params = BytesMut::with_capacity(name.len() + arguments.get().len() + 24);
    params.put_slice(b"{\"name\":");
    params.put_slice(name.as_bytes());
    params.put_slice(b",\"arguments\":");
    params.put_slice(arguments.get().as_bytes());
    params.put_slice(b"}");
    params.freeze()
}

fn result_frame(outcome: CallOutcome, req_id: Option<&str>) -> String {
    let CallOutcome { outcome, body, attempts } = outcome;
    match outcome {
        ReplyOutcome::Result => match std::str::from_utf8(&body).map(serde_json::from_str::<&RawValue>) {
            Ok(Ok(result)) => {
                let result =
                    McpCallResult { result: Some(result), attempts: Some(attempts), ..McpCallResult::default() };
                reply::frame(ServerMessage::McpCallResult(result), req_id)
            }
            _ => unreadable(attempts, req_id),
        },
        ReplyOutcome::Error => server_error(&body, attempts, req_id),
        ReplyOutcome::Failed { code, message } => {
            let code = ErrorCode::from(code);
            failure(format!("{code}: {message}"), CallErrorCode::Mesh(code), None, attempts, req_id)
        }
    }
}

/// A JSON-RPC error object, as the server wrote it.
fn server_error(body: &Bytes, attempts: u8, req_id: Option<&str>) -> String {
    #[derive(Deserialize)]
    struct RpcError<'a> {
        code: i64,
        message: String,
        #[serde(borrow, default)]
        data: Option<&'a RawValue>,
    }
    match serde_json::from_slice::<RpcError<'_>>(body) {
        Ok(RpcError { code, message, data }) => {
            // Some servers' messages begin with these words already.
            let prefix = format!("MCP error {code}: ");
            let text = if message.starts_with(&prefix) { message } else { format!("{prefix}{message}") };
            failure(text, CallErrorCode::Server(code), data, attempts, req_id)
        }
        Err(_) => unreadable(attempts, req_id),
    }
}

fn unreadable(attempts: u8, req_id: Option<&str>) -> String {
    let code = ErrorCode::from(FailCode::OutcomeUnknown);
    let words = "the service's answer could not be read".to_owned();
    failure(words, CallErrorCode::Mesh(code), None, attempts, req_id)
}

fn failure(words: String, code: CallErrorCode, data: Option<&RawValue>, attempts: u8, req_id: Option<&str>) -> String {
    let result = McpCallResult {
        result: None,
        error: Some(words),
        error_code: Some(code),
        error_data: data,
        attempts: Some(attempts),
    };
    reply::frame(ServerMessage::McpCallResult(result), req_id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn read(frame: &str) -> Value {
        serde_json::from_str(frame).unwrap()
    }

    #[test]
    fn h19_a_result_passes_as_the_server_gave_it() {
        let body = r#"{"content":[{"type":"text","text":"a"}],"isError":true,"n":1.10}"#;
        let outcome =
            CallOutcome { outcome: ReplyOutcome::Result, body: Bytes::from_static(body.as_bytes()), attempts: 1 };
        let frame = result_frame(outcome, Some("r1"));
        assert!(frame.contains(body), "{frame}");
        assert_eq!(read(&frame)["_reqId"], "r1");
    }

    #[test]
    fn h19_an_error_keeps_code_and_data_and_the_known_words() {
        for message in ["Tool x not found", "MCP error -32602: Tool x not found"] {
            let body = json!({ "code": -32602, "message": message, "data": { "k": [1] } }).to_string();
            let frame =
                result_frame(CallOutcome { outcome: ReplyOutcome::Error, body: body.into(), attempts: 1 }, None);
            let frame = read(&frame);
            assert_eq!(frame["error"], "MCP error -32602: Tool x not found");
            assert_eq!(frame["errorCode"], -32602);
            assert_eq!(frame["errorData"], json!({ "k": [1] }));
        }
    }

    #[test]
    fn h09_no_answer_is_said_as_what_it_is() {
        let outcome = crate::runners::link::failed(FailCode::OutcomeUnknown, "the process died", 1);
        let frame = read(&result_frame(outcome, None));
        assert_eq!(frame["errorCode"], "outcome_unknown");
        assert_eq!(frame["attempts"], 1);
    }

    #[test]
    fn a_tools_name_cannot_break_out_of_its_string() {
        let arguments = serde_json::value::RawValue::from_string("{\"a\": 1}".to_owned()).unwrap();
        let params: Value = serde_json::from_slice(&params("x\",\"name\":\"y", &arguments)).unwrap();
        assert_eq!(params, json!({ "name": "x\",\"name\":\"y", "arguments": { "a": 1 } }));
    }
}
