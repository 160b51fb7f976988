//! One line each: the strategy, what happens, what is decided.

use super::{policy, s, world::*};
use crate::{
    Backoff, ExitReason, Intensity, MAX_RESTARTS, NodeState,
    Restart::{self, Permanent, Temporary, Transient},
    Strategy::{self, OneForAll, OneForOne, RestForOne},
    core::Policy,
};

const THREE: [Restart; 3] = [Permanent; 3];

#[test]
fn children_start_in_order_each_when_the_last_is_ready() {
    for strategy in [OneForOne, OneForAll, RestForOne] {
        let mut world = World::fixed(strategy, policy(1, 5), &THREE);
        world.tick();
        assert_eq!(world.take_log(), "start 0");
        world.ready(0);
        assert_eq!(world.take_log(), "start 1");
        world.ready(1);
        world.ready(2);
        assert_eq!(world.take_log(), "start 2, ready");
    }
}

#[test]
fn a_failed_first_start_takes_the_others_down_in_reverse() {
    let mut world = World::fixed(OneForOne, policy(9, 5), &THREE);
    world.tick();
    world.ready(0);
    world.ready(1);
    world.log.clear();
    world.down(2, crash());
    assert_eq!(world.take_log(), "stop 1");
    world.down(1, ExitReason::Normal);
    world.down(0, ExitReason::Normal);
    assert_eq!(world.take_log(), "stop 0, finished: c2 did not start: error: crash");
}

/// What a crash of the middle one of three leads to, when everything that is asked to stop does.
fn after_crash_of_1(strategy: Strategy, restarts: &[Restart]) -> String {
    let mut world = World::up(strategy, policy(3, 60), restarts);
    world.down(1, crash());
    for _ in 0..restarts.len() {
        for key in world.asked.keys().copied().collect::<Vec<_>>() {
            world.asked.remove(&key);
            world.down(key, ExitReason::Normal);
        }
        (0..3).for_each(|key| world.ready(key));
    }
    world.take_log()
}

#[test]
fn each_strategy_restarts_what_it_names() {
    for (strategy, restarts, decided) in [
        (OneForOne, THREE, "start 1"),
        (RestForOne, THREE, "stop 2, start 1, start 2"),
        (OneForAll, THREE, "stop 2, stop 0, start 0, start 1, start 2"),
        (OneForAll, [Permanent, Permanent, Temporary], "stop 2, forget 2, stop 0, start 0, start 1"),
        (OneForAll, [Permanent, Transient, Permanent], "stop 2, stop 0, start 0, start 1, start 2"),
        (OneForAll, [Permanent, Temporary, Permanent], "forget 1"),
    ] {
        assert_eq!(after_crash_of_1(strategy, &restarts), decided, "{strategy} {restarts:?}");
    }
}

#[test]
fn the_restart_type_decides_by_the_reason() {
    for (restart, exit, decided) in [
        (Permanent, ExitReason::Normal, "start 0"),
        (Permanent, crash(), "start 0"),
        (Transient, ExitReason::Normal, ""),
        (Transient, ExitReason::Shutdown, ""),
        (Transient, ExitReason::Panic("p".into()), "start 0"),
        (Transient, ExitReason::Killed, "start 0"),
        (Temporary, crash(), "forget 0"),
    ] {
        let mut world = World::up(OneForOne, policy(1, 5), &[restart]);
        world.down(0, exit.clone());
        assert_eq!(world.take_log(), decided, "{restart} {exit}");
    }
}

#[test]
fn a_finished_transient_child_comes_back_with_its_group() {
    let mut world = World::up(OneForAll, policy(1, 5), &[Transient, Permanent]);
    world.down(0, ExitReason::Normal);
    world.down(1, crash());
    assert_eq!(world.take_log(), "start 0");
}

#[test]
fn above_the_intensity_the_rest_stops_in_reverse() {
    let mut world = World::up(OneForOne, policy(1, 5), &THREE);
    world.down(0, crash());
    world.ready(0);
    world.pass(s(5));
    world.down(1, crash());
    assert_eq!(world.take_log(), "start 0, stop 2");
    world.down(2, ExitReason::Normal);
    world.down(0, ExitReason::Normal);
    assert_eq!(world.take_log(), "stop 0, finished: too many restarts, the last of c1: error: crash");
}

