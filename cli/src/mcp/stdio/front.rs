//! Tells the lines of the input apart, and runs the calls.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use runner::instance::rpc::{Line, LineReader, id_of_cut_line};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::lifecycle::{About, Lifecycle};
use super::outlet::{self, Outlet, Say};
use crate::error::CliError;
use crate::text;

/// Room between this and rmcp, each way.
const PIPE_BYTES: usize = 64 * 1_024;
/// Requests that are worked on at a time; a broker lets a session have fewer.
const MAX_OPEN: usize = 512;
/// How long what was asked may take once the input has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// JSON-RPC's code for what a server cannot do now.
pub(crate) const INTERNAL_ERROR: i64 = -32603;
/// JSON-RPC's code for parameters that make no sense.
pub(crate) const INVALID_PARAMS: i64 = -32602;

/// Whoever has the tools.
pub(crate) trait Lane: Send + Sync + 'static {
    /// The tools, each as raw JSON.
    fn list(&self) -> impl Future<Output = Vec<Arc<RawValue>>> + Send;
    /// Calls one. Dropped, the call is given up.
    fn call(&self, asked: Asked) -> impl Future<Output = Reply> + Send;
}

/// A call.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The tool.
    pub(crate) name: String,
    /// Its arguments; an object.
    pub(crate) arguments: Box<RawValue>,
    /// For words on the way.
    pub(crate) say: Say,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Reply {
    /// A CallToolResult, raw.
    Result(Box<RawValue>),
    /// An error of the protocol, not of the tool.
    Error {
        /// JSON-RPC's.
        code: i64,
        /// In words.
        message: String,
        /// Raw.
        data: Option<Box<RawValue>>,
    },
}

impl Reply {
    /// A result that is text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::said(text.into(), false)
    }

    /// A result that says what went wrong, so that whoever asked reads it.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::said(text.into(), true)
    }

    fn said(text: String, is_error: bool) -> Self {
        let mut result = json!({ "content": [{ "type": "text", "text": text }] });
        if is_error && let Some(fields) = result.as_object_mut() {
            fields.insert("isError".to_owned(), true.into());
        }
        match serde_json::value::to_raw_value(&result) {
            Ok(result) => Self::Result(result),
            Err(error) => Self::Error { code: INTERNAL_ERROR, message: error.to_string(), data: None },
        }
    }
}

impl From<CliError> for Reply {
    fn from(error: CliError) -> Self {
        let mut text = error.message;
        if let Some(hint) = error.hint {
            let _ = write!(text, " ({hint})");
        }
        Self::failed(text)
    }
}

/// A message of the client, as far as it has to be told apart.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct CallParams {
    name: String,
    #[serde(default)]
    arguments: Option<Box<RawValue>>,
    #[serde(default, rename = "_meta")]
    meta: Option<Meta>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "progressToken")]
    progress_token: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct CancelParams<'a> {
    #[serde(borrow, rename = "requestId")]
    request_id: &'a RawValue,
}

