//! H06: the tree that is shown is the tree that runs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use supervision::{
    Ack, Child, ChildEvent, ChildSpec, Dynamic, ExitReason, Intensity, NodePath, NodeView, Observer, Registry, Slot,
    Transition,
};

use crate::support::*;

#[test]
fn h06_the_tree_that_is_shown_is_the_tree_that_runs() {
    paused(async {
        let lives = Arc::new(Mutex::new(Vec::new()));
        let kept = lives.clone();
        let child = Child::task(ChildSpec::new("a").kind("worker").ack(Ack::Explicit), move |life| {
            kept.lock().unwrap().push(life.clone());
            async move {
                life.stopping().await;
                ExitReason::Shutdown
            }
        });
        let registry = Registry::new();
        let root = one_for_one().child(child).start_root("root", &registry, None);
        until_state(&registry, "a", "starting").await;
        let life = lives.lock().unwrap()[0].clone();
        life.ready();
        until_state(&registry, "a", "running").await;
        life.condition(Some("draining"));
        life.fact("pid", 42);
        let seen = view(&registry, "a");
        assert_eq!((seen.kind.as_str(), seen.state.as_str()), ("worker", "draining"));
        assert_eq!(seen.facts["pid"], 42);
        life.condition(None::<&str>);
        life.clear_fact("pid");
        let seen = view(&registry, "a");
        assert_eq!((seen.state.as_str(), seen.facts.len()), ("running", 0));
        root.shutdown().await;
        life.condition(Some("alive"));
        life.fact("alive", true);
        assert_eq!(state(&registry, "a"), "stopped", "the dead do not speak");
    });
}

#[test]
fn h06_a_supervisor_says_what_its_parts_amount_to() {
    paused(async {
        let service = Child::supervisor(ChildSpec::new("service"), one_for_one().child(idle("process")));
        let (root, registry) = up(one_for_one().child(service)).await;
        let path = NodePath::try_from("service").unwrap();
        assert!(registry.condition(&path, Some("restarting")));
        assert_eq!(state(&registry, "service"), "restarting");
        assert!(registry.condition(&path, None::<&str>));
        assert_eq!(state(&registry, "service"), "running");
        assert!(!registry.condition(&NodePath::try_from("nowhere").unwrap(), Some("restarting")));
        registry.condition(&path, Some("restarting"));
        root.shutdown().await;
        assert_eq!(state(&registry, "service"), "stopped", "only what runs can be said to be anything else");
    });
}

#[test]
fn h06_changes_are_numbered_and_views_are_data() {
    paused(async {
        let slot = Slot::new();
        let (_root, registry) = up(one_for_one().child(puppet("a", &slot))).await;
        let before = registry.snapshot();
        slot.call(Burst, PATIENCE).await.unwrap_err();
        slot.up(PATIENCE).await.unwrap();
        until_state(&registry, "a", "running").await;
        let after = registry.snapshot();
        assert!(after.seq > before.seq);
        let a = &after.roots[0].children[0];
        assert_eq!((a.restarts.window, a.restarts.total), (1, 1));
        assert!(a.last_exit.as_ref().unwrap().at_ms >= before.at_ms);
        let text = serde_json::to_string(&after).unwrap();
        assert_eq!(serde_json::from_str::<supervision::Snapshot>(&text).unwrap(), after);
        assert_eq!(registry.view("root", 0).unwrap().children, []);
        assert_eq!(registry.view("nowhere", 9), None);
    });
}

