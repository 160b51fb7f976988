//! The gate of a service: which call waits, which is written to the process, and what each is answered.
//!
//! Contract: pure. [`Gate::on`] takes an event and the time and says what has to be done. Every call that was submitted
//! is answered exactly once; a call that a process may have seen is written a second time only after that process died,
//! only if the tool was declared repeatable when the call was written, and never a third time. Members take turns
//! (`queue`), the least loaded process takes the next call (`pool`), one that lets every call run out of time is left
//! alone for a while (`circuit`), and of a call's progress so much is told as callers can bear (`news`).
//!
//! ```text
//! phase:   waiting ──opened──► open ──the last died──► waiting      any ──drain──► draining ──closed──► closed
//! call:    waiting ──(room, phase open)──► sent ──written──► written ──answered──► (answered)
//!             ▲                              │ died             │ died
//!             └──────────────────────────────┴──────────────────┘ first death, repeatable
//! ```
//!
//! Request ids: calls count from [`FIRST_CALL_ID`] and never share one, over all restarts of the service, so that the
//! answer of an earlier life cannot be taken for another call's. Smaller ids belong to the instance's own requests.

mod call;
mod circuit;
mod event;
mod fate;
mod news;
mod pool;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use protocol::link::{FailCode, Policy};

pub use call::{Answer, Origin, Submit};
use call::{Call, Progress};
pub use circuit::OPEN_FOR;
pub use event::{Counters, Effect, Event};
use news::News;
pub use news::PROGRESS_EVERY;
use pool::Pool;
pub use queue::Member;
use queue::Queue;

use crate::metrics::{GateMeter, Limit};

/// Request ids of calls start here; JavaScript servers keep integers exact far beyond it.
pub const FIRST_CALL_ID: u64 = 1 << 32;
/// Calls that may wait for a service.
pub const WAITING_MAX: usize = 1_024;
/// Of one member.
pub const MEMBER_WAITING_MAX: usize = 256;
/// Calls of one member that the processes may have before them at once; more wait.
pub const MEMBER_IN_FLIGHT_MAX: usize = 64;
/// Parameters that may be held for a service, in bytes, over all its calls.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of one member.
pub const MEMBER_HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a call waits for a service that is not running.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest time a caller may ask for.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Ids of calls that were given up, kept to tell a late answer from a foreign one.
const GIVEN_UP_MAX: usize = 1_024;

/// The tools that may be called twice, by name.
pub type Repeatable = Arc<HashSet<String>>;

/// What the deployment's policy says about calls.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Calls that its processes may have before them at once; more wait.
    pub concurrency: usize,
    /// For how long a process may keep a call before that says something about the process.
    pub call_timeout: Duration,
    /// Time-outs in a row after which a process is left alone for a while.
    pub circuit_timeouts: u32,
}

impl From<&Policy> for Rules {
    fn from(policy: &Policy) -> Self {
        Self {
            concurrency: usize::try_from(policy.concurrency).unwrap_or(usize::MAX),
            call_timeout: Duration::from_millis(policy.call_timeout_ms),
            circuit_timeouts: policy.circuit_timeouts,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::from(&Policy::default())
    }
}

#[derive(Debug)]
enum Phase {
    Waiting { state: &'static str },
    Open,
    Draining,
    Closed { state: &'static str, reason: String },
}

/// What one member has here.
#[derive(Debug, Default, Clone, Copy)]
struct Share {
    in_flight: usize,
    held_bytes: usize,
    calls: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    phase: Phase,
    rules: Rules,
    pool: Pool,
    calls: HashMap<u64, Call>,
    by_origin: HashMap<Origin, u64>,
    waiting: Queue,
    shares: HashMap<Member, Share>,
    in_flight: usize,
    held_bytes: usize,
    due: BTreeSet<(Duration, u64)>,
    news: News,
    next_rpc: u64,
    given_up: VecDeque<u64>,
    counters: Counters,
    /// The time of the event that is taken.
    now: Duration,
    meter: GateMeter,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(GateMeter::default(), Rules::default())
    }
}

impl Gate {
    /// One that measures how long calls wait and servers take.
    #[must_use]
    pub fn new(meter: GateMeter, rules: Rules) -> Self {
        Self {
            phase: Phase::Waiting { state: "queued" },
            rules,
            pool: Pool::new(rules.circuit_timeouts),
            calls: HashMap::new(),
            by_origin: HashMap::new(),
            waiting: Queue::default(),
            shares: HashMap::new(),
            in_flight: 0,
            held_bytes: 0,
            due: BTreeSet::new(),
            news: News::default(),
            next_rpc: FIRST_CALL_ID,
            given_up: VecDeque::new(),
            counters: Counters::default(),
            now: Duration::ZERO,
            meter,
        }
    }

