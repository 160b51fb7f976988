//! H02: a panic ends that actor only, wherever it happens.

use std::time::Duration;

use supervision::{CallError, Child, ChildSpec, Dynamic, ExitReason, Intensity, Slot};

use crate::support::*;

#[test]
fn h02_a_panic_ends_that_actor_only() {
    paused(async {
        let (bad, good) = (Slot::new(), Slot::new());
        let tree = one_for_one().child(puppet("bad", &bad)).child(puppet("good", &good));
        let (root, registry) = up(tree).await;
        assert_eq!(good.call(Add(1), PATIENCE).await, Ok(1));
        for round in 1..=5 {
            bad.call(Add(1), PATIENCE).await.unwrap();
            assert_eq!(bad.call(Burst, PATIENCE).await, Err(CallError::Died));
            assert_eq!(good.call(Add(1), PATIENCE).await, Ok(round + 1), "a sibling keeps its state");
            assert_eq!(bad.call(Add(1), PATIENCE).await, Ok(1), "a new incarnation is fresh");
            assert_eq!(bad.generation(), round + 1);
        }
        assert_eq!(good.generation(), 1);
        let view = view(&registry, "bad");
        assert_eq!(view.restarts.total, 5);
        assert_eq!(view.last_exit.unwrap().reason, "panic: in a handler");
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
    });
}

type Misbehaviour = (&'static str, fn(&mut Script));

/// Each place where an actor can panic, alone and together.
#[test]
fn h02_no_panic_escapes_its_boundary() {
    let misbehaviours: [Misbehaviour; 6] = [
        ("in the factory", |s| s.panic_in_factory = true),
        ("in started", |s| s.panic_in_started = true),
        ("in a handler", |s| s.panic_in_stopped = true),
        ("in a handler", |s| s.panic_in_drop = true),
        ("in a handler", |s| {
            s.panic_in_stopped = true;
            s.panic_in_drop = true;
        }),
        ("in a handler", |_| {}),
    ];
    for (reason, misbehave) in misbehaviours {
        paused(async move {
            // Only the first incarnation misbehaves; in a set its failed start is tried again.
            let mut script = Script { times: Some(1), ..Script::default() };
            misbehave(&mut script);
            let slot = Slot::new();
            let set = Dynamic::new();
            let tree = one_for_one().child(Child::dynamic(ChildSpec::new("set"), &set));
            let (root, registry) = up(tree).await;
            let spec = ChildSpec::new("bad").intensity(Intensity::new(3, Duration::from_secs(5)));
            set.start(puppet_with(spec, &slot, script)).await.unwrap();
            if reason == "in a handler" {
                assert_eq!(slot.call(Burst, PATIENCE).await, Err(CallError::Died));
            }
            assert_eq!(slot.call(Add(1), PATIENCE).await, Ok(1));
            let exit = view(&registry, "set/bad").last_exit.unwrap();
            assert_eq!(exit.reason, format!("panic: {reason}"));
            assert_eq!(slot.generation(), 2);
            root.shutdown().await;
        });
    }
}

#[test]
fn h02_a_panic_while_stopping_is_survived_and_shown() {
    for (panic_in_stopped, panic_in_drop, reason) in
        [(true, false, "in stopped"), (false, true, "in drop"), (true, true, "in stopped")]
    {
        paused(async move {
            let journal = Journal::default();
            let script = Script { journal: journal.clone(), panic_in_stopped, panic_in_drop, ..Script::default() };
            let (first, slot) = (Slot::new(), Slot::new());
            let tree =
                one_for_one().child(puppet("first", &first)).child(puppet_with(ChildSpec::new("bad"), &slot, script));
            let (root, registry) = up(tree).await;
            assert_eq!(root.shutdown().await, ExitReason::Shutdown);
            assert_eq!(view(&registry, "bad").last_exit.unwrap().reason, format!("panic: {reason}"));
            assert_eq!(view(&registry, "first").last_exit.unwrap().reason, "shutdown");
        });
    }
}

#[test]
fn h02_a_panic_in_a_future_of_the_context_ends_the_actor() {
    paused(async {
        let slot = Slot::new();
        let (_root, registry) = up(one_for_one().child(puppet("bad", &slot))).await;
        slot.call(BurstLater, PATIENCE).await.unwrap();
        until(&registry, "restarted", |_| slot.generation() == 2).await;
        let exit = view(&registry, "bad").last_exit.unwrap();
        assert_eq!(exit.reason, "panic: in a future");
    });
}

/// After a panic, no code of the broken actor runs but its destructor.
#[test]
fn h02_a_panicked_actor_is_not_asked_anything_any_more() {
    paused(async {
        let journal = Journal::default();
        let script = Script { journal: journal.clone(), ..Script::default() };
        let slot = Slot::new();
        let (_root, _registry) = up(one_for_one().child(puppet_with(ChildSpec::new("bad"), &slot, script))).await;
        assert_eq!(slot.call(Burst, PATIENCE).await, Err(CallError::Died));
        slot.up(PATIENCE).await.unwrap();
        assert_eq!(journal.take(), ["started bad", "started bad"]);
    });
}
