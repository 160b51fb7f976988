//! Where calls for one service are taken in, and where they wait while nobody can serve them.
//!
//! The desk is shared by every socket and never blocks: an open desk hands a call straight to the
//! runner's link, a waiting one keeps it for a bounded time, a closed one answers at once. The service's
//! actor says which it is. What waits inside a runner (a process that restarts) is the runner's affair;
//! here calls wait only while the runner itself is away or does not hold the deployment yet.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use meter::Counters;
use protocol::link::{CallHeader, FailCode, ReplyOutcome, RetryKind, Tool};
use serde::Deserialize;

use super::poison::{POISON_MAX, POISON_WITHIN, Poisoners};
use crate::metrics::Limit;
use crate::runners::link::{CallOutcome, CallSink, ProgressSink, failed};
use crate::runners::{Link, NotUp, Outbound, Unsent};

/// Longest wait for a runner, whatever the call's own limit.
pub const MAX_WAIT: Duration = Duration::from_secs(30);
/// Calls of one service that may wait here.
pub const MAX_WAITING: usize = 1_024;
/// Of them, those of one member.
pub const MAX_WAITING_OF_MEMBER: usize = 256;
/// Longest time limit a caller may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// A tool call, as a peer made it.
pub struct Call {
    /// JSON-RPC params of `tools/call`, untouched.
    pub params: Bytes,
    /// The caller's own limit, if it set one.
    pub timeout: Option<Duration>,
    /// Takes the answer.
    pub sink: CallSink,
    /// Takes what is said of its progress, if its caller wants to know.
    pub progress: Option<ProgressSink>,
    /// With which its caller may give it up.
    pub ticket: Ticket,
    /// Whose call it is: opaque, the same for all calls of one member, and all that a runner learns of it.
    pub member: Arc<str>,
}

/// Follows one call wherever it is, so that it can be given up.
#[derive(Clone, Default)]
pub struct Ticket {
    trail: Arc<Mutex<Trail>>,
}

#[derive(Default)]
struct Trail {
    sent: Option<(Link, u64)>,
    given_up: bool,
}

impl Ticket {
    /// Nobody waits for the answer any longer; it still comes. `desk` is where the call was taken in.
    pub fn cancel(&self, desk: &Desk, reason: &str) {
        let sent = {
            let mut trail = self.lock();
            trail.given_up = true;
            trail.sent.clone()
        };
        match sent {
            Some((link, id)) => link.cancel(id, reason),
            None => desk.withdraw(self, reason),
        }
    }

    /// Notes where the call is now; returns whether it was given up meanwhile.
    fn follow(&self, sent: Option<(Link, u64)>) -> bool {
        let mut trail = self.lock();
        trail.sent = sent;
        trail.given_up
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trail, &other.trail)
    }

    fn lock(&self) -> MutexGuard<'_, Trail> {
        self.trail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the service's actor lets calls do.
#[derive(Clone)]
pub enum Phase {
    /// Nobody can serve them yet.
    Waiting,
    /// The runner holds the deployment; it serves them or lets them wait itself.
    Open(Arc<Counter>),
    /// Nobody will: the answer, and why.
    Closed(FailCode, String),
}

/// Whom an open desk serves for.
pub struct Counter {
    /// The runner.
    pub link: Link,
    /// Mesh slug.
    pub mesh: String,
    /// Service name.
    pub service: String,
    /// The active deployment.
    pub deployment: String,
    /// Time limit of a call that names none.
    pub call_timeout: Duration,
    /// The deployer's word on sending a call again.
    pub retry: RetryKind,
    /// Tools whose hints, recorded at deploy, say that a second run does no harm.
    pub repeatable: HashSet<String>,
}

impl Counter {
    /// The names of the tools that may be called again after a process death.
    #[must_use]
    pub fn repeatable(tools: &[Tool]) -> HashSet<String> {
        let harmless = |tool: &&Tool| {
            tool.annotations
                .as_ref()
                .is_some_and(|hints| hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true))
        };
        tools.iter().filter(harmless).map(|tool| tool.name.clone()).collect()
    }
}

struct Waiting {
    call: Call,
    since: Instant,
    until: Instant,
    attempts: u8,
}

struct Inner {
    phase: Phase,
    waiting: VecDeque<Waiting>,
    poisoners: Poisoners,
}