    /// Takes an event; appends what has to be done, in order.
    pub fn on(&mut self, event: Event, now: Duration, effects: &mut Vec<Effect>) {
        self.now = now;
        match event {
            Event::Submit(submit) => self.submit(submit, effects),
            Event::Opened { generation, repeatable } => self.opened(generation, repeatable, effects),
            Event::Relisted { generation, repeatable } => self.pool.relist(generation, repeatable),
            Event::Written { generation, rpc } => self.written(generation, rpc),
            Event::Answered { generation, rpc, answer } => self.answered(generation, rpc, answer, effects),
            Event::Progress { generation, rpc, word } => self.progress(generation, rpc, word, effects),
            Event::Died { generation } => self.died(generation, effects),
            Event::Waiting { state } => self.wait(state),
            Event::Drain => self.drain(effects),
            Event::Closed { state, reason } => self.close(state, reason, effects),
            Event::Cancel { origin, reason } => self.cancel(origin, reason, effects),
            Event::SessionGone { session } => self.session_gone(session, effects),
            Event::Tick => self.tick(effects),
        }
    }

    /// When [`Event::Tick`] is next needed.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at).into_iter().chain(self.news.wake_at()).min()
    }

    /// Calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Calls before the processes.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// For how long calls may keep this process from giving a sign of life: the longest time of those before it, none
    /// if there are none or if it has let too many run out of time.
    #[must_use]
    pub fn patience(&self, generation: u64) -> Option<Duration> {
        let its = self.calls.values().filter(|call| call.generation() == Some(generation));
        its.map(Call::time_before_process).max().filter(|_| self.pool.is_trusted(generation))
    }

    /// What was dropped.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn submit(&mut self, submit: Submit, effects: &mut Vec<Effect>) {
        let origin = submit.origin;
        if self.by_origin.contains_key(&origin) {
            // Two answers with one id could not be told apart, so there is only the first call's.
            self.counters.duplicate += 1;
            return;
        }
        if let Some(answer) = self.refusal(&submit) {
            effects.push(Effect::Reply { origin, answer, attempts: submit.attempts_before });
            return;
        }
        let rpc = self.next_id();
        let deadline = self.now + submit.timeout.clamp(Duration::from_millis(1), CALL_TIMEOUT_MAX);
        let mut call = Call::new(submit, deadline, self.now);
        if matches!(self.phase, Phase::Waiting { .. }) {
            call.wait_until(self.now + WAIT_MAX);
        }
        self.held_bytes += call.params.len();
        let share = self.shares.entry(call.member.clone()).or_default();
        share.held_bytes += call.params.len();
        share.calls += 1;
        self.due.insert((call.due, rpc));
        self.by_origin.insert(origin, rpc);
        self.waiting.push_back(&call.member, rpc);
        self.calls.insert(rpc, call);
        self.dispatch(effects);
    }

