//! A stage on virtual time: cores decide, and pretended children play the recorded scripts to them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::trace::{Scenario, Spec, Step, seconds};
use crate::{
    ExitReason, NodeState, Transition,
    core::{
        Fixed, Input, Key, Output, Random, Set,
        tests::{s, world::Core},
    },
};

/// When a supervisor learns of an end that it did not order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// As in OTP: when nothing is starting or stopping. Until then it waits in the mailbox.
    Deaf,
    /// As it happens.
    Listening,
}

/// The path of the root.
const ROOT: &str = "";

pub(super) struct Stage {
    pace: Pace,
    now: Duration,
    began: Duration,
    saw: Vec<String>,
    results: Vec<String>,
    /// What becomes of the next starts, by path: it goes on when a supervisor comes again.
    scripts: BTreeMap<String, VecDeque<String>>,
    supervisors: BTreeMap<String, Desk>,
    /// The children that live, with the numbers of their incarnations.
    living: BTreeMap<String, u64>,
    /// Those that become ready, fail or end by themselves later.
    later: BTreeMap<(Duration, String), Deed>,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Ready,
    Fail,
    End,
}

/// A supervisor with its core.
struct Desk {
    core: Core,
    children: BTreeMap<Key, Spec>,
    generations: BTreeMap<Key, u64>,
    /// Children that were ordered to start or to stop, and have not answered.
    awaited: BTreeSet<Key>,
    answers: VecDeque<Input>,
    mailbox: VecDeque<Input>,
    ready: bool,
    next_key: Key,
}

impl Stage {
    /// Plays a scenario; the steps as they went here.
    pub(super) fn play(scenario: &Scenario, pace: Pace, core: impl FnOnce(&Spec) -> Core) -> Vec<Step> {
        let mut stage = Self {
            pace,
            now: Duration::ZERO,
            began: Duration::ZERO,
            saw: Vec::new(),
            results: Vec::new(),
            scripts: BTreeMap::new(),
            supervisors: BTreeMap::new(),
            living: BTreeMap::new(),
            later: BTreeMap::new(),
        };
        let mut core = Some(core);
        let mut played = Vec::new();
        for step in &scenario.steps {
            stage.now = stage.now.max(s(step.at));
            stage.began = stage.now;
            for deed in &step.deeds {
                match (deed.as_str(), core.take()) {
                    ("begin", Some(core)) => stage.raise(ROOT, &scenario.spec, core(&scenario.spec)),
                    (deed, _) => stage.deed(deed, &scenario.spec),
                }
            }
            stage.settle();
            let over = !stage.supervisors.contains_key(ROOT);
            played.push(Step {
                at: step.at,
                deeds: step.deeds.clone(),
                results: std::mem::take(&mut stage.results),
                saw: std::mem::take(&mut stage.saw),
                left: stage.left(&scenario.spec),
            });
            if over {
                break;
            }
        }
        played
    }

    pub(super) fn fixed(spec: &Spec) -> Core {
        let members = spec.children.iter().map(Spec::member).collect();
        Core::Fixed(Fixed::new(spec.strategy(), spec.policy(), members, Random::new(7)))
    }

    pub(super) fn set(_: &Spec) -> Core {
        Core::Set(Set::new(Random::new(7)))
    }

    fn raise(&mut self, path: &str, spec: &Spec, core: Core) {
        let is_set = matches!(core, Core::Set(_));
        let mut desk = Desk {
            core,
            children: BTreeMap::new(),
            generations: BTreeMap::new(),
            awaited: BTreeSet::new(),
            answers: VecDeque::new(),
            mailbox: VecDeque::new(),
            ready: is_set,
            next_key: 0,
        };
        if !is_set {
            desk.children = (0..).zip(spec.children.iter().cloned()).collect();
        }
        desk.answers.push_back(Input::Tick);
        self.supervisors.insert(path.to_owned(), desk);
        if is_set {
            spec.children.iter().for_each(|child| self.join(child.clone(), spec));
        }
    }

    fn deed(&mut self, deed: &str, spec: &Spec) {
        let (what, id) = deed.split_once(' ').unwrap_or((deed, ""));
        match what {
            "stop" => self.root().mailbox.push_back(Input::Shutdown(ExitReason::Shutdown)),
            "join" => {
                let template = spec.template.as_deref().expect("a template");
                self.join(template.named(id), spec);
            }
            "start" => self.join(spec.children[0].named(id), spec),
            "leave" | "remove" => self.command(id, Set::remove),
            "renew" => self.command(id, Set::restart),
            word => self.end_by_itself(id, word),
        }
    }

