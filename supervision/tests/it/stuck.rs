//! H05: health means progress. These tests block real threads, so their time is real.

use std::{sync::mpsc, time::Duration};

use supervision::{Child, ChildSpec, ExitReason, Shutdown, Slot, WatchdogConfig};

use crate::support::*;

const STALL: Duration = Duration::from_millis(50);

fn watchdog(registry: &supervision::Registry) -> supervision::Watchdog {
    registry.watchdog(WatchdogConfig { tick: Duration::from_millis(5) }).unwrap()
}

#[test]
fn h05_a_stuck_actor_is_shown() {
    real(async {
        let arbiter = actix_rt::Arbiter::new();
        let (slot, free) = (Slot::new(), Slot::new());
        let spec = ChildSpec::new("a").stall_after(STALL).on(arbiter.handle());
        let tree = one_for_one().child(puppet_with(spec, &slot, Script::default())).child(puppet("free", &free));
        let (root, registry) = up(tree).await;
        let _watchdog = watchdog(&registry);
        let (release, until_released) = mpsc::channel();
        slot.tell(Block(until_released)).unwrap();
        slot.tell(Add(1)).unwrap();
        until_state(&registry, "a", "stuck").await;
        let seen = view(&registry, "a");
        assert!(seen.facts["stuck_ms"].as_u64().unwrap() >= 50, "{seen}");
        assert_eq!(seen.queue, 1);
        assert_eq!(state(&registry, "free"), "running");
        drop(release);
        until_state(&registry, "a", "running").await;
        assert!(!view(&registry, "a").facts.contains_key("stuck_ms"));
        root.shutdown().await;
        arbiter.stop();
    });
}

/// Its thread is free, and yet it takes no messages: only the probe finds that out.
#[test]
fn h05_an_actor_that_waits_forever_is_shown() {
    real(async {
        let slot = Slot::new();
        let script = Script { wait_forever: true, ..Script::default() };
        let spec = ChildSpec::new("a").stall_after(STALL).shutdown(Shutdown::Brutal);
        let idle = ChildSpec::new("idle").stall_after(STALL);
        let tree = one_for_one().child(puppet_with(spec, &slot, script)).child(puppet_with(
            idle,
            &Slot::new(),
            Script::default(),
        ));
        let (root, registry) = up(tree).await;
        let _watchdog = watchdog(&registry);
        until_state(&registry, "a", "stuck").await;
        assert_eq!(state(&registry, "idle"), "running", "nothing to do is not stuck");
        root.shutdown().await;
    });
}

/// A thread that is blocked cannot be killed: that is said, and the rest goes on.
#[test]
fn h05_a_child_that_cannot_be_killed_is_given_up() {
    real(async {
        let arbiter = actix_rt::Arbiter::new();
        let slot = Slot::new();
        let stop = Shutdown::Deadline(Duration::from_millis(20));
        let spec = ChildSpec::new("a").shutdown(stop).on(arbiter.handle());
        let journal = Journal::default();
        let script = Script { journal: journal.clone(), ..Script::default() };
        let tree = one_for_one().child(puppet_with(ChildSpec::new("first"), &Slot::new(), script)).child(puppet_with(
            spec,
            &slot,
            Script::default(),
        ));
        let (root, registry) = up(tree).await;
        let (release, until_released) = mpsc::channel();
        slot.tell(Block(until_released)).unwrap();
        tokio::time::timeout(PATIENCE, root.shutdown()).await.unwrap();
        assert_eq!(state(&registry, "a"), "stuck");
        assert_eq!(journal.take(), ["started first", "stop first", "stopped first"]);
        drop(release);
        arbiter.stop();
        arbiter.join().unwrap();
    });
}

#[test]
fn h05_a_task_that_blocks_its_thread_is_shown() {
    real(async {
        let arbiter = actix_rt::Arbiter::new();
        let (release, until_released) = mpsc::channel::<()>();
        let blocked = std::sync::Mutex::new(Some(until_released));
        let spec = ChildSpec::new("t").stall_after(STALL).on(arbiter.handle());
        let child = Child::task(spec, move |life| {
            let until = blocked.lock().unwrap().take();
            async move {
                tokio::task::yield_now().await;
                until.map(|until| until.recv());
                life.stopping().await;
                ExitReason::Shutdown
            }
        });
        let (root, registry) = up(one_for_one().child(child)).await;
        let _watchdog = watchdog(&registry);
        until_state(&registry, "t", "stuck").await;
        drop(release);
        until_state(&registry, "t", "running").await;
        root.shutdown().await;
        arbiter.stop();
    });
}
