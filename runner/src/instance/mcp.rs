//! The conversation with a server: handshake, tool list, then every call, until the process ends.
//!
//! Contract: the service's gate is open exactly while this task is ready; however it ends, the gate learns of it.
//! Reading and writing go on at once, so that neither a server that writes without reading nor one that reads without
//! writing blocks the other direction.

use std::cell::Cell as Flag;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::link::{FailCode, LogStream, Tool};
use serde::Deserialize;
use supervision::{ExitReason, Life};
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::cell::{Cell, Pipes};
use super::client::Client;
use super::rpc::{self, Incoming, Line, LineReader};
use super::{progress, tools};
use crate::metrics::Limit;
use crate::process::ProcessHandle;
use crate::service::gate::{Answer, Event, FIRST_CALL_ID};
use crate::service::{Entry, brief};

/// The newest revision that begins with `initialize`.
const PROTOCOL_VERSION: &str = "2025-11-25";
/// How long a process may outlive its stdout; its end has the better reason.
const END_GRACE: Duration = Duration::from_secs(2);
/// How long `process` may take to report a death before this task reports it in its place.
const REPORT_GRACE: Duration = Duration::from_secs(30);
/// At most one reading of a changed tool list in this time.
const RELIST_EVERY: Duration = Duration::from_secs(1);
/// A changed tool list that takes longer is given up; the old one stays.
const RELIST_LIMIT: Duration = Duration::from_secs(60);
/// Of what a server says in its errors: enough for a person, and little enough for every report that repeats it.
const REASON_BYTES_MAX: usize = 2 * 1_024;
/// Of what it says of itself.
const FACT_BYTES_MAX: usize = 128;
/// An answer to a request that nobody made: no id of ours reaches this far.
const NOBODY: u64 = u64::MAX;

/// Speaks with the process that `process` has just started.
pub(super) async fn run(life: Life, cell: Arc<Cell>) -> ExitReason {
    let Some(Pipes { generation, mut stdin, mut stdout, handle, all_read }) = cell.take() else {
        return ExitReason::Error("its process is gone already".to_owned());
    };
    let talk = Talk {
        entry: Arc::clone(&cell.entry),
        client: Arc::new(Client::new(cell.entry.limits())),
        instance: cell.instance,
        generation,
        is_open: Flag::new(false),
        relist: Notify::new(),
    };
    let mut reader = LineReader::default();
    let end = tokio::select! {
        () = life.stopping() => return ExitReason::Shutdown,
        error = talk.converse(&life) => return ExitReason::Error(brief(&talk.entry.clean(&error), REASON_BYTES_MAX)),
        end = talk.read(&mut reader, &mut stdout) => end,
        error = talk.client.write(&mut stdin, |rpc| talk.written(rpc)) => {
            // Its last answers may still be in the other pipe.
            drop(within(END_GRACE, &life, talk.read(&mut reader, &mut stdout)).await);
            format!("its standard input is closed: {error}")
        }
    };
    all_read.notify_one();
    talk.ended(&life, &cell, &handle, end).await
}