#[test]
fn a_restart_that_left_the_window_does_not_count() {
    let mut world = World::up(OneForOne, policy(1, 5), &[Permanent]);
    world.down(0, crash());
    world.ready(0);
    world.pass(s(5) + s(1));
    world.down(0, crash());
    assert_eq!(world.take_log(), "start 0, start 0");
}

#[test]
fn a_failed_restart_is_one_more_restart_and_is_tried_again() {
    let mut world = World::up(RestForOne, policy(2, 60), &THREE);
    world.down(1, crash());
    world.down(2, ExitReason::Normal);
    world.down(1, crash());
    assert_eq!(world.take_log(), "stop 2, start 1, start 1");
    world.down(1, crash());
    assert_eq!(world.take_log(), "stop 0");
}

#[test]
fn unlimited_restarts_are_never_too_many() {
    let policy = Policy { intensity: Intensity::UNLIMITED, backoff: Backoff::NONE };
    let (mut fixed, mut set) = (World::up(OneForOne, policy, &[Permanent]), World::set());
    set.add(0, Permanent, policy);
    for world in [&mut fixed, &mut set] {
        for _ in 0..2 * MAX_RESTARTS {
            world.down(0, crash());
        }
        assert!(world.living.contains_key(&0) && world.parked.is_empty() && world.finished.is_none());
    }
}

#[test]
fn old_news_is_no_news() {
    let mut world = World::up(OneForOne, policy(1, 5), &[Permanent]);
    world.down(0, crash());
    world.log.clear();
    world.input(crate::core::Input::Down { key: 0, generation: 1, exit: crash() });
    world.input(crate::core::Input::Ready { key: 0, generation: 1 });
    world.input(crate::core::Input::Down { key: 9, generation: 1, exit: crash() });
    assert_eq!(world.take_log(), "");
    assert!(!world.living[&0].ready);
}

#[test]
fn a_stop_has_a_deadline_and_a_kill_a_grace() {
    let mut world = World::up(OneForOne, policy(1, 5), &[Permanent; 2]);
    world.shutdown();
    world.pass(STOP_DEADLINE - s(1));
    assert_eq!(world.take_log(), "stop 1");
    world.pass(s(1));
    assert_eq!(world.take_log(), "kill 1");
    world.pass(crate::core::KILL_GRACE);
    assert_eq!(world.take_log(), "gave up 1, stop 0");
}

#[test]
fn a_start_that_takes_too_long_is_killed_and_counts_as_failed() {
    let mut world = World::fixed(OneForOne, policy(1, 5), &[Permanent]);
    world.tick();
    world.pass(START_TIMEOUT);
    world.down(0, ExitReason::Killed);
    let expected = "start 0, kill 0, finished: c0 did not start: not ready within the start timeout";
    assert_eq!(world.take_log(), expected);
}

fn backoff(first: u64, max: u64, stable: u64) -> Backoff {
    Backoff { first: s(first), max: s(max), jitter: 0.0, stable: s(stable) }
}

/// The waits before the restarts of a child that crashes as soon as it is ready.
#[test]
fn back_off_doubles_up_to_its_limit_and_resets_when_stable() {
    let policy = Policy { backoff: backoff(1, 4, 30), ..policy(100, 1_000) };
    let mut world = World::up(OneForOne, policy, &[Permanent]);
    let mut waits = Vec::new();
    for round in 0..6 {
        if round == 5 {
            world.pass(s(30));
        }
        world.down(0, crash());
        let wait = world.next_wake().filter(|_| world.living.is_empty());
        waits.push(wait.map_or(0, |at| (at - world.now).as_secs()));
        world.pass(s(4));
        world.ready(0);
    }
    assert_eq!(waits, [0, 1, 2, 4, 4, 0]);
}

