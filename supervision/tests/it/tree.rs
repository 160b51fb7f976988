//! H01 and H03: the tree that is specified is the tree that runs.

use std::time::Duration;

use supervision::{
    Ack, Child, ChildSpec, Dynamic, ExitReason, Intensity, Registry, Restart, Shutdown, Slot, Strategy, Supervisor,
};

use crate::support::*;

fn journaled(name: &str, journal: &Journal) -> Child {
    let script = Script { journal: journal.clone(), ..Script::default() };
    puppet_with(ChildSpec::new(name), &Slot::new(), script)
}

fn in_five(max_restarts: u32) -> Intensity {
    Intensity::new(max_restarts, Duration::from_secs(5))
}

#[test]
fn h01_every_child_is_a_node_with_its_specification() {
    let set = Dynamic::new();
    let inner =
        Supervisor::new(Strategy::OneForAll, in_five(3)).child(idle("pool")).child(puppet("writer", &Slot::new()));
    let tree = Supervisor::new(Strategy::RestForOne, Intensity::default())
        .child(Child::supervisor(ChildSpec::new("store"), inner))
        .child(Child::dynamic(ChildSpec::new("meshes").kind("meshes"), &set))
        .child(Child::task(ChildSpec::new("drain").restart(Restart::Transient).shutdown(Shutdown::Brutal), |_| {
            std::future::pending::<ExitReason>()
        }));
    insta::assert_snapshot!(tree.outline(), @"
    rest_for_one  1 in 5s
    ├─ store      supervisor  permanent  one_for_all, 3 in 5s  stop infinity
    │  ├─ pool    task  permanent  stop 5s
    │  └─ writer  actor  permanent  stop 5s
    ├─ meshes     meshes  permanent  stop infinity
    └─ drain      task  transient  stop brutal
    ");
    paused(async move {
        let (root, registry) = up(tree).await;
        set.start_ready(puppet("default", &Slot::new()), PATIENCE).await.unwrap();
        insta::assert_snapshot!(registry.snapshot(), @"
        root           supervisor  running
        ├─ store       supervisor  running
        │  ├─ pool     task  running
        │  └─ writer   actor  running
        ├─ meshes      meshes  running
        │  └─ default  actor  running
        └─ drain       task  running
        ");
        let paths = ["root", "store", "store/pool", "meshes/default"];
        assert!(paths.iter().all(|path| view(&registry, path).id == *path));
        root.shutdown().await;
        insta::assert_snapshot!(registry.snapshot(), @"
        root          supervisor  stopped  last exit: shutdown
        ├─ store      supervisor  stopped  last exit: shutdown
        │  ├─ pool    task  stopped  last exit: shutdown
        │  └─ writer  actor  stopped  last exit: shutdown
        ├─ meshes     meshes  stopped  last exit: shutdown
        └─ drain      task  stopped  last exit: killed
        ");
    });
}

#[test]
fn h03_a_group_stops_in_reverse_and_starts_in_order() {
    paused(async {
        let journal = Journal::default();
        let slot = Slot::new();
        let script = Script { journal: journal.clone(), ..Script::default() };
        let tree = Supervisor::new(Strategy::RestForOne, in_five(3))
            .child(journaled("a", &journal))
            .child(puppet_with(ChildSpec::new("b"), &slot, script))
            .child(journaled("c", &journal))
            .child(journaled("d", &journal));
        let (root, registry) = up(tree).await;
        assert_eq!(journal.take(), ["started a", "started b", "started c", "started d"]);
        slot.call(Burst, PATIENCE).await.unwrap_err();
        until(&registry, "d is back", |r| {
            let d = view(r, "d");
            d.state == "running" && d.restarts.total == 1
        })
        .await;
        let expected = ["stop d", "stopped d", "stop c", "stopped c", "started b", "started c", "started d"];
        assert_eq!(journal.take(), expected);
        root.shutdown().await;
        let order: Vec<_> = journal.take().into_iter().filter(|l| l.starts_with("stopped")).collect();
        assert_eq!(order, ["stopped d", "stopped c", "stopped b", "stopped a"]);
    });
}

#[test]
fn h03_above_its_intensity_a_supervisor_fails_and_its_parent_decides() {
    paused(async {
        let slot = Slot::new();
        let inner = Supervisor::new(Strategy::OneForOne, in_five(1)).child(puppet("a", &slot));
        let tree =
            Supervisor::new(Strategy::OneForOne, in_five(1)).child(Child::supervisor(ChildSpec::new("inner"), inner));
        let (root, registry) = up(tree).await;
        for _ in 0..2 {
            slot.call(Burst, PATIENCE).await.unwrap_err();
        }
        slot.call(Add(1), PATIENCE).await.unwrap();
        let inner = view(&registry, "inner");
        assert_eq!((inner.state.as_str(), inner.restarts.total), ("running", 1));
        let reason = "too many restarts, the last of a: panic: in a handler";
        assert_eq!(inner.last_exit.unwrap().reason, reason);
        assert_eq!(slot.generation(), 3, "numbers go on across the restart of the supervisor");
        for _ in 0..2 {
            slot.call(Burst, PATIENCE).await.unwrap_err();
        }
        let ExitReason::Intensity { child, .. } = root.wait().await else { panic!("another reason") };
        assert_eq!(child.as_str(), "inner");
        assert_eq!(state(&registry, "root"), "stopped");
    });
}

#[test]
fn h03_a_failed_first_start_stops_the_others_and_names_the_child() {
    paused(async {
        let journal = Journal::default();
        let broken = Script { panic_in_started: true, ..Script::default() };
        let tree = Supervisor::new(Strategy::OneForOne, in_five(9))
            .child(journaled("a", &journal))
            .child(puppet_with(ChildSpec::new("b"), &Slot::new(), broken))
            .child(journaled("c", &journal));
        let registry = Registry::new();
        let root = tree.start_root("root", &registry, None);
        let reason = Box::new(ExitReason::Panic("in started".into()));
        let expected = ExitReason::StartFailed { child: id("b"), reason };
        assert_eq!(root.ready().await, Err(expected));
        assert_eq!(journal.take(), ["started a", "stop a", "stopped a"]);
    });
}

#[test]
fn h03_a_child_that_is_not_ready_in_time_is_killed() {
    paused(async {
        let spec = ChildSpec::new("a").ack(Ack::Explicit).start_timeout(Duration::from_secs(3));
        let child = Child::task(spec, |_| std::future::pending::<ExitReason>());
        let begun = tokio::time::Instant::now();
        let root = one_for_one().child(child).start_root("root", &Registry::new(), None);
        let reason = Box::new(ExitReason::StartTimeout);
        assert_eq!(root.ready().await, Err(ExitReason::StartFailed { child: id("a"), reason }));
        assert_eq!(begun.elapsed().as_secs(), 3);
    });
}

#[test]
fn h03_a_child_that_does_not_stop_is_killed_at_its_deadline() {
    paused(async {
        let journal = Journal::default();
        let script = Script { journal: journal.clone(), ignore_stop: true, ..Script::default() };
        let spec = ChildSpec::new("a").shutdown(Shutdown::Deadline(Duration::from_secs(3)));
        let (root, registry) = up(one_for_one().child(puppet_with(spec, &Slot::new(), script))).await;
        let asked = tokio::time::Instant::now();
        assert_eq!(root.shutdown().await, ExitReason::Shutdown);
        assert_eq!(asked.elapsed().as_secs(), 3);
        assert_eq!(journal.take(), ["started a", "stop a"]);
        assert_eq!(view(&registry, "a").last_exit.unwrap().reason, "killed");
    });
}

/// The order to stop passes the messages that wait in front of it.
#[test]
fn h03_a_full_mailbox_does_not_delay_a_stop() {
    paused(async {
        let journal = Journal::default();
        let slot = Slot::new();
        let script = Script { journal: journal.clone(), ..Script::default() };
        let child = puppet_with(ChildSpec::new("a").mailbox(100), &slot, script);
        let (root, _registry) = up(one_for_one().child(child)).await;
        slot.call(Deaf(Duration::from_secs(1)), PATIENCE).await.unwrap();
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let slot = slot.clone();
                actix_rt::spawn(async move { slot.call(Add(1), PATIENCE).await })
            })
            .collect();
        tokio::task::yield_now().await;
        root.shutdown().await;
        let mut handled = 0;
        for call in calls {
            handled += u32::from(call.await.unwrap().is_ok());
        }
        assert!(handled <= 1, "{handled} messages were handled before the stop");
        assert_eq!(journal.take(), ["started a", "stop a", "stopped a"]);
    });
}

#[test]
fn a_panic_of_the_supervisor_itself_kills_its_children() {
    paused(async {
        let (slot, orphan) = (Slot::new(), Slot::new());
        let inner = puppet("inner", &orphan);
        let set = Dynamic::new().seed(move |set| {
            let inner = inner.clone();
            async move {
                set.start_ready(inner, PATIENCE).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(set.ids().is_empty(), "the seeding is part of the loop");
            }
        });
        let tree = one_for_one().child(puppet("a", &slot)).child(Child::dynamic(ChildSpec::new("set"), &set));
        let registry = Registry::new();
        let root = tree.start_root("root", &registry, None);
        let Err(ExitReason::StartFailed { child, reason }) = root.ready().await else { panic!("it started") };
        assert_eq!(child.as_str(), "set");
        assert_eq!(*reason, ExitReason::Panic("the seeding is part of the loop".into()));
        assert_eq!(registry.view("set/inner", 0), None);
        assert!(!set.is_running());
        assert_eq!(orphan.generation(), 1, "it did run");
        assert!(orphan.call(Add(1), PATIENCE).await.is_err(), "it lives without a supervisor");
    });
}

#[test]
fn a_wrong_specification_starts_nothing() {
    paused(async {
        let journal = Journal::default();
        let tree = one_for_one().child(journaled("a", &journal)).child(idle("a"));
        assert_eq!(tree.validate().unwrap_err().field, "id");
        let root = tree.start_root("root", &Registry::new(), None);
        let Err(ExitReason::Error(text)) = root.ready().await else { panic!("it started") };
        assert_eq!(text, "child \"a\": id is used by two children");
        assert_eq!(journal.take(), Vec::<String>::new());
    });
}

#[test]
fn a_tree_may_span_arbiters() {
    real(async {
        let arbiter = actix_rt::Arbiter::new();
        let (here, there) = (Slot::new(), Slot::new());
        let spec = ChildSpec::new("there").on(arbiter.handle());
        let tree = one_for_one().child(puppet("here", &here)).child(puppet_with(spec, &there, Script::default()));
        let (root, registry) = up(tree).await;
        assert_eq!(there.call(Add(2), PATIENCE).await, Ok(2));
        there.call(Burst, PATIENCE).await.unwrap_err();
        assert_eq!(there.call(Add(2), PATIENCE).await, Ok(2));
        root.shutdown().await;
        assert_eq!(view(&registry, "there").last_exit.unwrap().reason, "shutdown");
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn an_arbiter_that_goes_away_is_reported() {
    real(async {
        let arbiter = actix_rt::Arbiter::new();
        let slot = Slot::new();
        let spec = ChildSpec::new("a").restart(Restart::Temporary).on(arbiter.handle());
        let tree = one_for_one().child(puppet_with(spec, &slot, Script::default())).child(idle("b"));
        let (_root, registry) = up(tree).await;
        arbiter.stop();
        arbiter.join().unwrap();
        until(&registry, "a is gone", |r| r.view("a", 0).is_none()).await;
        assert_eq!(state(&registry, "b"), "running");
    });
}
