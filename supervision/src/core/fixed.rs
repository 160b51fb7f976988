//! A static supervisor: children in order, restarted by a strategy, all given up above the intensity.
//!
//! The rules are those of OTP's `supervisor`. Two things differ, both because a start here takes time and is
//! acknowledged: the supervisor goes on listening while a child starts, and under `one_for_one` children that were
//! up before restart side by side.

use std::time::Duration;

use super::{
    Input, Key, Output, Policy, Random,
    history::{Shared, Verdict},
    member::{Ended, Expired, Member, Status},
};
use crate::{ExitReason, NodeState, Restart, Strategy, Transition};

pub(crate) struct Fixed {
    strategy: Strategy,
    policy: Policy,
    places: Vec<Place>,
    shared: Shared,
    random: Random,
    /// No start before this, for strategies that restart groups.
    hold: Duration,
    /// Set when it is going down: with what it will finish.
    ending: Option<ExitReason>,
    announced: bool,
    finished: bool,
    now: Duration,
}

struct Place {
    member: Member,
    /// Its first start has not succeeded yet.
    fresh: bool,
    /// To be stopped, when its turn comes.
    doomed: bool,
    /// No start before this, for `one_for_one`.
    hold: Duration,
}

impl Fixed {
    pub(crate) fn new(strategy: Strategy, policy: Policy, members: Vec<Member>, random: Random) -> Self {
        let place = |member| Place { member, fresh: true, doomed: false, hold: Duration::ZERO };
        Self {
            strategy,
            policy,
            places: members.into_iter().map(place).collect(),
            shared: Shared::default(),
            random,
            hold: Duration::ZERO,
            ending: None,
            announced: false,
            finished: false,
            now: Duration::ZERO,
        }
    }

    /// Takes one input; [`Input::Tick`] begins.
    pub(crate) fn on(&mut self, now: Duration, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.now = self.now.max(now);
        match input {
            Input::Ready { key, generation } => self.ready(key, generation, &mut out),
            Input::Down { key, generation, exit } => self.down(key, generation, exit, &mut out),
            Input::Tick => self.tick(&mut out),
            Input::Shutdown(exit) => self.end(exit, &mut out),
        }
        self.advance(&mut out);
        out
    }