#[test]
fn jitter_scales_each_wait_within_its_limits() {
    let jittery = Backoff { jitter: 0.5, ..backoff(100, 100, 1_000) };
    let policy = Policy { backoff: jittery, ..policy(1_000, 1) };
    let mut world = World::up(OneForOne, policy, &[Permanent]);
    let mut waits = Vec::new();
    for _ in 0..50 {
        world.down(0, crash());
        if world.living.is_empty() {
            let wait = world.next_wake().unwrap() - world.now;
            waits.push(wait.as_secs_f64());
            world.pass(wait);
        }
        world.ready(0);
    }
    assert!(waits.iter().all(|w| (50.0..=150.0).contains(w)), "{waits:?}");
    assert!(waits.iter().any(|w| *w < 75.0) && waits.iter().any(|w| *w > 125.0));
}

/// Two in five seconds would never be seen of a child that takes six seconds to start.
#[test]
fn a_slow_failure_trips_too() {
    let mut world = World::up(OneForOne, policy(2, 5), &[Permanent]);
    let mut crashes = 0;
    while world.living.contains_key(&0) {
        world.down(0, crash());
        crashes += 1;
        assert!(crashes < 10, "never trips");
        world.pass(s(6));
        world.ready(0);
    }
    assert_eq!(crashes, 3);
}

#[test]
fn failures_before_ready_count_in_a_row_whatever_the_window() {
    let mut world = World::set();
    let slow = Policy { backoff: backoff(100, 100, 1_000), ..policy(2, 1) };
    world.add(0, Permanent, slow);
    for _ in 0..3 {
        world.down(0, crash());
        world.pass(s(100));
    }
    assert_eq!(world.parked.get(&0), Some(&NodeState::Failed), "{:?}", world.log);
}

#[test]
fn a_child_of_a_set_is_parked_and_its_siblings_go_on() {
    let mut world = World::set();
    world.add(0, Permanent, policy(1, 60));
    world.add(1, Permanent, policy(0, 60));
    (0..2).for_each(|key| world.ready(key));
    world.log.clear();
    world.down(1, crash());
    assert_eq!(world.take_log(), "parked 1 crashed: error: crash");
    world.down(0, crash());
    assert_eq!(world.take_log(), "start 0");
    world.restart(1);
    assert_eq!(world.take_log(), "start 1");
    world.remove(1);
    world.down(1, ExitReason::Normal);
    assert_eq!(world.take_log(), "stop 1, forget 1");
}

#[test]
fn a_child_of_a_set_that_has_finished_is_forgotten() {
    for (restart, exit) in [(Transient, ExitReason::Normal), (Temporary, crash())] {
        let mut world = World::set();
        world.add(0, restart, policy(9, 60));
        world.ready(0);
        world.down(0, exit);
        assert_eq!(world.take_log(), "start 0, forget 0");
    }
}

#[test]
fn a_restart_by_hand_stops_first_and_a_removal_wins_over_it() {
    let mut world = World::set();
    world.add(0, Permanent, policy(0, 60));
    world.ready(0);
    world.restart(0);
    world.down(0, ExitReason::Normal);
    assert_eq!(world.take_log(), "start 0, stop 0, start 0");
    world.remove(0);
    world.restart(0);
    world.down(0, ExitReason::Normal);
    assert_eq!(world.take_log(), "stop 0, forget 0");
}

#[test]
fn a_restart_by_hand_forgets_past_failures() {
    let mut world = World::set();
    world.add(0, Permanent, policy(1, 60));
    for _ in 0..2 {
        world.ready(0);
        world.down(0, crash());
    }
    assert_eq!(world.take_log(), "start 0, start 0, parked 0 crashed: error: crash");
    world.restart(0);
    world.ready(0);
    world.down(0, crash());
    assert_eq!(world.take_log(), "start 0, start 0");
}

#[test]
fn a_set_stops_its_children_side_by_side() {
    let mut world = World::set();
    (0..3).for_each(|key| world.add(key, Permanent, policy(1, 5)));
    world.log.clear();
    world.shutdown();
    assert_eq!(world.take_log(), "stop 0, stop 1, stop 2");
    world.pass(STOP_DEADLINE);
    (0..3).for_each(|key| world.down(key, ExitReason::Killed));
    let expected = "kill 0, kill 1, kill 2, forget 0, forget 1, forget 2, finished: shutdown";
    assert_eq!(world.take_log(), expected);
}