    fn root(&mut self) -> &mut Desk {
        self.supervisors.get_mut(ROOT).expect("a root")
    }

    fn join(&mut self, child: Spec, spec: &Spec) {
        let now = self.now;
        let desk = self.root();
        let taken = desk.children.values().any(|c| c.id == child.id);
        if !taken {
            let key = desk.next_key;
            desk.next_key += 1;
            let Core::Set(set) = &mut desk.core else { panic!("not a set") };
            let out = set.add(now, key, child.member(), spec.policy());
            desk.children.insert(key, child);
            self.perform(ROOT, out);
        }
        self.results.push(if taken { "already_present" } else { "ok" }.to_owned());
    }

    fn command(&mut self, id: &str, order: impl FnOnce(&mut Set, Duration, Key) -> Vec<Output>) {
        let now = self.now;
        let desk = self.root();
        let key = desk.children.iter().find(|(_, child)| child.id == id).map(|(key, _)| *key);
        if let Some(key) = key {
            let Core::Set(set) = &mut desk.core else { panic!("not a set") };
            let out = order(set, now, key);
            self.perform(ROOT, out);
            self.settle();
        }
        self.results.push(if key.is_some() { "ok" } else { "not_found" }.to_owned());
    }

    /// A child ends without having been asked, when it lives.
    fn end_by_itself(&mut self, path: &str, word: &str) {
        if let Some(down) = self.gone(path, word) {
            let (above, _) = parent_of(path);
            let desk = self.supervisors.get_mut(above).expect("a supervisor of the living");
            match self.pace {
                Pace::Deaf => desk.mailbox.push_back(down),
                Pace::Listening => desk.answers.push_back(down),
            }
        }
    }

    /// Takes it from the living; what its supervisor is told.
    fn gone(&mut self, path: &str, word: &str) -> Option<Input> {
        let generation = self.living.remove(path)?;
        let word = if word == "kill" { "killed" } else { word };
        self.note(format!("end {path} {word}"));
        let exit = match word {
            "normal" => ExitReason::Normal,
            "shutdown" | "shutdown_x" => ExitReason::Shutdown,
            "killed" => ExitReason::Killed,
            other => ExitReason::Error(other.to_owned()),
        };
        self.later.retain(|(_, whose), _| whose != path);
        Some(Input::Down { key: self.key(path), generation, exit })
    }

    fn key(&self, path: &str) -> Key {
        let (above, id) = parent_of(path);
        let children = &self.supervisors[above].children;
        *children.iter().find(|(_, child)| child.id == id).expect("a child").0
    }

    fn note(&mut self, text: String) {
        let late = (self.now - self.began).as_secs();
        self.saw.push(if late > 0 { format!("{text} +{late}") } else { text });
    }

    /// Until nothing is under way.
    fn settle(&mut self) {
        loop {
            if let Some((path, input)) = self.next_input() {
                self.tell(&path, input);
            } else if self.supervisors.values().any(|desk| !desk.awaited.is_empty()) {
                self.pass();
            } else {
                return;
            }
        }
    }

    /// Answers first, from the lowest supervisor up; then mail, for those that wait for nothing.
    fn next_input(&mut self) -> Option<(String, Input)> {
        for (path, desk) in self.supervisors.iter_mut().rev() {
            if let Some(input) = desk.answers.pop_front() {
                return Some((path.clone(), input));
            }
        }
        for (path, desk) in self.supervisors.iter_mut().rev() {
            if desk.awaited.is_empty()
                && let Some(input) = desk.mailbox.pop_front()
            {
                return Some((path.clone(), input));
            }
        }
        None
    }

    /// To the next moment at which something happens by itself.
    fn pass(&mut self) {
        let wakes: Vec<_> = self.supervisors.iter().filter_map(|(p, d)| Some((d.next_wake()?, p.clone()))).collect();
        let deed = self.later.first_key_value().map(|((at, _), _)| *at);
        let wake = wakes.iter().min().cloned();
        match (deed, wake) {
            (Some(at), Some((wake, path))) if wake < at => self.tick(wake, path),
            (Some(at), _) => {
                self.now = self.now.max(at);
                let ((_, path), deed) = self.later.pop_first().expect("the first");
                self.come(&path, deed);
            }
            (None, Some((wake, path))) => self.tick(wake, path),
            (None, None) => panic!("waits for nothing: {:?}", self.saw),
        }
    }