/// One service's desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Mutex<Inner>>,
    limits: Counters<Limit>,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(Counters::default())
    }
}

impl Desk {
    /// A desk whose refusals are counted.
    #[must_use]
    pub fn new(limits: Counters<Limit>) -> Self {
        let inner = Inner { phase: Phase::Waiting, waiting: VecDeque::new(), poisoners: Poisoners::default() };
        Self { inner: Arc::new(Mutex::new(inner)), limits }
    }

    /// Takes a call in. Its sink gets exactly one answer, now or later.
    pub fn submit(&self, call: Call) {
        let now = Instant::now();
        let cut_off = self.lock().poisoners.cut_off(&call.member, now);
        if let Some(left) = cut_off {
            self.limits.count(Limit::MemberPoison);
            let words = format!(
                "limit: {POISON_MAX} of this member's calls within {} s took the service down twice each; refused for {} s more",
                POISON_WITHIN.as_secs(),
                left.as_secs() + 1
            );
            return (call.sink)(failed(FailCode::Poisoned, words, 0));
        }
        let limit = call.timeout.unwrap_or(MAX_TIMEOUT).min(MAX_TIMEOUT);
        self.place(Waiting { call, since: now, until: now + limit.min(MAX_WAIT), attempts: 0 });
    }

    fn place(&self, waiting: Waiting) {
        if waiting.call.ticket.follow(None) {
            return waiting.answer(FailCode::Cancelled, "the caller gave it up");
        }
        let (counter, waiting) = {
            let mut inner = self.lock();
            match &inner.phase {
                Phase::Open(counter) => (Arc::clone(counter), waiting),
                Phase::Waiting => {
                    let refused = inner.keep(waiting);
                    drop(inner);
                    return self.turn_away(refused);
                }
                Phase::Closed(code, why) => {
                    let (code, why) = (*code, why.clone());
                    drop(inner);
                    return waiting.answer(code, &why);
                }
            }
        };
        self.hand_over(&counter, waiting);
    }

    fn turn_away(&self, refused: Option<(Limit, Waiting)>) {
        if let Some((limit, waiting)) = refused {
            self.limits.count(limit);
            let words = match limit {
                Limit::MemberWaitingCalls => {
                    format!("limit: {MAX_WAITING_OF_MEMBER} calls of this member wait for this service already")
                }
                _ => format!("limit: {MAX_WAITING} calls wait for this service already"),
            };
            waiting.answer(FailCode::Overloaded, &words);
        }
    }

    fn hand_over(&self, counter: &Arc<Counter>, waiting: Waiting) {
        let Waiting { call, since, until, attempts } = waiting;
        let Call { params, timeout, sink, progress, ticket, member } = call;
        let limit = timeout.unwrap_or(counter.call_timeout).min(MAX_TIMEOUT);
        let left = limit.saturating_sub(since.elapsed());
        let header = CallHeader {
            id: 0,
            mesh: counter.mesh.clone(),
            service: counter.service.clone(),
            deployment: counter.deployment.clone(),
            affinity: Some(member.to_string()),
            method: "tools/call".to_owned(),
            timeout_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            retry: counter.retry,
            attempts_before: attempts,
            progress: progress.is_some(),
            whole_time: timeout.is_none_or(|own| own >= counter.call_timeout),
        };
        let again = Again {
            desk: self.clone(),
            counter: Arc::clone(counter),
            params: params.clone(),
            timeout,
            since,
            progress: progress.clone(),
            ticket: ticket.clone(),
            member: Arc::clone(&member),
        };
        let sink: CallSink = Box::new(move |outcome| again.answer(outcome, attempts, sink));
        let unsent = match counter.link.call(Outbound { header, body: params, progress }, sink) {
            Ok(id) => {
                if ticket.follow(Some((counter.link.clone(), id))) {
                    counter.link.cancel(id, "the caller gave it up");
                }
                return;
            }
            Err(unsent) => *unsent,
        };
        let Unsent { why, call, sink } = unsent;
        match why {
            NotUp::Full => {
                self.limits.count(Limit::LinkQueue);
                sink(failed(FailCode::Overloaded, "the link to the runner is full", attempts));
            }
            // The actor has not been told yet: the call waits as if it had.
            NotUp::Down => {
                let Outbound { body: params, progress, .. } = call;
                let call = Call { params, timeout, sink, progress, ticket, member };
                let refused = self.lock().keep(Waiting { call, since, until, attempts });
                self.turn_away(refused);
            }
        }
    }