    fn refusal(&self, submit: &Submit) -> Option<Answer> {
        match &self.phase {
            Phase::Draining => return Some(draining()),
            Phase::Closed { state, reason } => return Some(not_running(state, reason)),
            Phase::Open if !self.pool.admits(self.now) => return Some(self.cut_off()),
            Phase::Waiting { .. } | Phase::Open => {}
        }
        let share = self.share(&submit.member);
        let is_shared_out = submit.member.is_some();
        let over = |limit, words: String| {
            self.meter.limits.count(limit);
            Some(Answer::failed(FailCode::Overloaded, words))
        };
        if !self.has_room_for(&submit.member) {
            if is_shared_out && self.waiting.of(&submit.member) >= MEMBER_WAITING_MAX {
                let words = format!("limit: {MEMBER_WAITING_MAX} calls of this member wait for this service already");
                return over(Limit::MemberWaitingCalls, words);
            }
            if self.waiting.len() >= WAITING_MAX {
                let words = format!("limit: {WAITING_MAX} calls wait for this service already");
                return over(Limit::ServiceWaitingCalls, words);
            }
        }
        if is_shared_out && share.held_bytes + submit.params.len() > MEMBER_HELD_BYTES_MAX {
            let words = format!(
                "limit: calls of this member with {MEMBER_HELD_BYTES_MAX} bytes of parameters are here already"
            );
            return over(Limit::MemberHeldBytes, words);
        }
        if self.held_bytes + submit.params.len() > HELD_BYTES_MAX {
            let words = format!("limit: calls with {HELD_BYTES_MAX} bytes of parameters wait for this service already");
            return over(Limit::ServiceHeldBytes, words);
        }
        None
    }

    /// Whether a call of this member would go to a process at once.
    fn has_room_for(&self, member: &Member) -> bool {
        matches!(self.phase, Phase::Open)
            && self.in_flight < self.rules.concurrency
            && self.waiting.of(member) == 0
            && may_have_more(&self.shares, member)
    }
    fn share(&self, member: &Member) -> Share {
        self.shares.get(member).copied().unwrap_or_default()
    }

