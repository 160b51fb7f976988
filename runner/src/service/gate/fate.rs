//! How calls end without an answer of their server: deaths, time, and callers that give up.

use std::time::Duration;

use protocol::link::FailCode;

use super::call::{Answer, Call, Origin, Progress};
use super::circuit::{Again, OPEN_FOR};
use super::{Effect, GIVEN_UP_MAX, Gate, Limit, Phase, WAIT_MAX, draining, not_running};

/// The share of the deployment's time for which a process must have had a call that came with all of it, for the call to
/// count as one that it did not answer.
const WHOLE_TIME: f64 = 0.9;

impl Gate {
    pub(super) fn died(&mut self, generation: u64, effects: &mut Vec<Effect>) {
        if !self.pool.close(generation) {
            return;
        }
        if matches!(self.phase, Phase::Open) && self.pool.is_empty() {
            self.phase = Phase::Waiting { state: "restarting" };
        }
        let again = matches!(self.phase, Phase::Open | Phase::Waiting { .. });
        self.lose(again, |call| call.generation() == Some(generation), effects);
        if matches!(self.phase, Phase::Waiting { .. }) {
            self.limit_waits();
        }
        // Another process may take what came back.
        self.after_finish(effects);
    }

    /// A call waits for a service that is not there only so long.
    fn limit_waits(&mut self) {
        let until = self.now + WAIT_MAX;
        for rpc in self.waiting.ids() {
            self.set_due(rpc, |call| call.deadline.min(until));
        }
    }

    /// Every call that a process had gets its verdict; those that may go to the next process wait in front, in order.
    fn lose(&mut self, again: bool, is_lost: impl Fn(&Call) -> bool, effects: &mut Vec<Effect>) {
        let mut lost: Vec<u64> = self.calls.iter().filter(|(_, call)| is_lost(call)).map(|(rpc, _)| *rpc).collect();
        lost.sort_unstable();
        for rpc in lost.into_iter().rev() {
            let Some(call) = self.calls.get(&rpc) else { continue };
            match call.verdict(again) {
                Some(verdict) => self.finish(rpc, verdict, effects),
                None => self.wait_again(rpc),
            }
        }
    }

    /// A call goes to another process, under a new id.
    fn wait_again(&mut self, rpc: u64) {
        let Some(mut call) = self.calls.remove(&rpc) else { return };
        self.taken_back(&mut call, rpc);
        call.progress = Progress::Waiting;
        let fresh = self.next_id();
        self.due.remove(&(call.due, rpc));
        self.due.insert((call.due, fresh));
        self.by_origin.insert(call.origin, fresh);
        self.waiting.push_front(&call.member, fresh);
        self.calls.insert(fresh, call);
    }

    pub(super) fn wait(&mut self, state: &'static str) {
        match &self.phase {
            // An open gate is closed by the death of its processes, which decides about the calls in flight.
            Phase::Open | Phase::Draining => {}
            Phase::Waiting { .. } => self.phase = Phase::Waiting { state },
            Phase::Closed { .. } => {
                self.phase = Phase::Waiting { state };
                self.limit_waits();
            }
        }
    }

    pub(super) fn drain(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Draining | Phase::Closed { .. }) {
            return;
        }
        self.phase = Phase::Draining;
        for rpc in self.waiting.take_all() {
            self.finish(rpc, draining(), effects);
        }
        self.idle_if_drained(effects);
    }

    pub(super) fn close(&mut self, state: &'static str, reason: String, effects: &mut Vec<Effect>) {
        let answer = not_running(state, &reason);
        self.phase = Phase::Closed { state, reason };
        self.lose(false, Call::is_in_flight, effects);
        self.pool.clear();
        for rpc in self.waiting.take_all() {
            self.finish(rpc, answer.clone(), effects);
        }
    }

    pub(super) fn cancel(&mut self, origin: Origin, reason: Option<String>, effects: &mut Vec<Effect>) {
        let Some(rpc) = self.by_origin.get(&origin).copied() else { return };
        let reason = reason.unwrap_or_else(|| "the caller gave up".to_owned());
        self.give_up(rpc, Answer::failed(FailCode::Cancelled, reason.clone()), reason, effects);
        self.after_finish(effects);
    }

    pub(super) fn session_gone(&mut self, session: u64, effects: &mut Vec<Effect>) {
        let mut gone: Vec<u64> =
            self.by_origin.iter().filter(|(origin, _)| origin.session == session).map(|(_, rpc)| *rpc).collect();
        gone.sort_unstable();
        for rpc in gone {
            let answer = Answer::failed(FailCode::LinkLost, "the link broke");
            self.give_up(rpc, answer, "the caller is gone".to_owned(), effects);
        }
        self.after_finish(effects);
    }

    pub(super) fn tick(&mut self, effects: &mut Vec<Effect>) {
        self.tell_news(effects);
        while let Some((at, rpc)) = self.due.first().copied() {
            if at > self.now {
                break;
            }
            let Some(call) = self.calls.get(&rpc) else {
                self.due.remove(&(at, rpc));
                continue;
            };
            let answer = self.expiry(call);
            self.ran_out(rpc, effects);
            self.give_up(rpc, answer, "timed out".to_owned(), effects);
        }
        self.after_finish(effects);
    }

    /// A process that had the call for as long as its deployment lets a call take has not answered it.
    fn ran_out(&mut self, rpc: u64, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get(&rpc) else { return };
        let Some(generation) = call.generation() else { return };
        // What was lost on the way here is not the process's gain; what was spent waiting is.
        let enough = self.rules.call_timeout.mul_f64(if call.whole_time { WHOLE_TIME } else { 1.0 });
        let counts = call.for_so_long(self.now) >= enough;
        if self.pool.timed_out(generation, rpc, counts, self.now) {
            let words = format!(
                "{} calls in a row were not answered in time: no more are passed on for {} s",
                self.rules.circuit_timeouts,
                OPEN_FOR.as_secs()
            );
            effects.push(Effect::Say(words));
        }
    }

    /// What calls are told while no process may be given any.
    pub(super) fn cut_off(&self) -> Answer {
        let when = match self.pool.again(self.now) {
            Again::Now => "one call tries it now".to_owned(),
            Again::In(time) => format!("it is tried again in {} s", time.as_secs() + 1),
        };
        Answer::failed(FailCode::CircuitOpen, format!("the service answers no calls in time; {when}"))
    }

    fn expiry(&self, call: &Call) -> Answer {
        if call.is_in_flight() {
            return Answer::failed(FailCode::Timeout, "the service did not answer within the call's time");
        }
        match &self.phase {
            Phase::Waiting { state } if self.now < call.deadline => {
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

    /// Answers a call that a process may still be working on.
    fn give_up(&mut self, rpc: u64, answer: Answer, reason: String, effects: &mut Vec<Effect>) {
        let Some(call) = self.calls.get(&rpc) else { return };
        match call.generation() {
            Some(generation) => {
                effects.push(Effect::Revoke { generation, rpc, reason });
                if self.given_up.len() >= GIVEN_UP_MAX {
                    self.given_up.pop_front();
                }
                self.given_up.push_back(rpc);
            }
            None => self.waiting.remove(&call.member, rpc),
        }
        self.finish(rpc, answer, effects);
    }
}

impl Call {
    /// How long it has been where it is.
    fn for_so_long(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since())
    }
}