    #[cfg(test)]
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// When to come back with a tick.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        let deadlines = self.places.iter().filter_map(|p| p.member.deadline());
        let idle = |p: &&Place| p.member.status == Status::Idle;
        let holds = self.places.iter().filter(idle).map(|p| self.hold_of(p));
        // A hold that is over waits for an event, not for a time.
        deadlines.chain(holds.filter(|at| *at > self.now)).min()
    }

    fn hold_of(&self, place: &Place) -> Duration {
        match self.strategy {
            Strategy::OneForOne => place.hold,
            Strategy::OneForAll | Strategy::RestForOne => self.hold,
        }
    }

    fn place(&mut self, key: Key) -> Option<(usize, &mut Place)> {
        let index = usize::try_from(key).ok()?;
        Some((index, self.places.get_mut(index)?))
    }

    fn ready(&mut self, key: Key, generation: u64, out: &mut Vec<Output>) {
        let now = self.now;
        if let Some((_, place)) = self.place(key)
            && place.member.ready(generation, now)
        {
            place.fresh = false;
            out.push(Output::Report { key, transition: Transition::Ready });
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        for key in (0..).take(self.places.len()) {
            let now = self.now;
            let Some((_, place)) = self.place(key) else {
                continue;
            };
            let generation = place.member.generation;
            match place.member.expire(now) {
                Some(Expired::Kill) => out.push(Output::Kill { key }),
                Some(Expired::GiveUp) => self.down(key, generation, ExitReason::Stuck, out),
                None => {}
            }
        }
    }

    fn down(&mut self, key: Key, generation: u64, exit: ExitReason, out: &mut Vec<Output>) {
        let (now, ending) = (self.now, self.ending.is_some());
        let hold = self.hold;
        let Some((index, place)) = self.place(key) else {
            return;
        };
        let Some(ended) = place.member.down(generation, exit, now) else {
            return;
        };
        let doomed = std::mem::take(&mut place.doomed);
        if ending {
            let transition = Transition::Stopped { exit: ended.exit };
            return out.push(Output::Report { key, transition });
        }
        if doomed && place.member.restart != Restart::Temporary {
            let delay = hold.saturating_sub(now);
            let transition = Transition::Restarting { exit: ended.exit, delay };
            return out.push(Output::Report { key, transition });
        }
        if doomed || !place.member.is_restarted_after(&ended.exit) && !failed_first(place, &ended) {
            return retire(key, place, ended, out);
        }
        if failed_first(place, &ended) {
            let (child, exit) = (place.member.id.clone(), ended.exit);
            let transition = Transition::Stopped { exit: exit.clone() };
            out.push(Output::Report { key, transition });
            return self.end(ExitReason::StartFailed { child, reason: Box::new(exit) }, out);
        }
        self.restart(index, key, ended, out);
    }

    fn restart(&mut self, index: usize, key: Key, ended: Ended, out: &mut Vec<Output>) {
        let now = self.now;
        let too_many = self.shared.too_many(now, &self.policy.intensity);
        let Some(place) = self.places.get_mut(index) else {
            return;
        };
        let own = place.member.history.judge(now, &ended, &self.policy, &mut self.random);
        let delay = match own {
            Verdict::Again(delay) if !too_many => delay,
            Verdict::Again(_) | Verdict::TooMany => {
                let (child, exit) = (place.member.id.clone(), ended.exit);
                place.member.status = Status::Over;
                let transition = Transition::Stopped { exit: exit.clone() };
                out.push(Output::Report { key, transition });
                return self.end(ExitReason::Intensity { child, last: Box::new(exit) }, out);
            }
        };
        let transition = Transition::Restarting { exit: ended.exit, delay };
        out.push(Output::Report { key, transition });
        let until = now.saturating_add(delay);
        place.hold = until;
        self.hold = self.hold.max(until);
        match self.strategy {
            Strategy::OneForOne => {}
            Strategy::OneForAll => self.doom(0),
            Strategy::RestForOne => self.doom(index),
        }
    }

    /// Everything from `first` on goes down with the child that failed, and comes up with it again: as in OTP
    /// also what had finished before, unless it was temporary.
    fn doom(&mut self, first: usize) {
        for place in self.places.iter_mut().skip(first) {
            if place.member.is_alive() {
                place.doomed = true;
            } else if place.member.restart != Restart::Temporary {
                place.member.status = Status::Idle;
            }
        }
    }

    fn end(&mut self, exit: ExitReason, out: &mut Vec<Output>) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        for (key, place) in (0..).zip(&mut self.places) {
            let begun = place.member.generation > 0 && !place.fresh;
            if place.member.is_alive() {
                place.doomed = true;
            } else if begun && place.member.status == Status::Idle {
                // It waited for its restart.
                let exit = place.member.last_exit.clone();
                out.push(Output::Report { key, transition: Transition::Stopped { exit } });
            }
        }
    }

    /// Does what can be done now: the next stop, or else the next starts, or else the last word.
    fn advance(&mut self, out: &mut Vec<Output>) {
        if self.finished {
            return;
        }
        let now = self.now;
        let last_doomed = (0..).zip(&mut self.places).filter(|(_, p)| p.doomed).last();
        if let Some((key, place)) = last_doomed {
            return place.member.stop(key, now, out);
        }
        if let Some(exit) = self.ending.clone() {
            self.finished = true;
            return out.push(Output::Finished(exit));
        }
        while let Some(index) = self.next_start() {
            if let Some((key, place)) = (0..).zip(&mut self.places).nth(index) {
                out.push(place.member.start(key, now));
            }
        }
        let up = |p: &Place| p.member.is_up() || p.member.status == Status::Over;
        if !self.announced && self.places.iter().all(up) {
            self.announced = true;
            out.push(Output::Ready);
        }
    }

    fn next_start(&self) -> Option<usize> {
        match self.strategy {
            Strategy::OneForOne => {
                let is_fresh = |p: &Place| p.fresh && p.member.status != Status::Over;
                let booting = self.places.iter().position(is_fresh);
                self.places.iter().enumerate().position(|(i, place)| {
                    let turn = !place.fresh || booting == Some(i);
                    turn && place.member.status == Status::Idle && place.hold <= self.now
                })
            }
            Strategy::OneForAll | Strategy::RestForOne => {
                let settled = |p: &Place| p.member.is_up() || p.member.status == Status::Over;
                let next = self.places.iter().position(|p| !settled(p))?;
                let idle = self.places.get(next)?.member.status == Status::Idle;
                (idle && self.hold <= self.now).then_some(next)
            }
        }
    }
}

/// Whether it failed before it was ever ready. Ending without complaint is no failure, unless it must run always.
fn failed_first(place: &Place, ended: &Ended) -> bool {
    let complaint = ended.exit.is_abnormal() || place.member.restart == Restart::Permanent;
    place.fresh && !ended.was_ready && complaint
}

/// It is not started again by itself; a temporary one is no member any more.
fn retire(key: Key, place: &mut Place, ended: Ended, out: &mut Vec<Output>) {
    let exit = ended.exit;
    place.member.status = Status::Over;
    place.fresh = false;
    let transition = Transition::Stopped { exit: exit.clone() };
    out.push(Output::Report { key, transition });
    out.push(Output::Close { key, state: NodeState::Stopped, exit });
    if place.member.restart == Restart::Temporary {
        out.push(Output::Forget { key });
    }
}
