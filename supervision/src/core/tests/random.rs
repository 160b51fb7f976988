//! Random histories on virtual time. The world itself refuses two incarnations at once, orders to the dead,
//! generations that go back, and anything after the end; here is what depends on the strategy.

use std::{collections::BTreeSet, time::Duration};

use proptest::{
    prelude::{Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
    strategy::Strategy as Generator,
};

use super::{policy, s, world::*};
use crate::{
    Backoff, ExitReason, Restart, Strategy,
    core::{Input, Key, Policy},
};

#[derive(Debug, Clone)]
enum Step {
    Ready(Key),
    Down(Key, ExitReason),
    OldDown(Key),
    Pass(u64),
    /// Of sets only.
    Add(Key, Restart),
    Remove(Key),
    Restart(Key),
}

const CHILDREN: Key = 4;

fn exit() -> impl Generator<Value = ExitReason> {
    prop_oneof![
        2 => Just(ExitReason::Normal),
        1 => Just(ExitReason::Shutdown),
        4 => Just(crash()),
        1 => Just(ExitReason::Killed),
    ]
}

fn restart() -> impl Generator<Value = Restart> {
    prop_oneof![
        3 => Just(Restart::Permanent),
        1 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
    ]
}

fn step() -> impl Generator<Value = Step> {
    prop_oneof![
        8 => (0..CHILDREN).prop_map(Step::Ready),
        4 => (0..CHILDREN, exit()).prop_map(|(key, exit)| Step::Down(key, exit)),
        1 => (0..CHILDREN).prop_map(Step::OldDown),
        3 => (0_u64..20_000).prop_map(Step::Pass),
        2 => (0..CHILDREN, restart()).prop_map(|(key, restart)| Step::Add(key, restart)),
        1 => (0..CHILDREN).prop_map(Step::Remove),
        1 => (0..CHILDREN).prop_map(Step::Restart),
    ]
}

fn policies() -> impl Generator<Value = Policy> {
    (0_u32..6, 1_u64..60, 0_u64..3, 0.0..1.0).prop_map(|(n, within, first, jitter)| Policy {
        backoff: Backoff { first: s(first), max: s(first * 4), jitter, stable: s(20) },
        ..policy(n, within)
    })
}

fn strategy() -> impl Generator<Value = Strategy> {
    prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne),]
}

/// Lets everything that was asked to stop do so, or be killed, until the end.
fn wind_down(world: &mut World, obedient: bool) {
    world.shutdown();
    for _ in 0..100 {
        if world.finished.is_some() {
            return;
        }
        let asked: Vec<_> = world.asked.keys().copied().collect();
        for key in asked {
            if obedient {
                world.down(key, ExitReason::Normal);
            }
        }
        if let Some(at) = world.next_wake() {
            world.now = world.now.max(at);
            world.tick();
        }
    }
    panic!("does not end: {:?}", world.log);
}

/// The children the last input ordered to stop, in that order, with what was alive above each at that time.
fn check_stops(strategy: Strategy, before: &BTreeSet<Key>, news: &[String], ending: bool) {
    for line in news {
        let Some(key) = line.strip_prefix("stop ").and_then(|k| k.parse::<Key>().ok()) else {
            continue;
        };
        assert!(ending || strategy != Strategy::OneForOne, "{strategy} stopped a sibling: {news:?}");
        let above = before.range(key + 1..).next();
        assert_eq!(above, None, "{strategy} stopped {key} before the later {above:?}");
    }
}

