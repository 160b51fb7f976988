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
    open::Open,
};
use crate::{ExitReason, NodeState, Restart, Strategy, Transition};

pub(crate) struct Fixed {
    strategy: Strategy,
    policy: Policy,
    places: Vec<Place>,
    open: Open,
    /// The first whose first start has not succeeded yet.
    booting: usize,
    shared: Shared,
    random: Random,
    /// No start before this, for strategies that restart groups: the latest of all holds.
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
        let open = Open::of(members.len());
        Self {
            strategy,
            policy,
            places: members.into_iter().map(place).collect(),
            open,
            booting: 0,
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
        let deadlines = self.open.moving.iter().filter_map(|i| self.places.get(*i)?.member.deadline());
        deadlines.chain(self.next_hold()).min()
    }

    /// A hold that is over waits for an event, not for a time.
    fn next_hold(&self) -> Option<Duration> {
        if self.hold <= self.now {
            return None;
        }
        let open = self.open.unsettled.iter().filter_map(|i| self.places.get(*i));
        let idle = open.filter(|p| p.member.status == Status::Idle);
        idle.map(|p| self.hold_of(p)).filter(|at| *at > self.now).min()
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
            self.look_at(key);
        }
    }

    fn tick(&mut self, out: &mut Vec<Output>) {
        let moving: Vec<_> = self.open.moving.iter().filter_map(|i| Key::try_from(*i).ok()).collect();
        for key in moving {
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
        self.ended(key, generation, exit, out);
        self.look_at(key);
    }

    fn ended(&mut self, key: Key, generation: u64, exit: ExitReason, out: &mut Vec<Output>) {
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
        for (index, place) in self.places.iter_mut().enumerate().skip(first) {
            if place.member.is_alive() {
                place.doomed = true;
            } else if place.member.restart != Restart::Temporary {
                place.member.status = Status::Idle;
            }
            self.open.note(index, &place.member, place.doomed);
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
        self.places.iter().enumerate().for_each(|(index, place)| self.open.note(index, &place.member, place.doomed));
    }

    /// Does what can be done now: the next stop, or else the next starts, or else the last word.
    fn advance(&mut self, out: &mut Vec<Output>) {
        if self.finished {
            return;
        }
        let now = self.now;
        if let Some(last) = self.open.doomed.last().copied() {
            return self.act(last, |key, member| member.stop(key, now, out));
        }
        if let Some(exit) = self.ending.clone() {
            self.finished = true;
            return out.push(Output::Finished(exit));
        }
        while let Some(index) = self.next_start() {
            self.act(index, |key, member| out.push(member.start(key, now)));
        }
        if !self.announced && self.open.unsettled.is_empty() {
            self.announced = true;
            out.push(Output::Ready);
        }
    }

    /// Gives an order to a child.
    fn act(&mut self, index: usize, order: impl FnOnce(Key, &mut Member)) {
        if let Ok(key) = Key::try_from(index)
            && let Some(place) = self.places.get_mut(index)
        {
            order(key, &mut place.member);
            self.open.note(index, &place.member, place.doomed);
        }
    }

    /// Something happened to a child.
    fn look_at(&mut self, key: Key) {
        if let Ok(index) = usize::try_from(key)
            && let Some(place) = self.places.get(index)
        {
            self.open.note(index, &place.member, place.doomed);
        }
        while self.places.get(self.booting).is_some_and(|place| !place.fresh) {
            self.booting += 1;
        }
    }

    fn next_start(&self) -> Option<usize> {
        let can = |place: &Place| place.member.status == Status::Idle && self.hold_of(place) <= self.now;
        let next = match self.strategy {
            // Those after the one that boots wait for it.
            Strategy::OneForOne => {
                let turns = self.open.unsettled.range(..=self.booting);
                return turns.copied().find(|i| self.places.get(*i).is_some_and(can));
            }
            Strategy::OneForAll | Strategy::RestForOne => *self.open.unsettled.first()?,
        };
        self.places.get(next).is_some_and(can).then_some(next)
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
