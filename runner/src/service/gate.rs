//! The gate of a service: which call waits, which is written to the process, and what each is answered.
//!
//! Contract: pure. [`Gate::on`] takes an event and the time and says what has to be done. Every call that was submitted
//! is answered exactly once; a call that a process may have seen is written a second time only after that process died,
//! only if the tool was declared repeatable when the call was written, and never a third time.
//!
//! ```text
//! phase:   waiting ──opened──► open ──died──► waiting      any ──drain──► draining ──closed──► closed
//! call:    waiting ──(room, phase open)──► sent ──written──► written ──answered──► (answered)
//!             ▲                              │ died             │ died
//!             └──────────────────────────────┴──────────────────┘ first death, repeatable
//! ```
//!
//! Request ids: calls count from [`FIRST_CALL_ID`] and never share one, over all restarts of the service, so that the
//! answer of an earlier life cannot be taken for another call's. Smaller ids belong to the instance's own requests.

mod call;
mod event;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use protocol::link::FailCode;

pub use call::{Answer, Origin, Submit};
use call::{Call, Progress};
pub use event::{Counters, Effect, Event};

use crate::metrics::{GateMeter, Limit};

/// Request ids of calls start here; JavaScript servers keep integers exact far beyond it.
pub const FIRST_CALL_ID: u64 = 1 << 32;
/// Calls that may wait for a service.
pub const WAITING_MAX: usize = 1_024;
/// Calls that a process may have before it at once; more wait.
pub const IN_FLIGHT_MAX: usize = 256;
/// Parameters that may be held for a service, in bytes, over all its calls.
pub const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long a call waits for a service that is not running.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest time a caller may ask for.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);
/// Ids of calls that were given up, kept to tell a late answer from a foreign one.
const GIVEN_UP_MAX: usize = 1_024;

/// The tools that may be called twice, by name.
pub type Repeatable = Arc<HashSet<String>>;

#[derive(Debug)]
enum Phase {
    Waiting {
        state: &'static str,
    },
    Open {
        generation: u64,
        repeatable: Repeatable,
    },
    /// `generation` of the process that finishes its calls, if one was open.
    Draining {
        generation: Option<u64>,
    },
    Closed {
        state: &'static str,
        reason: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Gate {
    phase: Phase,
    calls: HashMap<u64, Call>,
    by_origin: HashMap<Origin, u64>,
    waiting: VecDeque<u64>,
    in_flight: usize,
    held_bytes: usize,
    due: BTreeSet<(Duration, u64)>,
    next_rpc: u64,
    given_up: VecDeque<u64>,
    counters: Counters,
    /// The time of the event that is taken.
    now: Duration,
    meter: GateMeter,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            phase: Phase::Waiting { state: "queued" },
            calls: HashMap::new(),
            by_origin: HashMap::new(),
            waiting: VecDeque::new(),
            in_flight: 0,
            held_bytes: 0,
            due: BTreeSet::new(),
            next_rpc: FIRST_CALL_ID,
            given_up: VecDeque::new(),
            counters: Counters::default(),
            now: Duration::ZERO,
            meter: GateMeter::default(),
        }
    }
}

impl Gate {
    /// One that measures how long calls wait and servers take.
    #[must_use]
    pub fn new(meter: GateMeter) -> Self {
        Self { meter, ..Self::default() }
    }

    /// Takes an event; appends what has to be done, in order.
    pub fn on(&mut self, event: Event, now: Duration, effects: &mut Vec<Effect>) {
        self.now = now;
        match event {
            Event::Submit(submit) => self.submit(submit, now, effects),
            Event::Opened { generation, repeatable } => self.opened(generation, repeatable, effects),
            Event::Relisted { repeatable } => self.relisted(repeatable),
            Event::Written { rpc } => self.written(rpc),
            Event::Answered { rpc, answer } => self.answered(rpc, answer, effects),
            Event::Died { generation } => self.died(generation, now, effects),
            Event::Waiting { state } => self.wait(state, now),
            Event::Drain => self.drain(effects),
            Event::Closed { state, reason } => self.close(state, reason, effects),
            Event::Cancel { origin, reason } => self.cancel(origin, reason, effects),
            Event::SessionGone { session } => self.session_gone(session, effects),
            Event::Tick => self.tick(now, effects),
        }
    }

