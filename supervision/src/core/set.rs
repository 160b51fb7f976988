//! A dynamic set: children by key, each judged by its own policy, none of them any other's business.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Input, Key, Output, Policy, Random,
    history::Verdict,
    member::{Ended, Expired, Member, Status},
};
use crate::{ExitReason, NodeState, Transition};

pub(crate) struct Set {
    places: BTreeMap<Key, Place>,
    /// Each place that waits for a time is in here once: thousands of children, one look.
    timers: BTreeSet<(Duration, Key)>,
    random: Random,
    ending: Option<ExitReason>,
    finished: bool,
    now: Duration,
}

struct Place {
    member: Member,
    policy: Policy,
    /// What follows when an ordered stop is done.
    then: Then,
    /// Waits for this before it starts again.
    hold: Option<Duration>,
    /// Its entry in the timers.
    armed: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Nothing was ordered: its policy decides.
    Judge,
    Start,
    Remove,
}

impl Set {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            places: BTreeMap::new(),
            timers: BTreeSet::new(),
            random,
            ending: None,
            finished: false,
            now: Duration::ZERO,
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn on(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.now = self.now.max(now);
        match input {
            Input::Ready { key, generation } => self.ready(key, generation, &mut out),
            Input::Down { key, generation, exit } => self.down(key, generation, exit, &mut out),
            Input::Tick => self.tick(&mut out),
            Input::Shutdown(exit) => self.end(exit, &mut out),
        }
        self.conclude(&mut out);
        out
    }

    /// A new child; it starts at once.
    pub(crate) fn add(&mut self, now: Duration, key: Key, mut member: Member, policy: Policy) -> Vec<Output> {
        self.now = self.now.max(now);
        let out = vec![member.start(key, self.now)];
        let place = Place { member, policy, then: Then::Judge, hold: None, armed: None };
        self.places.insert(key, place);
        self.arm(key);
        out
    }

    /// Stops a child in order and then forgets it.
    pub(crate) fn remove(&mut self, now: Duration, key: Key) -> Vec<Output> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        self.dismiss(key, &mut out);
        out
    }

    /// Forgets a child's failures and starts it, after an ordered stop when it runs. One that is being removed
    /// stays removed.
    pub(crate) fn restart(&mut self, now: Duration, key: Key) -> Vec<Output> {
        self.now = self.now.max(now);
        let mut out = Vec::new();
        let Some(place) = self.places.get_mut(&key) else {
            return out;
        };
        if place.then == Then::Remove {
            return out;
        }
        place.member.history.clear();
        place.hold = None;
        if place.member.is_alive() {
            place.then = Then::Start;
            place.member.stop(key, self.now, &mut out);
        } else {
            out.push(place.member.start(key, self.now));
        }
        self.arm(key);
        out
    }

    fn ready(&mut self, key: Key, generation: u64, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        if place.member.ready(generation, self.now) {
            out.push(Output::Report { key, transition: Transition::Ready });
            self.arm(key);
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        while self.next_wake().is_some_and(|at| at <= self.now) {
            let Some((_, key)) = self.timers.pop_first() else {
                return;
            };
            let Some(place) = self.places.get_mut(&key) else {
                continue;
            };
            place.armed = None;
            let generation = place.member.generation;
            match place.member.expire(self.now) {
                Some(Expired::Kill) => out.push(Output::Kill { key }),
                Some(Expired::GiveUp) => self.down(key, generation, ExitReason::Stuck, out),
                None => {
                    place.hold = None;
                    out.push(place.member.start(key, self.now));
                }
            }
            self.arm(key);
        }
    }

    fn down(&mut self, key: Key, generation: u64, exit: ExitReason, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        let Some(ended) = place.member.down(generation, exit, self.now) else {
            return;
        };
        match place.then {
            Then::Remove => self.forget(key, ended.exit, out),
            Then::Start => {
                place.then = Then::Judge;
                let transition = Transition::Restarting { exit: ended.exit, delay: Duration::ZERO };
                out.push(Output::Report { key, transition });
                out.push(place.member.start(key, self.now));
            }
            Then::Judge if place.member.is_restarted_after(&ended.exit) => self.judge(key, ended, out),
            Then::Judge => self.forget(key, ended.exit, out),
        }
        self.arm(key);
    }

    fn judge(&mut self, key: Key, ended: Ended, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        let member = &mut place.member;
        match member.history.judge(self.now, &ended, &place.policy, &mut self.random) {
            Verdict::Again(delay) => {
                let transition = Transition::Restarting { exit: ended.exit, delay };
                out.push(Output::Report { key, transition });
                if delay.is_zero() {
                    out.push(member.start(key, self.now));
                } else {
                    place.hold = Some(self.now.saturating_add(delay));
                }
            }
            Verdict::TooMany => {
                let state = if member.ever_ready { NodeState::Crashed } else { NodeState::Failed };
                let exit = ended.exit;
                member.status = Status::Over;
                let transition = Transition::Parked { exit: exit.clone(), state };
                out.push(Output::Report { key, transition });
                out.push(Output::Close { key, state, exit });
            }
        }
    }

    fn dismiss(&mut self, key: Key, out: &mut Vec<Output>) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        if place.member.is_alive() {
            place.then = Then::Remove;
            place.member.stop(key, self.now, out);
            self.arm(key);
        } else {
            let exit = place.member.last_exit.clone();
            self.forget(key, exit, out);
        }
    }

    fn forget(&mut self, key: Key, exit: ExitReason, out: &mut Vec<Output>) {
        let Some(place) = self.places.remove(&key) else {
            return;
        };
        if let Some(at) = place.armed {
            self.timers.remove(&(at, key));
        }
        let transition = Transition::Stopped { exit: exit.clone() };
        out.push(Output::Report { key, transition });
        // When the whole set goes, it may come back with the same children: their callers wait.
        if self.ending.is_none() {
            out.push(Output::Close { key, state: NodeState::Stopped, exit });
        }
        out.push(Output::Forget { key });
    }

    fn end(&mut self, exit: ExitReason, out: &mut Vec<Output>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        let keys: Vec<_> = self.places.keys().copied().collect();
        keys.into_iter().for_each(|key| self.dismiss(key, out));
    }

    fn conclude(&mut self, out: &mut Vec<Output>) {
        if let Some(exit) = &self.ending
            && self.places.is_empty()
            && !self.finished
        {
            self.finished = true;
            out.push(Output::Finished(exit.clone()));
        }
    }

    /// Brings the timers up to date with one place.
    fn arm(&mut self, key: Key) {
        let Some(place) = self.places.get_mut(&key) else {
            return;
        };
        let wanted = place.member.deadline().or(place.hold);
        if wanted == place.armed {
            return;
        }
        if let Some(at) = place.armed.take() {
            self.timers.remove(&(at, key));
        }
        if let Some(at) = wanted {
            self.timers.insert((at, key));
        }
        place.armed = wanted;
    }
}
