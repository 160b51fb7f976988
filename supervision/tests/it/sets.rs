//! Dynamic sets through their handles.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use supervision::{
    Child, ChildSpec, Dynamic, ExitReason, Intensity, Registry, Restart, Shutdown, Slot, StartError, StopError,
    Strategy, Supervisor,
};

use crate::support::*;

async fn running(set: &Dynamic) -> (supervision::Root, Registry) {
    up(one_for_one().child(Child::dynamic(ChildSpec::new("set"), set))).await
}

#[test]
fn h03_a_child_of_a_set_is_parked_and_its_siblings_go_on() {
    paused(async {
        let set = Dynamic::new();
        let (_root, registry) = running(&set).await;
        let (bad, good, never) = (Slot::new(), Slot::new(), Slot::new());
        let within = Duration::from_secs(5);
        let spec = ChildSpec::new("bad").intensity(Intensity::new(2, within));
        set.start_ready(puppet_with(spec, &bad, Script::default()), PATIENCE).await.unwrap();
        set.start_ready(puppet("good", &good), PATIENCE).await.unwrap();
        let script = Script { panic_in_started: true, ..Script::default() };
        let spec = ChildSpec::new("never").intensity(Intensity::new(2, within));
        let outcome = set.start_ready(puppet_with(spec, &never, script), PATIENCE).await;
        assert_eq!(outcome, Err(StartError::Exited(ExitReason::Panic("in started".into()))));
        for _ in 0..3 {
            bad.call(Burst, PATIENCE).await.unwrap_err();
        }
        until_state(&registry, "set/bad", "crashed").await;
        insta::assert_snapshot!(registry.snapshot(), @"
        root         supervisor  running
        └─ set       dynamic  running
           ├─ bad    actor  crashed  restarts 2  last exit: panic: in a handler
           ├─ good   actor  running
           └─ never  actor  failed  restarts 2  last exit: panic: in started
        ");
        assert_eq!(good.generation(), 1);
        assert_eq!(set.start(puppet("bad", &bad)).await, Err(StartError::AlreadyPresent));
        set.restart(&id("bad")).await.unwrap();
        until_state(&registry, "set/bad", "running").await;
        assert_eq!(view(&registry, "set/bad").restarts.window, 0);
        assert_eq!(set.stop(&id("never")).await, Ok(ExitReason::Panic("in started".into())));
        assert_eq!(set.ids(), [id("bad"), id("good")]);
    });
}

#[test]
fn a_stop_returns_when_the_child_is_really_gone() {
    paused(async {
        let set = Dynamic::new();
        let (_root, registry) = running(&set).await;
        let script = Script { ignore_stop: true, ..Script::default() };
        let deadline = Duration::from_secs(3);
        let spec = ChildSpec::new("a").shutdown(Shutdown::Deadline(deadline));
        let slot = Slot::new();
        set.start_ready(puppet_with(spec, &slot, script), PATIENCE).await.unwrap();
        let asked = tokio::time::Instant::now();
        let a = id("a");
        let both = tokio::join!(set.stop(&a), set.stop(&a));
        assert_eq!(both, (Ok(ExitReason::Killed), Ok(ExitReason::Killed)));
        assert!(asked.elapsed() >= deadline);
        assert_eq!(registry.view("set/a", 0), None);
        assert!(!slot.is_up() && !set.contains(&a));
        assert_eq!(set.stop(&a).await, Err(StopError::NotFound));
        set.start_ready(puppet("a", &slot), PATIENCE).await.unwrap();
        assert_eq!(slot.call(Add(1), PATIENCE).await, Ok(1), "the name is free again");
    });
}

#[test]
fn a_handle_is_there_before_its_set_and_after_it() {
    paused(async {
        let set = Dynamic::new();
        let child = || puppet("a", &Slot::new());
        assert_eq!(set.start(child()).await, Err(StartError::NotRunning));
        let (root, _registry) = running(&set).await;
        assert!(set.is_running());
        set.start(child()).await.unwrap();
        root.shutdown().await;
        assert!(!set.is_running() && set.ids().is_empty());
        assert_eq!(set.start(child()).await, Err(StartError::NotRunning));
        assert_eq!(set.stop(&id("a")).await, Err(StopError::NotRunning));
    });
}

#[test]
fn a_start_is_refused_with_its_reason() {
    paused(async {
        let set = Dynamic::new().bounded(1);
        let (_root, _registry) = running(&set).await;
        let Err(StartError::Invalid(wrong)) = set.start(puppet("a/b", &Slot::new())).await else {
            panic!("an id with a slash")
        };
        assert_eq!(wrong.field, "id");
        set.start(puppet("a", &Slot::new())).await.unwrap();
        assert_eq!(set.start(puppet("b", &Slot::new())).await, Err(StartError::Full(1)));
    });
}

/// One failure of the set's elder sibling restarts the set, which seeds again; its callers wait.
#[test]
fn a_set_is_seeded_at_each_start_and_ready_after_it() {
    paused(async {
        let (seeds, member, elder) = (Arc::new(AtomicU32::new(0)), Slot::new(), Slot::new());
        let (count, slot) = (seeds.clone(), member.clone());
        let set = Dynamic::new().seed(move |set| {
            let (count, slot) = (count.clone(), slot.clone());
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                set.start_ready(puppet("seeded", &slot), PATIENCE).await
            }
        });
        let tree = Supervisor::new(Strategy::RestForOne, Intensity::default())
            .child(puppet("elder", &elder))
            .child(Child::dynamic(ChildSpec::new("set"), &set));
        let (_root, _registry) = up(tree).await;
        assert!(member.is_up(), "ready means seeded");
        set.start(puppet("late", &Slot::new())).await.unwrap();
        elder.call(Burst, PATIENCE).await.unwrap_err();
        member.call(Add(1), PATIENCE).await.unwrap();
        until(&Registry::clone(&_registry), "seeded again", |_| seeds.load(Ordering::SeqCst) == 2).await;
        member.up(PATIENCE).await.unwrap();
        assert_eq!(set.ids(), [id("seeded")], "what was not seeded is not there");
    });
}

