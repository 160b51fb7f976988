//! A world of pretended children that does what a core decides, and refuses what must never be decided.

use std::{collections::BTreeMap, time::Duration};

use super::super::{Fixed, Input, Key, Member, Output, Policy, Random, Set};
use crate::{Child, ChildId, ChildSpec, ExitReason, NodeState, Restart, Shutdown, Strategy, Transition};

pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(5);

pub(super) enum Core {
    Fixed(Fixed),
    Set(Set),
}

pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Duration,
    pub(super) living: BTreeMap<Key, Living>,
    generations: BTreeMap<Key, u64>,
    pub(super) asked: BTreeMap<Key, bool>,
    pub(super) log: Vec<String>,
    pub(super) finished: Option<ExitReason>,
    pub(super) ready: bool,
    pub(super) parked: BTreeMap<Key, NodeState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Living {
    pub(super) generation: u64,
    pub(super) ready: bool,
}

pub(super) fn member(key: Key, restart: Restart) -> Member {
    let name = format!("c{key}");
    let spec = ChildSpec::new(name.clone())
        .restart(restart)
        .start_timeout(START_TIMEOUT)
        .shutdown(Shutdown::Deadline(STOP_DEADLINE));
    let child = Child::task(spec, |_| async { ExitReason::Normal });
    Member::new(ChildId::try_from(name).unwrap(), &child, 0)
}

pub(super) fn crash() -> ExitReason {
    ExitReason::Error("crash".into())
}

impl World {
    pub(super) fn new(core: Core) -> Self {
        Self {
            core,
            now: Duration::ZERO,
            living: BTreeMap::new(),
            generations: BTreeMap::new(),
            asked: BTreeMap::new(),
            log: Vec::new(),
            finished: None,
            ready: false,
            parked: BTreeMap::new(),
        }
    }

    pub(super) fn fixed(strategy: Strategy, policy: Policy, restarts: &[Restart]) -> Self {
        let members = (0..).zip(restarts).map(|(key, restart)| member(key, *restart)).collect();
        Self::new(Core::Fixed(Fixed::new(strategy, policy, members, Random::new(7))))
    }

    /// A fixed one with everything up and an empty log.
    pub(super) fn up(strategy: Strategy, policy: Policy, restarts: &[Restart]) -> Self {
        let mut world = Self::fixed(strategy, policy, restarts);
        world.tick();
        for key in 0..restarts.len() as Key {
            world.ready(key);
        }
        assert!(world.ready, "{:?}", world.log);
        world.log.clear();
        world
    }

    pub(super) fn set() -> Self {
        Self::new(Core::Set(Set::new(Random::new(7))))
    }

    pub(super) fn add(&mut self, key: Key, restart: Restart, policy: Policy) {
        let Core::Set(set) = &mut self.core else { panic!("not a set") };
        let out = set.add(self.now, key, member(key, restart), policy);
        self.perform(out);
    }

    pub(super) fn remove(&mut self, key: Key) {
        let Core::Set(set) = &mut self.core else { panic!("not a set") };
        let out = set.remove(self.now, key);
        self.perform(out);
    }

    pub(super) fn restart(&mut self, key: Key) {
        let Core::Set(set) = &mut self.core else { panic!("not a set") };
        let out = set.restart(self.now, key);
        self.perform(out);
    }

    pub(super) fn input(&mut self, input: Input) {
        let out = match &mut self.core {
            Core::Fixed(fixed) => fixed.on(self.now, input),
            Core::Set(set) => set.on(self.now, input),
        };
        self.perform(out);
    }

    pub(super) fn tick(&mut self) {
        self.input(Input::Tick);
    }

    pub(super) fn ready(&mut self, key: Key) {
        let Some(living) = self.living.get(&key).copied() else {
            return;
        };
        self.input(Input::Ready { key, generation: living.generation });
    }

    pub(super) fn down(&mut self, key: Key, exit: ExitReason) {
        let Some(living) = self.living.remove(&key) else {
            return;
        };
        self.input(Input::Down { key, generation: living.generation, exit });
    }

    pub(super) fn shutdown(&mut self) {
        self.input(Input::Shutdown(ExitReason::Shutdown));
    }

    pub(super) fn next_wake(&self) -> Option<Duration> {
        match &self.core {
            Core::Fixed(fixed) => fixed.next_wake(),
            Core::Set(set) => set.next_wake(),
        }
    }

    /// Lets time pass, with a tick at each moment the core asks for.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_wake().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.tick();
        }
        self.now = end;
    }

    pub(super) fn take_log(&mut self) -> String {
        std::mem::take(&mut self.log).join(", ")
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            assert_eq!(self.finished, None, "decided after the end: {output:?}");
            self.one(output);
        }
    }

    fn one(&mut self, output: Output) {
        match output {
            Output::Start { key, generation } => {
                let living = Living { generation, ready: false };
                let before = self.living.insert(key, living);
                assert_eq!(before, None, "two incarnations of {key} at once");
                let last = self.generations.insert(key, generation).unwrap_or(0);
                assert!(generation > last, "generation {generation} of {key} after {last}");
                self.parked.remove(&key);
                self.asked.remove(&key);
                self.log.push(format!("start {key}"));
            }
            Output::Stop { key } => {
                assert!(self.living.contains_key(&key), "asks the dead {key} to stop");
                self.asked.insert(key, false);
                self.log.push(format!("stop {key}"));
            }
            Output::Kill { key } => {
                assert!(self.living.contains_key(&key), "kills the dead {key}");
                self.asked.insert(key, true);
                self.log.push(format!("kill {key}"));
            }
            Output::Report { key, transition } => self.reported(key, transition),
            Output::Close { .. } => {}
            Output::Forget { key } => self.log.push(format!("forget {key}")),
            Output::Ready => {
                assert!(!std::mem::replace(&mut self.ready, true), "ready twice");
                self.log.push("ready".into());
            }
            Output::Finished(exit) => {
                assert!(self.living.is_empty(), "finished with {:?} alive", self.living);
                self.log.push(format!("finished: {exit}"));
                self.finished = Some(exit);
            }
        }
    }

    fn reported(&mut self, key: Key, transition: Transition) {
        match transition {
            Transition::Ready => self.living.get_mut(&key).expect("alive").ready = true,
            Transition::Restarting { exit: ExitReason::Stuck, .. }
            | Transition::Stopped { exit: ExitReason::Stuck } => {
                self.living.remove(&key);
                self.log.push(format!("gave up {key}"));
            }
            Transition::Parked { state, exit } => {
                self.living.remove(&key);
                self.parked.insert(key, state);
                self.log.push(format!("parked {key} {state}: {exit}"));
            }
            Transition::Restarting { .. } | Transition::Stopped { .. } => {
                assert!(!self.living.contains_key(&key), "{key} is said to be down");
            }
            Transition::Starting | Transition::Stopping => {}
        }
    }
}
