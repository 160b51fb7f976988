//! What a gate is told, what it wants done, and what it counts.

use bytes::Bytes;

use super::Repeatable;
use super::call::{Answer, Origin, Submit};

/// What happens to a gate.
#[derive(Debug, Clone)]
pub enum Event {
    /// A call arrived.
    Submit(Submit),
    /// A process is ready to take calls. Generations rise.
    Opened {
        /// Which process.
        generation: u64,
        /// Tools that its list declares repeatable.
        repeatable: Repeatable,
    },
    /// The tool list of a process changed.
    Relisted {
        /// Which process.
        generation: u64,
        /// Tools that its list declares repeatable.
        repeatable: Repeatable,
    },
    /// The newline of this request was accepted by the pipe.
    Written {
        /// The process.
        generation: u64,
        /// Its request id.
        rpc: u64,
    },
    /// A process answered.
    Answered {
        /// Which process.
        generation: u64,
        /// The request id that it named.
        rpc: u64,
        /// What it said.
        answer: Answer,
    },
    /// A process says how far a call is.
    Progress {
        /// Which process.
        generation: u64,
        /// The call's request id.
        rpc: u64,
        /// What it says, raw JSON.
        word: Bytes,
    },
    /// A process is gone, or no longer spoken to. Those that are not open are ignored.
    Died {
        /// Which process.
        generation: u64,
    },
    /// The service is not running but on its way.
    Waiting {
        /// The service's state, for messages.
        state: &'static str,
    },
    /// No new calls; those in flight may finish.
    Drain,
    /// No calls at all.
    Closed {
        /// `crashed`, `failed`, `stopped`.
        state: &'static str,
        /// Why, for a person.
        reason: String,
    },
    /// The caller gave up.
    Cancel {
        /// Whose call.
        origin: Origin,
        /// For the server.
        reason: Option<String>,
    },
    /// The link session is gone: nobody waits for its answers.
    SessionGone {
        /// Which one.
        session: u64,
    },
    /// Time passed.
    Tick,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand this request to a process.
    Write {
        /// Which process.
        generation: u64,
        /// Its request id.
        rpc: u64,
        /// JSON-RPC method.
        method: String,
        /// Raw JSON, empty for none.
        params: Bytes,
        /// Whether the process is asked to tell of its progress, under the request id.
        tells: bool,
    },
    /// Take the request back if it is not written; otherwise tell the process that nobody waits.
    Revoke {
        /// The process that has it.
        generation: u64,
        /// Its request id.
        rpc: u64,
        /// For the server.
        reason: String,
    },
    /// Answer the caller.
    Reply {
        /// Whose call.
        origin: Origin,
        /// The answer.
        answer: Answer,
        /// How many processes saw the request.
        attempts: u8,
    },
    /// Tell the caller how far the call is.
    Progress {
        /// Whose call.
        origin: Origin,
        /// What its process said, raw JSON.
        word: Bytes,
    },
    /// Say this in the service's log.
    Say(String),
    /// Nothing is in flight any more (told while draining).
    Idle,
}

/// What was counted and otherwise dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers to calls that had been given up.
    pub late: u64,
    /// Second answers to one request.
    pub repeated: u64,
    /// Answers to requests that were never made.
    pub foreign: u64,
    /// Calls whose id was already in use by the same session.
    pub duplicate: u64,
}