struct Talk {
    entry: Arc<Entry>,
    client: Arc<Client>,
    instance: usize,
    generation: u64,
    is_open: Flag<bool>,
    relist: Notify,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.entry.closed(self.generation);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    #[serde(default)]
    capabilities: Capabilities,
    #[serde(default)]
    server_info: ServerInfo,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    #[serde(default)]
    tools: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct ServerInfo {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

impl Talk {
    /// Handshake and tool list; then follows changes of the list. Returns only with what is wrong.
    async fn converse(&self, life: &Life) -> String {
        let has_tools = match self.shake_hands(life).await {
            Ok(has_tools) => has_tools,
            Err(error) => return error,
        };
        let tools = if has_tools { self.read_tools().await } else { Ok(Vec::new()) };
        let tools = match tools {
            Ok(tools) => tools,
            Err(error) => return error,
        };
        life.fact("tools", tools.len());
        self.is_open.set(true);
        self.entry.opened(self.instance, self.generation, &self.client, tools);
        life.ready();
        loop {
            self.relist.notified().await;
            self.read_changed_list(life).await;
            sleep(RELIST_EVERY).await;
        }
    }

    async fn shake_hands(&self, life: &Life) -> Result<bool, String> {
        let params = serde_json::json!({
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": { "name": "claudemesh", "version": env!("CARGO_PKG_VERSION") },
        });
        let result = match self.client.request("initialize", params.to_string().as_bytes()).await {
            Answer::Result(result) => result,
            other => return Err(format!("the handshake was answered with {}", tools::told(&other))),
        };
        let said: Initialized =
            serde_json::from_slice(&result).map_err(|error| format!("the handshake's answer is not valid: {error}"))?;
        life.fact("protocol", brief(&said.protocol_version, FACT_BYTES_MAX));
        let server = format!("{} {}", said.server_info.name, said.server_info.version);
        life.fact("server", brief(server.trim(), FACT_BYTES_MAX));
        self.client.say(rpc::notification("notifications/initialized", b""));
        Ok(said.capabilities.tools.is_some())
    }

    async fn read_tools(&self) -> Result<Vec<Tool>, String> {
        let read = tools::read(&self.client).await;
        read.map_err(|problem| {
            if problem.is_over_a_limit {
                self.entry.over(Limit::ServerTools);
            }
            problem.words
        })
    }

    async fn read_changed_list(&self, life: &Life) {
        let problem = match timeout(RELIST_LIMIT, self.read_tools()).await {
            Ok(Ok(tools)) => {
                life.fact("tools", tools.len());
                self.entry.relisted(self.instance, self.generation, tools);
                return;
            }
            Ok(Err(problem)) => problem,
            Err(_) => format!("not listed within {} s", RELIST_LIMIT.as_secs()),
        };
        self.entry.say(LogStream::System, &format!("its changed tool list was not taken: {problem}"));
    }

    /// Reads until the pipe ends, which it says in words.
    async fn read(&self, reader: &mut LineReader, stdout: &mut pipe::Receiver) -> String {
        loop {
            match reader.next(stdout).await {
                Ok(Some(Line::Whole(line))) => self.said(&line),
                Ok(Some(Line::Cut { head, tail, length })) => self.said_too_much(&head, &tail, length),
                Ok(None) => return "it closed its standard output".to_owned(),
                Err(error) => return format!("its standard output cannot be read: {error}"),
            }
        }
    }

    fn said(&self, line: &Bytes) {
        let Some(messages) = rpc::understand(line) else {
            if !line.is_empty() {
                self.entry.say(LogStream::Stdout, &String::from_utf8_lossy(line));
            }
            return;
        };
        self.client.heard();
        for message in messages {
            match message {
                Incoming::Result { id, result } => self.answered(id, Answer::Result(result)),
                Incoming::Error { id, error } => self.answered(id, Answer::Error(error)),
                Incoming::Request { id, method } => self.client.say(rpc::answer(&id, &method)),
                Incoming::Notification { method, params } => self.notified(&method, &params),
                Incoming::Foreign => self.answered(NOBODY, Answer::Result(Bytes::new())),
            }
        }
    }

    fn answered(&self, id: u64, answer: Answer) {
        if id >= FIRST_CALL_ID || !self.client.answered(id, answer.clone()) {
            self.entry.gate(Event::Answered { generation: self.generation, rpc: id, answer });
        }
    }

    fn written(&self, rpc: u64) {
        self.entry.gate(Event::Written { generation: self.generation, rpc });
    }

    fn notified(&self, method: &str, params: &Bytes) {
        match method {
            "notifications/tools/list_changed" if self.is_open.get() => self.relist.notify_one(),
            "notifications/progress" => {
                if let Some((rpc, word)) = progress::read(params) {
                    self.entry.gate(Event::Progress { generation: self.generation, rpc, word });
                }
            }
            _ => {}
        }
    }

    fn said_too_much(&self, head: &[u8], tail: &[u8], length: usize) {
        self.client.heard();
        self.entry.over(Limit::ServerLineBytes);
        let message = format!("a line of {length} bytes is longer than {} and was dropped", rpc::LINE_BYTES_MAX);
        self.entry.say(LogStream::System, &message);
        if let Some(id) = rpc::id_of_cut_line(head, tail) {
            self.answered(id, Answer::failed(FailCode::TooLarge, format!("the answer is too large: {message}")));
        }
    }

    /// A pipe ended. If the process ended too, its own end is the reason, and `process` tells it.
    async fn ended(&self, life: &Life, cell: &Cell, handle: &ProcessHandle, end: String) -> ExitReason {
        let Some(status) = within(END_GRACE, life, handle.died()).await else {
            return if life.is_stopping() {
                ExitReason::Shutdown
            } else {
                ExitReason::Error(format!("{end}, but it did not end"))
            };
        };
        self.entry.closed(self.generation);
        if cell.may_end(status) && self.is_open.get() {
            return ExitReason::Normal;
        }
        // The supervisor stops this task when `process` has said so, after nothing of it is left.
        within(REPORT_GRACE, life, std::future::pending::<()>()).await;
        if life.is_stopping() { ExitReason::Shutdown } else { ExitReason::Error(status.to_string()) }
    }
}

/// The outcome, unless the time is over or the task is asked to stop.
async fn within<T>(limit: Duration, life: &Life, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = life.stopping() => None,
        outcome = timeout(limit, future) => outcome.ok(),
    }
}