#[test]
fn h06_foreign_nodes_are_shown_where_they_are_grafted() {
    paused(async {
        let (_root, registry) = up(one_for_one().child(idle("link"))).await;
        let foreign = Registry::new();
        let time = Child::supervisor(ChildSpec::new("time"), one_for_one().child(idle("process")));
        let services = Child::supervisor(ChildSpec::new("services"), one_for_one().child(time));
        let remote = one_for_one().child(services).start_root("runner", &foreign, None);
        remote.ready().await.unwrap();
        let link = NodePath::try_from("link").unwrap();
        let services = foreign.snapshot().roots[0].children.clone();
        assert!(registry.graft(&link, services));
        assert_eq!(state(&registry, "link/services"), "running");
        assert_eq!(state(&registry, "link/services/time/process"), "running");
        assert_eq!(registry.view("link/services/time/nothing", 0), None);
        let names = |view: &NodeView| view.children.iter().map(|c| c.id.clone()).collect::<Vec<_>>();
        let link_view = registry.view("link", 2).unwrap();
        assert_eq!(names(&link_view), ["link/services"]);
        assert_eq!(names(&link_view.children[0]), ["link/services/time"]);
        assert_eq!(link_view.children[0].children[0].children, [], "no deeper than asked");
        assert_eq!(names(&registry.view("link/services", 1).unwrap()), ["link/services/time"]);
        assert_eq!(registry.view("link", 0).unwrap().children, []);
        assert!(registry.ungraft(&link));
        assert_eq!(registry.view("link/services", 0), None);
        assert!(!registry.graft(&NodePath::try_from("nowhere").unwrap(), Vec::new()));
        // A whole tree has its root beside what stands below it.
        assert!(registry.graft(&link, foreign.snapshot().roots));
        assert_eq!(state(&registry, "link/runner"), "running");
        assert_eq!(state(&registry, "link/services/time"), "running");
    });
}

#[test]
fn h06_what_ended_is_counted_by_kind_and_reason_and_each_once() {
    paused(async {
        let (slot, set) = (Slot::new(), Dynamic::new());
        let tree = one_for_one().child(puppet("a", &slot)).child(Child::dynamic(ChildSpec::new("set"), &set));
        let (root, registry) = up(tree).await;
        slot.call(Burst, PATIENCE).await.unwrap_err();
        slot.up(PATIENCE).await.unwrap();
        let spec = ChildSpec::new("b").kind("worker").intensity(Intensity::new(0, Duration::from_secs(1)));
        let failing = Child::task(spec, |life| async move {
            life.ready();
            ExitReason::Error("as it must".into())
        });
        set.start(failing).await.unwrap();
        until_state(&registry, "set/b", "crashed").await;
        // Stopped after it was parked: it does not end a second time.
        set.stop(&id("b")).await.unwrap();
        root.shutdown().await;
        let tally = registry.tally();
        assert_eq!(tally.restarts.into_iter().collect::<Vec<_>>(), [("actor", 1)]);
        let exits = [
            (("actor", "panic"), 1),
            (("actor", "shutdown"), 1),
            (("dynamic", "shutdown"), 1),
            (("supervisor", "shutdown"), 1),
            (("worker", "error"), 1),
        ];
        assert_eq!(tally.exits.into_iter().collect::<Vec<_>>(), exits);
    });
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn on(&self, event: &ChildEvent) {
        let what = match &event.transition {
            Transition::Starting => "starting".to_owned(),
            Transition::Ready => "ready".to_owned(),
            Transition::Restarting { exit, .. } => format!("restarting after {exit}"),
            Transition::Parked { exit, state } => format!("{state} after {exit}"),
            Transition::Stopping => "stopping".to_owned(),
            Transition::Stopped { exit } => format!("stopped: {exit}"),
        };
        self.0.lock().unwrap().push(format!("{}#{} {what}", event.path, event.generation));
        assert!(!what.starts_with("restarting"), "an observer that panics");
    }
}

#[test]
fn an_observer_sees_each_transition_and_cannot_do_harm() {
    paused(async {
        let (recorder, slot) = (Arc::new(Recorder::default()), Slot::new());
        let tree = one_for_one().observe(recorder.clone()).child(puppet("a", &slot));
        let (root, _registry) = up(tree).await;
        slot.call(Burst, PATIENCE).await.unwrap_err();
        slot.call(Add(1), PATIENCE).await.unwrap();
        root.shutdown().await;
        let expected = [
            "a#1 starting",
            "a#1 ready",
            "a#1 restarting after panic: in a handler",
            "a#2 starting",
            "a#2 ready",
            "a#2 stopping",
            "a#2 stopped: shutdown",
        ];
        assert_eq!(*recorder.0.lock().unwrap(), expected);
    });
}