/// Serves until the input ends or nobody takes the output.
pub(crate) async fn serve<L: Lane>(
    lane: Arc<L>,
    about: About,
    (outlet, lines): (Outlet, mpsc::Receiver<Option<String>>),
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> Result<(), CliError> {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let (from_rmcp, to_rmcp) = split(ours);
    let mut lifecycle = tokio::spawn(Lifecycle { about, changes: outlet.changes() }.run(theirs));
    let relay = tokio::spawn(relay(from_rmcp, outlet.clone()));
    let mut writer = tokio::spawn(outlet::write(lines, output));
    let mut front = Front { lane, outlet, to_rmcp, open: HashMap::new(), tasks: JoinSet::new() };
    tokio::select! {
        () = front.read(input) => {}
        _ = &mut writer => return Ok(()),
        ended = &mut lifecycle => return match ended {
            Ok(Err(words)) => Err(CliError::failed(format!("the client broke the protocol: {}", text::line(&words)))),
            _ => Ok(()),
        },
    }
    // The input has ended: what was asked is answered, if it does not take long.
    let Front { outlet, mut to_rmcp, mut tasks, .. } = front;
    let rest = async {
        let _ = to_rmcp.shutdown().await;
        while tasks.join_next().await.is_some() {}
        let _ = lifecycle.await;
        let _ = relay.await;
    };
    let _ = timeout(LAST_ANSWERS, rest).await;
    let written = async {
        outlet.end().await;
        writer.await
    };
    let _ = timeout(LAST_ANSWERS, written).await;
    Ok(())
}

/// Carries rmcp's lines out.
async fn relay(mut from: ReadHalf<tokio::io::DuplexStream>, outlet: Outlet) {
    let mut reader = LineReader::default();
    while let Ok(Some(line)) = reader.next(&mut from).await {
        // It writes no line that is too long: all that is large goes the other way.
        if let Line::Whole(line) = line {
            outlet.line(String::from_utf8_lossy(&line).into_owned()).await;
        }
    }
}

struct Front<L> {
    lane: Arc<L>,
    outlet: Outlet,
    to_rmcp: WriteHalf<tokio::io::DuplexStream>,
    /// Calls by the raw JSON of their ids.
    open: HashMap<String, AbortHandle>,
    tasks: JoinSet<()>,
}

impl<L: Lane> Front<L> {
    async fn read(&mut self, mut input: impl AsyncRead + Unpin) {
        let mut reader = LineReader::default();
        while let Ok(Some(line)) = reader.next(&mut input).await {
            while self.tasks.try_join_next().is_some() {}
            match line {
                Line::Whole(line) => self.take(&line).await,
                Line::Cut { head, tail, length } => {
                    if let Some(id) = id_of_cut_line(&head, &tail) {
                        let message = format!("too large: {length} bytes");
                        self.refuse(&id.to_string(), INVALID_PARAMS, message).await;
                    }
                }
            }
        }
    }

    async fn take(&mut self, line: &[u8]) {
        let head: Option<Head<'_>> = serde_json::from_slice(line).ok();
        let Some(head) = head else { return self.pass_on(line).await };
        match (head.method.as_deref(), head.id) {
            (Some("tools/list"), Some(id)) => self.list(id.get().to_owned(), head.params),
            (Some("tools/call"), Some(id)) => self.call(id.get().to_owned(), head.params).await,
            (Some("notifications/cancelled"), None) if self.cancel(head.params) => {}
            (Some("notifications/initialized"), None) => {
                self.pass_on(line).await;
                self.outlet.set_ready();
            }
            _ => self.pass_on(line).await,
        }
    }

    async fn pass_on(&mut self, line: &[u8]) {
        // rmcp that is gone has ended the server already.
        let _ = self.to_rmcp.write_all(&[line, b"\n"].concat()).await;
    }

    fn list(&mut self, id: String, params: Option<&RawValue>) {
        let (lane, outlet, newer) = (Arc::clone(&self.lane), self.outlet.clone(), is_of_newer_era(params));
        self.tasks.spawn(async move { outlet.line(listed(&id, &lane.list().await, newer)).await });
    }

    async fn call(&mut self, id: String, params: Option<&RawValue>) {
        self.open.retain(|_, handle| !handle.is_finished());
        if self.open.len() >= MAX_OPEN {
            return self.refuse(&id, INTERNAL_ERROR, format!("{MAX_OPEN} calls are under way already")).await;
        }
        let params = params.map_or("{}", RawValue::get);
        let CallParams { name, arguments, meta } = match serde_json::from_str(params) {
            Ok(params) => params,
            Err(error) => return self.refuse(&id, INVALID_PARAMS, format!("not a call of a tool: {error}")).await,
        };
        let arguments = arguments.unwrap_or_else(|| RawValue::NULL.to_owned());
        let arguments = if arguments.get() == "null" { nothing() } else { arguments };
        let say = Say { outlet: self.outlet.clone(), token: meta.unwrap_or_default().progress_token };
        let (lane, outlet, key) = (Arc::clone(&self.lane), self.outlet.clone(), id.clone());
        let handle = self.tasks.spawn(async move {
            let reply = lane.call(Asked { name, arguments, say }).await;
            outlet.line(answered(&id, &reply)).await;
        });
        self.open.insert(key, handle);
    }

    /// Gives a call up; whether it was one of ours.
    fn cancel(&mut self, params: Option<&RawValue>) -> bool {
        let params: Option<CancelParams<'_>> = params.and_then(|params| serde_json::from_str(params.get()).ok());
        let handle = params.and_then(|params| self.open.remove(params.request_id.get()));
        handle.inspect(AbortHandle::abort).is_some()
    }

    async fn refuse(&self, id: &str, code: i64, message: String) {
        self.outlet.line(answered(id, &Reply::Error { code, message, data: None })).await;
    }
}

fn nothing() -> Box<RawValue> {
    serde_json::value::to_raw_value(&json!({})).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Whether a request says of itself that it is of an era in which a list carries how long it may be kept.
fn is_of_newer_era(params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Versioned {
        #[serde(default, rename = "_meta")]
        meta: Option<serde_json::Map<String, serde_json::Value>>,
    }
    let meta = params.and_then(|params| serde_json::from_str::<Versioned>(params.get()).ok()?.meta);
    meta.is_some_and(|meta| meta.contains_key("io.modelcontextprotocol/protocolVersion"))
}

fn listed(id: &str, tools: &[Arc<RawValue>], newer: bool) -> String {
    let tools = tools.iter().map(|tool| one_line(tool.get())).collect::<Vec<_>>().join(",");
    let hints = if newer { r#","resultType":"complete","ttlMs":0,"cacheScope":"private""# } else { "" };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools":[{tools}]{hints}}}}}"#)
}

fn answered(id: &str, reply: &Reply) -> String {
    #[derive(Serialize)]
    struct Refusal<'a> {
        code: i64,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<&'a RawValue>,
    }
    match reply {
        Reply::Result(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, one_line(result.get())),
        Reply::Error { code, message, data } => {
            let error = serde_json::to_string(&Refusal { code: *code, message, data: data.as_deref() });
            let error = error.unwrap_or_else(|_| format!(r#"{{"code":{code},"message":""}}"#));
            format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#, one_line(&error))
        }
    }
}

/// In JSON a raw line break can only stand between tokens, where a space means the same.
fn one_line(json: &str) -> std::borrow::Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