    /// Takes a call out, if it waits here, and answers it.
    fn withdraw(&self, ticket: &Ticket, reason: &str) {
        let withdrawn = {
            let mut inner = self.lock();
            let at = inner.waiting.iter().position(|waiting| waiting.call.ticket.is(ticket));
            at.and_then(|at| inner.waiting.remove(at))
        };
        if let Some(waiting) = withdrawn {
            waiting.answer(FailCode::Cancelled, reason);
        }
    }

    /// Says what calls may do from now on; serves or answers those that wait.
    pub fn set(&self, phase: Phase) {
        self.lock().phase = phase;
        self.retry();
    }

    /// Serves or answers those that wait at a desk that does not let calls wait: it was just opened or closed, or its link
    /// was down for so short a time that nobody noticed.
    pub fn retry(&self) {
        let released = {
            let mut inner = self.lock();
            if matches!(inner.phase, Phase::Waiting) { VecDeque::new() } else { std::mem::take(&mut inner.waiting) }
        };
        released.into_iter().for_each(|waiting| self.place(waiting));
    }

    /// Answers the calls that have waited long enough.
    pub fn sweep(&self, now: Instant) {
        let overdue: VecDeque<Waiting> = {
            let mut inner = self.lock();
            let (overdue, kept) = std::mem::take(&mut inner.waiting).into_iter().partition(|call| call.until <= now);
            inner.waiting = kept;
            overdue
        };
        for waiting in overdue {
            self.limits.count(Limit::ServiceWaitingTime);
            waiting.answer(FailCode::Unreachable, "the service's runner did not come back in time");
        }
    }

    /// How many calls wait here.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain data: a panic elsewhere leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Keeps a call for later, or gives it back with the limit that is reached.
    fn keep(&mut self, waiting: Waiting) -> Option<(Limit, Waiting)> {
        let of_member = self.waiting.iter().filter(|other| other.call.member == waiting.call.member).count();
        if of_member >= MAX_WAITING_OF_MEMBER {
            return Some((Limit::MemberWaitingCalls, waiting));
        }
        if self.waiting.len() >= MAX_WAITING {
            return Some((Limit::ServiceWaitingCalls, waiting));
        }
        self.waiting.push_back(waiting);
        None
    }
}

impl Waiting {
    fn answer(self, code: FailCode, why: &str) {
        (self.call.sink)(failed(code, why, self.attempts));
    }
}

/// What it takes to send a call once more.
struct Again {
    desk: Desk,
    counter: Arc<Counter>,
    params: Bytes,
    timeout: Option<Duration>,
    since: Instant,
    progress: Option<ProgressSink>,
    ticket: Ticket,
    member: Arc<str>,
}

impl Again {
    /// Passes the outcome on; only a call lost with its runner may be sent a second time, once, and only
    /// if the tool's hints and the deployer allow it.
    fn answer(self, outcome: CallOutcome, attempts: u8, sink: CallSink) {
        let lost = matches!(&outcome.outcome, ReplyOutcome::Failed { code: FailCode::LinkLost, .. });
        if matches!(&outcome.outcome, ReplyOutcome::Failed { code: FailCode::Poison, .. }) || (lost && attempts > 0) {
            self.desk.lock().poisoners.note(&self.member, Instant::now());
        }
        if !lost {
            return sink(outcome);
        }
        if attempts > 0 {
            return sink(failed(FailCode::Poison, "in flight at two deaths in a row", attempts.saturating_add(1)));
        }
        if !self.may_repeat() {
            let why = "the runner was lost while the call was under way: it may or may not have run";
            return sink(failed(FailCode::OutcomeUnknown, why, 1));
        }
        let Self { desk, params, timeout, since, progress, ticket, member, .. } = self;
        let until = Instant::now() + MAX_WAIT.min(timeout.unwrap_or(MAX_WAIT).saturating_sub(since.elapsed()));
        let call = Call { params, timeout, sink, progress, ticket, member };
        desk.place(Waiting { call, since, until, attempts: 1 });
    }

    fn may_repeat(&self) -> bool {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        self.counter.retry == RetryKind::Auto
            && serde_json::from_slice::<Named>(&self.params)
                .is_ok_and(|params| self.counter.repeatable.contains(&params.name))
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
