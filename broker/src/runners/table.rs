//! What is on its way over one link: calls and commands that wait for their answer.
//!
//! Plain data behind the link's lock; nothing here waits or sends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::link::{CallHeader, Header, LogLine, Outcome, ReplyOutcome};
use tokio::sync::oneshot;

/// How much longer than its own time limit a call may stay unanswered by a runner that is
/// otherwise alive. The runner answers time-outs itself; this catches a runner that does not.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(2);

/// Calls one link holds at a time; the limits per service and per peer are far below.
pub(super) const MAX_CALLS: usize = 16_384;

/// Commands one link holds at a time: one per service and a few more.
pub(super) const MAX_COMMANDS: usize = 1_024;

/// The answer to a call, whoever gave it.
#[derive(Debug)]
pub struct CallOutcome {
    /// What happened.
    pub outcome: ReplyOutcome,
    /// The result or the JSON-RPC error object, as the server wrote it.
    pub body: Bytes,
    /// How many times the call was given to a process.
    pub attempts: u8,
}

/// Takes the one answer to a call. Called on the link's own task: must not block.
pub type CallSink = Box<dyn FnOnce(CallOutcome) + Send>;

/// Takes what is said of a call's progress until it is answered: MCP's own parameters without their token, raw JSON.
/// Called on the link's own task: must not block.
pub type ProgressSink = Arc<dyn Fn(Bytes) + Send + Sync>;

/// The answer to a command.
#[derive(Debug)]
pub enum CommandReply {
    /// `done`.
    Done(Outcome),
    /// `logs_result`.
    Logs {
        /// Oldest first.
        lines: Vec<LogLine>,
        /// Some of those that were asked for may be gone.
        lost: bool,
    },
    /// The link went down before the answer came.
    LinkLost,
}

struct Call {
    sink: CallSink,
    progress: Option<ProgressSink>,
    deadline: Instant,
}

/// Calls and commands in flight.
#[derive(Default)]
pub(super) struct Table {
    last_id: u64,
    calls: HashMap<u64, Call>,
    commands: HashMap<u64, oneshot::Sender<CommandReply>>,
}

impl Table {
    /// Enters a call and gives it the link's next id; `None` when the table is full.
    pub(super) fn enter_call(
        &mut self,
        header: &mut CallHeader,
        sink: CallSink,
        progress: Option<ProgressSink>,
        now: Instant,
    ) -> Result<u64, CallSink> {
        if self.calls.len() >= MAX_CALLS {
            return Err(sink);
        }
        self.last_id += 1;
        header.id = self.last_id;
        let deadline = now + Duration::from_millis(header.timeout_ms) + ANSWER_GRACE;
        self.calls.insert(header.id, Call { sink, progress, deadline });
        Ok(header.id)
    }

    /// Enters a command; `None` when the table is full.
    pub(super) fn enter_command(&mut self, reply: oneshot::Sender<CommandReply>) -> Option<u64> {
        if self.commands.len() >= MAX_COMMANDS {
            return None;
        }
        self.last_id += 1;
        self.commands.insert(self.last_id, reply);
        Some(self.last_id)
    }

    /// Takes the sink of an answered call; `None` for an answer nobody waits for.
    pub(super) fn answered(&mut self, id: u64) -> Option<CallSink> {
        self.calls.remove(&id).map(|call| call.sink)
    }

    /// Who wants to know how far this call is.
    pub(super) fn progress(&self, id: u64) -> Option<ProgressSink> {
        self.calls.get(&id)?.progress.clone()
    }

    /// Hands a command its reply; false when nobody waits for it.
    pub(super) fn done(&mut self, cmd: u64, reply: CommandReply) -> bool {
        self.commands.remove(&cmd).is_some_and(|waiting| waiting.send(reply).is_ok())
    }

    /// Nobody waits for this command any longer.
    pub(super) fn forget(&mut self, cmd: u64) {
        self.commands.remove(&cmd);
    }

    /// Takes every call whose time and grace have passed, with the frame that tells the runner.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(Header, CallSink)> {
        let ids: Vec<u64> = self.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| *id).collect();
        ids.into_iter()
            .filter_map(|id| {
                let call = self.calls.remove(&id)?;
                Some((Header::Cancel { id, reason: Some("no answer in time".to_owned()) }, call.sink))
            })
            .collect()
    }

    /// The connection is gone: takes every call; commands learn it by themselves.
    pub(super) fn lost(&mut self) -> Vec<CallSink> {
        for (_, waiting) in self.commands.drain() {
            // A dropped receiver no longer wants to know.
            let _ = waiting.send(CommandReply::LinkLost);
        }
        self.calls.drain().map(|(_, call)| call.sink).collect()
    }

    /// Commands in flight.
    #[cfg(test)]
    pub(super) fn commands(&self) -> usize {
        self.commands.len()
    }

    /// Calls in flight.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }
}