    fn tick(&mut self, at: Duration, path: String) {
        self.now = self.now.max(at);
        self.tell(&path, Input::Tick);
    }

    fn come(&mut self, path: &str, deed: Deed) {
        match deed {
            Deed::Ready => self.answer_ready(path),
            Deed::Fail => self.fail(path, ExitReason::Error("crash".into())),
            Deed::End => {
                let down = self.gone(path, "shutdown").expect("it lives");
                self.answer(path, down);
            }
        }
    }

    fn tell(&mut self, path: &str, input: Input) {
        let now = self.now;
        let Some(desk) = self.supervisors.get_mut(path) else { return };
        let out = match &mut desk.core {
            Core::Fixed(fixed) => fixed.on(now, input),
            Core::Set(set) => set.on(now, input),
        };
        self.perform(path, out);
    }

    fn perform(&mut self, path: &str, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Start { key, generation } => self.start(path, key, generation),
                Output::Stop { key } => self.stop(path, key),
                Output::Kill { key } => self.kill(path, key),
                Output::Ready => self.supervisor_ready(path),
                Output::Finished(exit) => self.supervisor_over(path, &exit),
                Output::Forget { key } => drop(self.desk(path).children.remove(&key)),
                Output::Report { transition: Transition::Parked { state, .. }, .. } => self.parked(state),
                Output::Report { .. } | Output::Close { .. } => {}
            }
        }
    }

    fn desk(&mut self, path: &str) -> &mut Desk {
        self.supervisors.get_mut(path).expect("a supervisor")
    }

    fn child(&mut self, path: &str, key: Key) -> (String, Spec) {
        let child = self.desk(path).children[&key].clone();
        (below(path, &child.id), child)
    }

    fn start(&mut self, above: &str, key: Key, generation: u64) {
        let (path, spec) = self.child(above, key);
        let desk = self.desk(above);
        desk.awaited.insert(key);
        desk.generations.insert(key, generation);
        self.note(format!("start {path}"));
        let script = self.scripts.entry(path.clone()).or_insert_with(|| spec.starts.iter().cloned().collect());
        let turn = script.pop_front().unwrap_or_else(|| "ok".into());
        let before = self.living.insert(path.clone(), generation);
        assert_eq!(before, None, "two of {path}");
        match turn.split_once(' ').unwrap_or((&turn, "")) {
            ("ok", _) if spec.strategy.is_some() => self.raise(&path, &spec, Self::fixed(&spec)),
            ("ok", _) => self.answer_ready(&path),
            // There is nothing to be ready: it ends without complaint.
            ("ignore", _) => self.never_was(&path, ExitReason::Normal),
            ("fail", "") => self.fail(&path, ExitReason::Error("crash".into())),
            ("fail", "normal") => self.fail(&path, ExitReason::Normal),
            ("slow", n) => drop(self.later.insert((self.now + seconds(n), path), Deed::Ready)),
            ("slow_fail", n) => drop(self.later.insert((self.now + seconds(n), path), Deed::Fail)),
            other => panic!("no turn: {other:?}"),
        }
    }

    fn answer_ready(&mut self, path: &str) {
        let (above, _) = parent_of(path);
        let (key, generation) = (self.key(path), self.living[path]);
        let desk = self.desk(above);
        desk.awaited.remove(&key);
        desk.answers.push_back(Input::Ready { key, generation });
    }

    fn fail(&mut self, path: &str, exit: ExitReason) {
        self.note(format!("fail {path}"));
        self.never_was(path, exit);
    }

    /// A failed restart is tried again, in OTP by a message to itself: what is in the mailbox comes first.
    fn never_was(&mut self, path: &str, exit: ExitReason) {
        let (above, _) = parent_of(path);
        let (key, generation) = (self.key(path), self.living.remove(path).expect("begun"));
        let deaf = self.pace == Pace::Deaf;
        let desk = self.desk(above);
        desk.awaited.remove(&key);
        let down = Input::Down { key, generation, exit };
        if deaf && desk.ready { desk.mailbox.push_back(down) } else { desk.answers.push_back(down) }
    }

    /// It did what was ordered.
    fn answer(&mut self, path: &str, down: Input) {
        let (above, _) = parent_of(path);
        let key = self.key(path);
        let desk = self.desk(above);
        desk.awaited.remove(&key);
        desk.answers.push_back(down);
    }

    fn stop(&mut self, above: &str, key: Key) {
        let (path, spec) = self.child(above, key);
        if self.was_dead(above, key) {
            return;
        }
        self.desk(above).awaited.insert(key);
        if spec.strategy.is_some() {
            return self.desk(&path).mailbox.push_back(Input::Shutdown(ExitReason::Shutdown));
        }
        let word = match spec.stop.split_once(' ').unwrap_or((&spec.stop, "")) {
            ("obey", _) => "shutdown",
            ("other", _) => "crash",
            ("quiet", _) => "normal",
            ("ignore", _) => return,
            ("late", n) => {
                self.later.insert((self.now + seconds(n), path), Deed::End);
                return;
            }
            ("takes", id) => {
                self.end_by_itself(id, "crash");
                "shutdown"
            }
            other => panic!("no way to stop: {other:?}"),
        };
        let down = self.gone(&path, word).expect("it lives");
        self.answer(&path, down);
    }

    fn kill(&mut self, above: &str, key: Key) {
        let (path, spec) = self.child(above, key);
        assert!(spec.strategy.is_none(), "no scenario kills a supervisor");
        if !self.was_dead(above, key) {
            let down = self.gone(&path, "killed").expect("it lives");
            self.answer(&path, down);
        }
    }

    /// One that had ended before the order: its supervisor finds the news when it waits for the end.
    fn was_dead(&mut self, above: &str, key: Key) -> bool {
        let (path, _) = self.child(above, key);
        if self.living.contains_key(&path) {
            return false;
        }
        let desk = self.desk(above);
        let of_it = |input: &Input| matches!(input, Input::Down { key: k, .. } if *k == key);
        if let Some(at) = desk.mailbox.iter().position(of_it) {
            let down = desk.mailbox.remove(at).expect("there");
            desk.answers.push_back(down);
        }
        assert!(desk.answers.iter().any(of_it), "an order to {path}, whose end was told");
        true
    }

    fn supervisor_ready(&mut self, path: &str) {
        self.desk(path).ready = true;
        if path != ROOT {
            self.answer_ready(path);
        }
    }

    fn supervisor_over(&mut self, path: &str, exit: &ExitReason) {
        let desk = self.supervisors.remove(path).expect("a supervisor");
        match (path, exit) {
            (ROOT, ExitReason::StartFailed { child, .. }) => self.note(format!("over failed {child}")),
            (ROOT, _) => self.note(format!("over {}", word_of(exit))),
            (_, ExitReason::StartFailed { .. }) => self.fail(path, exit.clone()),
            _ => {
                assert!(desk.ready);
                self.note(format!("end {path} {}", word_of(exit)));
                let (above, _) = parent_of(path);
                let (key, generation) = (self.key(path), self.living.remove(path).expect("it lives"));
                let down = Input::Down { key, generation, exit: exit.clone() };
                let desk = self.desk(above);
                let ordered = desk.awaited.remove(&key);
                if ordered { desk.answers.push_back(down) } else { desk.mailbox.push_back(down) }
            }
        }
    }

    /// In OTP it would be a supervisor of this one child that gives up.
    fn parked(&mut self, state: NodeState) {
        assert_eq!(state, NodeState::Crashed);
        self.note("over shutdown".into());
    }

    fn left(&self, spec: &Spec) -> Vec<String> {
        let Some(root) = self.supervisors.get(ROOT) else { return Vec::new() };
        let is_up = |child: &&Spec| self.living.contains_key(&child.id);
        if spec.is_set() {
            return root.children.values().filter(is_up).map(|_| "up".to_owned()).collect();
        }
        let line = |child: &Spec| format!("{} {}", child.id, if is_up(&child) { "up" } else { "down" });
        root.children.values().map(line).collect()
    }
}

impl Desk {
    fn next_wake(&self) -> Option<Duration> {
        match &self.core {
            Core::Fixed(fixed) => fixed.next_wake(),
            Core::Set(set) => set.next_wake(),
        }
    }
}

/// In OTP a supervisor that gives up ends with `shutdown`.
fn word_of(exit: &ExitReason) -> &'static str {
    match exit {
        ExitReason::Shutdown | ExitReason::Intensity { .. } => "shutdown",
        other => panic!("no end of a supervisor: {other}"),
    }
}

fn below(path: &str, id: &str) -> String {
    if path == ROOT { id.to_owned() } else { format!("{path}/{id}") }
}

fn parent_of(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or((ROOT, path))
}