    fn opened(&mut self, generation: u64, repeatable: Repeatable, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Open) {
            return;
        }
        self.phase = Phase::Open;
        self.pool.open(generation, repeatable);
        // From here a waiting call has all of its own time: it waits for room, not for the service.
        for rpc in self.waiting.ids() {
            self.set_due(rpc, |call| call.deadline);
        }
        self.dispatch(effects);
    }

    /// Hands waiting calls to the processes while there is room, member by member.
    fn dispatch(&mut self, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Open) || self.waiting.len() == 0 {
            return;
        }
        while self.in_flight < self.rules.concurrency && self.pool.admits(self.now) {
            let Self { waiting, shares, .. } = self;
            let Some(rpc) = waiting.next(|member| may_have_more(shares, member)) else { return };
            self.hand_over(rpc, effects);
        }
        if !self.pool.admits(self.now) {
            let answer = self.cut_off();
            for rpc in self.waiting.take_all() {
                self.finish(rpc, answer.clone(), effects);
            }
        }
    }

    fn hand_over(&mut self, rpc: u64, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get_mut(&rpc) else { return };
        let Some((generation, repeatable)) = self.pool.give(rpc, self.now) else { return };
        call.progress = Progress::Sent { generation, repeatable };
        self.in_flight += 1;
        self.shares.entry(call.member.clone()).or_default().in_flight += 1;
        self.meter.waited(call.lap(self.now));
        let (method, params, tells) = (call.method.clone(), call.params.clone(), call.tells);
        effects.push(Effect::Write { generation, rpc, method, params, tells });
    }

    fn written(&mut self, generation: u64, rpc: u64) {
        if let Some(call) = self.calls.get_mut(&rpc).filter(|call| call.generation() == Some(generation)) {
            call.mark_written();
        }
    }

    fn answered(&mut self, generation: u64, rpc: u64, answer: Answer, effects: &mut Vec<Effect>) {
        match self.calls.get_mut(&rpc) {
            Some(call) if call.generation() == Some(generation) => {
                // A server that answered has seen the request, whatever the pipe says so far.
                call.mark_written();
                let origin = call.origin;
                self.works(generation, effects);
                if let Some(word) = self.news.forget(rpc) {
                    effects.push(Effect::Progress { origin, word });
                }
                self.finish(rpc, answer, effects);
                self.after_finish(effects);
            }
            Some(_) => self.counters.foreign += 1,
            None => self.stray(generation, rpc, effects),
        }
    }

    fn works(&mut self, generation: u64, effects: &mut Vec<Effect>) {
        if self.pool.answered(generation) {
            effects.push(Effect::Say("it answers calls again".to_owned()));
        }
    }

    fn stray(&mut self, generation: u64, rpc: u64, effects: &mut Vec<Effect>) {
        if let Some(at) = self.given_up.iter().position(|id| *id == rpc) {
            self.given_up.remove(at);
            self.counters.late += 1;
            self.works(generation, effects);
        } else if (FIRST_CALL_ID..self.next_rpc).contains(&rpc) {
            self.counters.repeated += 1;
        } else {
            self.counters.foreign += 1;
        }
    }

    fn progress(&mut self, generation: u64, rpc: u64, word: bytes::Bytes, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get(&rpc).filter(|call| call.tells && call.generation() == Some(generation)) else {
            return;
        };
        let origin = call.origin;
        if let Some(word) = self.news.take(rpc, word, self.now) {
            effects.push(Effect::Progress { origin, word });
        }
    }

    /// What was not to be told at once, and is now.
    fn tell_news(&mut self, effects: &mut Vec<Effect>) {
        while let Some((rpc, word)) = self.news.due(self.now) {
            if let Some(call) = self.calls.get(&rpc) {
                effects.push(Effect::Progress { origin: call.origin, word });
            }
        }
    }

    /// Removes the call and answers it. The caller takes it out of `waiting`.
    fn finish(&mut self, rpc: u64, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(mut call) = self.calls.remove(&rpc) else { return };
        self.taken_back(&mut call, rpc);
        self.due.remove(&(call.due, rpc));
        self.by_origin.remove(&call.origin);
        self.held_bytes -= call.params.len();
        if let Some(share) = self.shares.get_mut(&call.member) {
            share.held_bytes -= call.params.len();
            share.calls -= 1;
            if share.calls == 0 {
                self.shares.remove(&call.member);
            }
        }
        effects.push(Effect::Reply { origin: call.origin, answer, attempts: call.attempts });
    }

    /// The call is before no process any more.
    fn taken_back(&mut self, call: &mut Call, rpc: u64) {
        self.news.forget(rpc);
        let Some(generation) = call.generation() else { return };
        self.pool.take_back(generation, rpc, self.now);
        self.in_flight -= 1;
        if let Some(share) = self.shares.get_mut(&call.member) {
            share.in_flight -= 1;
        }
        self.meter.served(call.lap(self.now));
    }

    fn after_finish(&mut self, effects: &mut Vec<Effect>) {
        self.dispatch(effects);
        self.idle_if_drained(effects);
    }

    fn idle_if_drained(&self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Draining) && self.in_flight == 0 {
            effects.push(Effect::Idle);
        }
    }

    fn set_due(&mut self, rpc: u64, due: impl FnOnce(&Call) -> Duration) {
        let Some(call) = self.calls.get_mut(&rpc) else { return };
        self.due.remove(&(call.due, rpc));
        call.due = due(call);
        self.due.insert((call.due, rpc));
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next_rpc;
        self.next_rpc += 1;
        id
    }
}

/// Whether a member may have one more call before the processes.
fn may_have_more(shares: &HashMap<Member, Share>, member: &Member) -> bool {
    member.is_none() || shares.get(member).is_none_or(|share| share.in_flight < MEMBER_IN_FLIGHT_MAX)
}

fn draining() -> Answer {
    Answer::failed(FailCode::Draining, "the service is being stopped or replaced")
}

fn not_running(state: &str, reason: &str) -> Answer {
    Answer::failed(FailCode::NotRunning, format!("the service is {state}: {reason}"))
}
