//! One call as the gate sees it, and what becomes of it when its process dies.

use std::time::Duration;

use bytes::Bytes;
use protocol::link::FailCode;
use serde::Deserialize;

use super::{Member, Repeatable};

/// Methods that only read, by the protocol's own definition.
const READING_METHODS: &[&str] = &[
    "ping",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
];

/// Who asked: a link session and its own id for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The session, unique in the life of this program.
    pub session: u64,
    /// What the session calls it.
    pub id: u64,
}

/// A call as it arrives.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Who asked.
    pub origin: Origin,
    /// JSON-RPC method.
    pub method: String,
    /// Raw JSON, empty for none.
    pub params: Bytes,
    /// Time that is left.
    pub timeout: Duration,
    /// Whether it may be written to a second process.
    pub retry: bool,
    /// Processes that saw it before.
    pub attempts_before: u8,
    /// Whose call it is.
    pub member: Member,
    /// Whether the caller wants to hear of its progress.
    pub tells: bool,
    /// Whether its time is the deployment's own, but for what it took to come here.
    pub whole_time: bool,
}

/// What a caller gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The result as the server gave it.
    Result(Bytes),
    /// The error object as the server gave it.
    Error(Bytes),
    /// The server gave no answer.
    Failed {
        /// Why, for a program.
        code: FailCode,
        /// Why, for a person.
        message: String,
    },
}

impl Answer {
    /// An answer that is not the server's.
    pub fn failed(code: FailCode, message: impl Into<String>) -> Self {
        Self::Failed { code, message: message.into() }
    }
}

/// How far a call got with the present process. The list that was in force is kept with the call, so that a later
/// list cannot make a call repeatable after the fact.
#[derive(Debug)]
pub(super) enum Progress {
    Waiting,
    Sent { generation: u64, repeatable: Repeatable },
    Written { generation: u64, repeatable: Repeatable },
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) origin: Origin,
    pub(super) method: String,
    pub(super) params: Bytes,
    pub(super) deadline: Duration,
    /// When the call is answered for want of time: the deadline, or the end of its waiting.
    pub(super) due: Duration,
    pub(super) retry: bool,
    pub(super) attempts: u8,
    pub(super) progress: Progress,
    pub(super) member: Member,
    pub(super) tells: bool,
    pub(super) whole_time: bool,
    /// Since when it waits, or is before the process.
    since: Duration,
}

impl Call {
    pub(super) fn new(submit: Submit, deadline: Duration, now: Duration) -> Self {
        Self {
            origin: submit.origin,
            method: submit.method,
            params: submit.params,
            deadline,
            due: deadline,
            retry: submit.retry,
            attempts: submit.attempts_before,
            progress: Progress::Waiting,
            member: submit.member,
            tells: submit.tells,
            whole_time: submit.whole_time,
            since: now,
        }
    }

    /// How long it has been where it was; from now on it is elsewhere.
    pub(super) fn lap(&mut self, now: Duration) -> Duration {
        now.saturating_sub(std::mem::replace(&mut self.since, now))
    }

    pub(super) fn wait_until(&mut self, at: Duration) {
        self.due = self.deadline.min(at);
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.generation().is_some()
    }

    /// The process that has it.
    pub(super) fn generation(&self) -> Option<u64> {
        match self.progress {
            Progress::Waiting => None,
            Progress::Sent { generation, .. } | Progress::Written { generation, .. } => Some(generation),
        }
    }

    /// Since when it waits, or is before the process.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// How long its process may take for it.
    pub(super) fn time_before_process(&self) -> Duration {
        self.deadline.saturating_sub(self.since)
    }

    pub(super) fn mark_written(&mut self) {
        let progress = std::mem::replace(&mut self.progress, Progress::Waiting);
        self.progress = match progress {
            Progress::Sent { generation, repeatable } => {
                self.attempts = self.attempts.saturating_add(1);
                Progress::Written { generation, repeatable }
            }
            other @ (Progress::Waiting | Progress::Written { .. }) => other,
        };
    }

    /// What the caller is told when the process died; `None` when the call may go to the next one (`again`: if there
    /// will be one).
    pub(super) fn verdict(&self, again: bool) -> Option<Answer> {
        match &self.progress {
            Progress::Waiting | Progress::Sent { .. } if again => None,
            Progress::Waiting | Progress::Sent { .. } => {
                Some(Answer::failed(FailCode::NotRunning, "the service stopped before the call reached it"))
            }
            Progress::Written { .. } if self.attempts >= 2 => Some(Answer::failed(
                FailCode::Poison,
                "two processes of the service died while they worked on this call; it is not tried again",
            )),
            Progress::Written { repeatable, .. } if again && self.retry && self.is_repeatable(repeatable) => None,
            Progress::Written { .. } => Some(Answer::failed(
                FailCode::OutcomeUnknown,
                "the service died while it worked on this call; whether it took effect is unknown",
            )),
        }
    }

    fn is_repeatable(&self, tools: &Repeatable) -> bool {
        if self.method != "tools/call" {
            return READING_METHODS.contains(&self.method.as_str());
        }
        // Read only now: on the way out nothing of the parameters is parsed.
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        serde_json::from_slice::<Named>(&self.params).is_ok_and(|named| tools.contains(&named.name))
    }
}