/// What must be up when `key` is started.
fn check_starts(strategy: Strategy, up_once: &BTreeSet<Key>, world: &World, news: &[String]) {
    for line in news {
        let Some(key) = line.strip_prefix("start ").and_then(|k| k.parse::<Key>().ok()) else {
            continue;
        };
        for lower in 0..key {
            let boot = !up_once.contains(&key) && !up_once.contains(&lower);
            let starting = world.living.get(&lower).is_some_and(|l| !l.ready);
            let group = strategy != Strategy::OneForOne;
            assert!(!(starting && (group || boot)), "{key} started before {lower} was ready");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn a_static_supervisor_keeps_its_rules(
        strategy in strategy(),
        policy in policies(),
        restarts in prop::collection::vec(restart(), 1..=CHILDREN as usize),
        steps in prop::collection::vec(step(), 0..80),
        obedient in any::<bool>(),
    ) {
        let mut world = World::fixed(strategy, policy, &restarts);
        let mut up_once = BTreeSet::new();
        world.tick();
        for step in steps {
            let marker = world.log.len();
            let gone = match &step {
                Step::Down(key, _) => Some(*key),
                _ => None,
            };
            match step {
                Step::Ready(key) => world.ready(key),
                Step::Down(key, exit) => world.down(key, exit),
                Step::OldDown(key) => world.input(Input::Down { key, generation: 0, exit: crash() }),
                Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
                Step::Add(..) | Step::Remove(_) | Step::Restart(_) => {}
            }
            let news: Vec<_> = world.log[marker..].to_vec();
            let given_up = news.iter().any(|line| line.starts_with("gave up"));
            let alive: BTreeSet<_> = world.living.keys().copied().filter(|k| Some(*k) != gone).collect();
            let started = news.iter().any(|line| line.starts_with("start"));
            let ending = strategy != Strategy::OneForOne || is_ending(&world);
            if !given_up && !started {
                check_stops(strategy, &alive, &news, ending);
            }
            check_starts(strategy, &up_once, &world, &news);
            up_once.extend(world.living.iter().filter(|(_, l)| l.ready).map(|(k, _)| *k));
            if world.finished.is_some() {
                break;
            }
        }
        if world.finished.is_none() {
            wind_down(&mut world, obedient);
        }
        prop_assert!(world.living.is_empty());
    }

    #[test]
    fn a_set_keeps_its_rules(
        policies in prop::collection::vec(policies(), CHILDREN as usize),
        steps in prop::collection::vec(step(), 0..80),
        obedient in any::<bool>(),
    ) {
        let mut world = World::set();
        let mut there = BTreeSet::new();
        // The loop gives each addition a key of its own.
        let mut keys: Vec<Key> = (0..CHILDREN).collect();
        for step in steps {
            let marker = world.log.len();
            match step {
                Step::Ready(i) => world.ready(keys[i as usize]),
                Step::Down(i, exit) => world.down(keys[i as usize], exit),
                Step::OldDown(i) => {
                    let key = keys[i as usize];
                    world.input(Input::Down { key, generation: 0, exit: crash() });
                }
                Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
                Step::Add(i, restart) => {
                    if !there.contains(&keys[i as usize]) {
                        keys[i as usize] += CHILDREN;
                        there.insert(keys[i as usize]);
                        world.add(keys[i as usize], restart, policies[i as usize]);
                    }
                }
                Step::Remove(i) => world.remove(keys[i as usize]),
                Step::Restart(i) => world.restart(keys[i as usize]),
            }
            for line in &world.log[marker..] {
                if let Some(key) = line.strip_prefix("forget ") {
                    let key = key.parse().unwrap();
                    prop_assert!(there.remove(&key), "forgot {key} twice");
                    prop_assert!(!world.living.contains_key(&key));
                }
            }
            prop_assert!(world.living.keys().all(|key| there.contains(key)));
            prop_assert!(world.parked.keys().all(|key| !world.living.contains_key(key)));
        }
        wind_down(&mut world, obedient);
    }

    /// Children that are ready at once and crash at random moments: the verdict is that of a model which
    /// looks through the whole history each time.
    #[test]
    fn the_intensity_is_that_of_a_naive_model(
        max_restarts in 0_u32..6,
        within in 1_u64..30,
        crashes in prop::collection::vec((0..2_u64, 0_u64..10), 1..60),
        dynamic in any::<bool>(),
    ) {
        let mut world = if dynamic {
            let mut world = World::set();
            (0..2).for_each(|key| world.add(key, Restart::Permanent, policy(max_restarts, within)));
            (0..2).for_each(|key| world.ready(key));
            world
        } else {
            World::up(Strategy::OneForOne, policy(max_restarts, within), &[Restart::Permanent; 2])
        };
        let mut history: Vec<(Key, Duration)> = Vec::new();
        for (key, gap) in crashes {
            world.pass(s(gap));
            history.push((key, world.now));
            world.down(key, crash());
            let counts = |(k, at): &&(Key, Duration)| {
                (!dynamic || *k == key) && world.now - *at <= s(within)
            };
            let too_many = history.iter().filter(counts).count() > max_restarts as usize;
            let given_up = if dynamic { world.parked.contains_key(&key) } else { is_ending(&world) };
            prop_assert_eq!(given_up, too_many, "{:?} at {:?}", &history, world.now);
            if too_many {
                break;
            }
            world.ready(key);
        }
    }
}

fn is_ending(world: &World) -> bool {
    match &world.core {
        Core::Fixed(fixed) => fixed.is_ending(),
        Core::Set(set) => set.is_ending(),
    }
}