#[test]
fn a_seeding_that_fails_fails_the_start() {
    paused(async {
        let set = Dynamic::new().seed(|_| async { Err::<(), _>("no database") });
        let tree = one_for_one().child(Child::dynamic(ChildSpec::new("set"), &set));
        let root = tree.start_root("root", &Registry::new(), None);
        let reason = Box::new(ExitReason::Error("seeding: no database".into()));
        assert_eq!(root.ready().await, Err(ExitReason::StartFailed { child: id("set"), reason }));
    });
}

#[test]
fn children_that_have_finished_leave_no_node() {
    paused(async {
        let set = Dynamic::new();
        let (_root, registry) = running(&set).await;
        for restart in [Restart::Transient, Restart::Temporary] {
            let spec = ChildSpec::new("once").restart(restart);
            set.start(Child::task(spec, |_| async { ExitReason::Normal })).await.unwrap();
            until(&registry, "gone", |r| r.view("set/once", 0).is_none()).await;
        }
        assert_eq!(registry.len(), 2);
    });
}

#[test]
fn five_thousand_children_start_are_shown_and_stop() {
    paused(async {
        const MANY: usize = 5_000;
        let set = Dynamic::new();
        let (root, registry) = running(&set).await;
        let slots: Vec<Slot<Puppet>> = (0..MANY).map(|_| Slot::new()).collect();
        for (i, slot) in slots.iter().enumerate() {
            set.start(puppet(&format!("c{i}"), slot)).await.unwrap();
        }
        for slot in &slots {
            assert_eq!(slot.call(Add(1), PATIENCE).await, Ok(1));
        }
        let shown = view(&registry, "set").children;
        assert_eq!(shown.len(), MANY);
        assert!(shown.iter().all(|node| node.state == "running"));
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert_eq!(registry.len(), 2);
    });
}