    /// When [`Event::Tick`] is next needed.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Calls that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Calls before the process.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What was dropped.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn submit(&mut self, submit: Submit, now: Duration, effects: &mut Vec<Effect>) {
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
        let deadline = now + submit.timeout.clamp(Duration::from_millis(1), CALL_TIMEOUT_MAX);
        let mut call = Call::new(submit, deadline, now);
        if matches!(self.phase, Phase::Waiting { .. }) {
            call.wait_until(now + WAIT_MAX);
        }
        self.held_bytes += call.params.len();
        self.due.insert((call.due, rpc));
        self.by_origin.insert(origin, rpc);
        self.calls.insert(rpc, call);
        self.waiting.push_back(rpc);
        self.dispatch(effects);
    }

    fn refusal(&self, submit: &Submit) -> Option<Answer> {
        match &self.phase {
            Phase::Draining { .. } => {
                return Some(Answer::failed(FailCode::Draining, "the service is being stopped or replaced"));
            }
            Phase::Closed { state, reason } => return Some(not_running(state, reason)),
            Phase::Waiting { .. } | Phase::Open { .. } => {}
        }
        if self.waiting.len() >= WAITING_MAX {
            self.meter.limits.count(Limit::ServiceWaitingCalls);
            return Some(Answer::failed(
                FailCode::Overloaded,
                format!("{WAITING_MAX} calls wait for this service already"),
            ));
        }
        if self.held_bytes + submit.params.len() > HELD_BYTES_MAX {
            self.meter.limits.count(Limit::ServiceHeldBytes);
            return Some(Answer::failed(
                FailCode::Overloaded,
                format!("calls with {HELD_BYTES_MAX} bytes of parameters wait for this service already"),
            ));
        }
        None
    }

    fn opened(&mut self, generation: u64, repeatable: Repeatable, effects: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Waiting { .. } | Phase::Open { .. }) {
            return;
        }
        self.phase = Phase::Open { generation, repeatable };
        // From here a waiting call has all of its own time: it waits for room, not for the service.
        for rpc in self.waiting.clone() {
            self.set_due(rpc, |call| call.deadline);
        }
        self.dispatch(effects);
    }

    fn relisted(&mut self, list: Repeatable) {
        if let Phase::Open { repeatable, .. } = &mut self.phase {
            *repeatable = list;
        }
    }

    /// Hands waiting calls to the process while there is room.
    fn dispatch(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Open { repeatable, .. } = &self.phase else { return };
        while self.in_flight < IN_FLIGHT_MAX {
            let Some(rpc) = self.waiting.pop_front() else { return };
            let Some(call) = self.calls.get_mut(&rpc) else { continue };
            call.progress = Progress::Sent { repeatable: Arc::clone(repeatable) };
            self.in_flight += 1;
            self.meter.waited(call.lap(self.now));
            effects.push(Effect::Write { rpc, method: call.method.clone(), params: call.params.clone() });
        }
    }

    fn written(&mut self, rpc: u64) {
        if let Some(call) = self.calls.get_mut(&rpc) {
            call.mark_written();
        }
    }

    fn answered(&mut self, rpc: u64, answer: Answer, effects: &mut Vec<Effect>) {
        match self.calls.get_mut(&rpc) {
            Some(call) if call.is_in_flight() => {
                // A server that answered has seen the request, whatever the pipe says so far.
                call.mark_written();
                self.finish(rpc, answer, effects);
                self.after_finish(effects);
            }
            Some(_) => self.counters.foreign += 1,
            None => self.count_stray(rpc),
        }
    }

    fn count_stray(&mut self, rpc: u64) {
        if let Some(at) = self.given_up.iter().position(|id| *id == rpc) {
            self.given_up.remove(at);
            self.counters.late += 1;
        } else if (FIRST_CALL_ID..self.next_rpc).contains(&rpc) {
            self.counters.repeated += 1;
        } else {
            self.counters.foreign += 1;
        }
    }

    fn died(&mut self, generation: u64, now: Duration, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Open { generation: open, .. } if *open == generation => {
                self.phase = Phase::Waiting { state: "restarting" };
            }
            Phase::Draining { generation: Some(open) } if *open == generation => {
                self.phase = Phase::Draining { generation: None };
            }
            _ => return,
        }
        let again = matches!(self.phase, Phase::Waiting { .. });
        self.lose_in_flight(again, effects);
        for rpc in self.waiting.clone() {
            self.set_due(rpc, |call| call.deadline.min(now + WAIT_MAX));
        }
        self.idle_if_drained(effects);
    }

    /// Every call that the process had gets its verdict; those that may go to the next process wait in front, in order.
    fn lose_in_flight(&mut self, again: bool, effects: &mut Vec<Effect>) {
        let mut lost: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.is_in_flight()).map(|(rpc, _)| *rpc).collect();
        lost.sort_unstable();
        for rpc in lost.into_iter().rev() {
            let Some(call) = self.calls.get_mut(&rpc) else { continue };
            if let Some(verdict) = call.verdict(again) {
                self.finish(rpc, verdict, effects);
                continue;
            }
            call.progress = Progress::Waiting;
            self.in_flight -= 1;
            self.meter.served(call.lap(self.now));
            let fresh = self.renumber(rpc);
            self.waiting.push_front(fresh);
        }
    }

    /// A new id for a call that goes to another process.
    fn renumber(&mut self, rpc: u64) -> u64 {
        let fresh = self.next_id();
        if let Some(call) = self.calls.remove(&rpc) {
            self.due.remove(&(call.due, rpc));
            self.due.insert((call.due, fresh));
            self.by_origin.insert(call.origin, fresh);
            self.calls.insert(fresh, call);
        }
        fresh
    }

    fn wait(&mut self, state: &'static str, now: Duration) {
        match &self.phase {
            // An open gate is closed by the death of its process, which decides about the calls in flight.
            Phase::Open { .. } | Phase::Draining { .. } => {}
            Phase::Waiting { .. } => self.phase = Phase::Waiting { state },
            Phase::Closed { .. } => {
                self.phase = Phase::Waiting { state };
                for rpc in self.waiting.clone() {
                    self.set_due(rpc, |call| call.deadline.min(now + WAIT_MAX));
                }
            }
        }
    }

    fn drain(&mut self, effects: &mut Vec<Effect>) {
        let generation = match &self.phase {
            Phase::Open { generation, .. } => Some(*generation),
            Phase::Waiting { .. } => None,
            Phase::Draining { .. } | Phase::Closed { .. } => return,
        };
        self.phase = Phase::Draining { generation };
        for rpc in std::mem::take(&mut self.waiting) {
            self.finish(rpc, Answer::failed(FailCode::Draining, "the service is being stopped or replaced"), effects);
        }
        self.idle_if_drained(effects);
    }

    fn close(&mut self, state: &'static str, reason: String, effects: &mut Vec<Effect>) {
        let answer = not_running(state, &reason);
        self.phase = Phase::Closed { state, reason };
        self.lose_in_flight(false, effects);
        for rpc in std::mem::take(&mut self.waiting) {
            self.finish(rpc, answer.clone(), effects);
        }
    }

    fn cancel(&mut self, origin: Origin, reason: Option<String>, effects: &mut Vec<Effect>) {
        let Some(rpc) = self.by_origin.get(&origin).copied() else { return };
        let reason = reason.unwrap_or_else(|| "the caller gave up".to_owned());
        self.give_up(rpc, Answer::failed(FailCode::Cancelled, reason.clone()), reason, effects);
        self.after_finish(effects);
    }

    fn session_gone(&mut self, session: u64, effects: &mut Vec<Effect>) {
        let mut gone: Vec<u64> =
            self.by_origin.iter().filter(|(origin, _)| origin.session == session).map(|(_, rpc)| *rpc).collect();
        gone.sort_unstable();
        for rpc in gone {
            let answer = Answer::failed(FailCode::LinkLost, "the link broke");
            self.give_up(rpc, answer, "the caller is gone".to_owned(), effects);
        }
        self.after_finish(effects);
    }

    fn tick(&mut self, now: Duration, effects: &mut Vec<Effect>) {
        while let Some((at, rpc)) = self.due.first().copied() {
            if at > now {
                break;
            }
            let Some(call) = self.calls.get(&rpc) else {
                self.due.remove(&(at, rpc));
                continue;
            };
            let answer = self.expiry(call, now);
            self.give_up(rpc, answer, "timed out".to_owned(), effects);
        }
        self.after_finish(effects);
    }

    fn expiry(&self, call: &Call, now: Duration) -> Answer {
        if call.is_in_flight() {
            return Answer::failed(FailCode::Timeout, "the service did not answer within the call's time");
        }
        match &self.phase {
            Phase::Waiting { state } if now < call.deadline => {
                self.meter.limits.count(Limit::ServiceWaitingTime);
                not_running(state, &format!("waited {} s for it", WAIT_MAX.as_secs()))
            }
            Phase::Waiting { state } => Answer::failed(
                FailCode::Timeout,
                format!("the service is {state}; the call's time ran out while it waited"),
            ),
            _ => Answer::failed(FailCode::Timeout, "the call's time ran out while it waited its turn"),
        }
    }

    /// Answers a call that the process may still be working on.
    fn give_up(&mut self, rpc: u64, answer: Answer, reason: String, effects: &mut Vec<Effect>) {
        if self.calls.get(&rpc).is_some_and(Call::is_in_flight) {
            effects.push(Effect::Revoke { rpc, reason });
            if self.given_up.len() >= GIVEN_UP_MAX {
                self.given_up.pop_front();
            }
            self.given_up.push_back(rpc);
        } else {
            self.waiting.retain(|id| *id != rpc);
        }
        self.finish(rpc, answer, effects);
    }

    /// Removes the call and answers it. The caller takes it out of `waiting`.
    fn finish(&mut self, rpc: u64, answer: Answer, effects: &mut Vec<Effect>) {
        let Some(mut call) = self.calls.remove(&rpc) else { return };
        if call.is_in_flight() {
            self.in_flight -= 1;
            self.meter.served(call.lap(self.now));
        }
        self.due.remove(&(call.due, rpc));
        self.by_origin.remove(&call.origin);
        self.held_bytes -= call.params.len();
        effects.push(Effect::Reply { origin: call.origin, answer, attempts: call.attempts });
    }

    fn after_finish(&mut self, effects: &mut Vec<Effect>) {
        self.dispatch(effects);
        self.idle_if_drained(effects);
    }

    fn idle_if_drained(&self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Draining { .. }) && self.in_flight == 0 {
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

fn not_running(state: &str, reason: &str) -> Answer {
    Answer::failed(FailCode::NotRunning, format!("the service is {state}: {reason}"))
}
