//! H04: a handle stays valid, and a call always comes back.

use std::time::Duration;

use actix::prelude::{Actor, Context, Handler, Message, MessageResult};
use supervision::{
    Ack, Backoff, CallError, Child, ChildSpec, Dynamic, ExitReason, Intensity, NodeState, Restart, Slot, Supervised,
    TellError, supervised,
};

use crate::support::*;

const SHORT: Duration = Duration::from_secs(1);

#[test]
fn h04_a_call_to_a_child_that_is_down_never_hangs() {
    paused(async {
        let slot: Slot<Puppet> = Slot::new();
        assert_eq!(slot.call(Add(1), SHORT).await, Err(CallError::Down));
        assert_eq!(slot.tell(Add(1)), Err(TellError::Down));
        assert_eq!(slot.up(SHORT).await, Err(CallError::Down));
        assert_eq!((slot.generation(), slot.is_up()), (0, false));
    });
}

/// The child comes back one second after the call began to wait, and then answers it.
#[test]
fn h04_a_call_waits_for_a_restart_and_then_succeeds() {
    paused(async {
        let slot = Slot::new();
        let second = Duration::from_secs(1);
        let backoff = Backoff { first: second, max: second, jitter: 0.0, stable: second * 100 };
        let (_root, registry) = up(one_for_one().backoff(backoff).child(puppet("a", &slot))).await;
        for _ in 0..2 {
            slot.call(Burst, PATIENCE).await.unwrap_err();
        }
        until_state(&registry, "a", "restarting").await;
        assert!(!slot.is_up());
        let asked = tokio::time::Instant::now();
        assert_eq!(slot.call(Add(1), second / 2).await, Err(CallError::Down));
        assert_eq!(slot.call(Add(1), second).await, Ok(1));
        assert!(asked.elapsed() >= second - Duration::from_millis(5), "{:?}", asked.elapsed());
    });
}

#[test]
fn h04_a_call_reaches_only_an_incarnation_that_is_ready() {
    paused(async {
        let slot: Slot<Puppet> = Slot::new();
        let lives = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = lives.clone();
        let spec = ChildSpec::new("a").ack(Ack::Explicit);
        let child = Child::task(spec, move |life| {
            kept.lock().unwrap().push(life.clone());
            async move {
                life.stopping().await;
                ExitReason::Shutdown
            }
        });
        let registry = supervision::Registry::new();
        let tree = one_for_one().child(child).child(puppet("b", &slot));
        let root = tree.start_root("root", &registry, None);
        until_state(&registry, "a", "starting").await;
        assert_eq!(slot.call(Add(1), SHORT).await, Err(CallError::Down), "b waits for a");
        assert_eq!(state(&registry, "root"), "starting");
        lives.lock().unwrap()[0].ready();
        assert_eq!(slot.call(Add(1), SHORT).await, Ok(1));
        root.ready().await.unwrap();
        assert_eq!(state(&registry, "a"), "running");
    });
}

/// It is there, and nobody reaches it before it says so.
#[test]
fn h04_a_call_waits_until_the_actor_says_that_it_is_ready() {
    paused(async {
        let (slot, script) = (Slot::new(), Script::default());
        let tree = one_for_one().child(puppet_with(ChildSpec::new("a").ack(Ack::Explicit), &slot, script.clone()));
        let registry = supervision::Registry::new();
        let root = tree.start_root("root", &registry, None);
        until_state(&registry, "a", "starting").await;
        assert_eq!(slot.call(Add(1), SHORT).await, Err(CallError::Down));
        script.last_is_ready();
        assert_eq!(slot.call(Add(1), SHORT).await, Ok(1));
        root.ready().await.unwrap();
    });
}

/// Somebody starts again what was parked: from then on callers wait for it.
#[test]
fn h04_a_call_waits_for_what_was_parked_and_is_started_again() {
    paused(async {
        let (slot, script, set) = (Slot::new(), Script::default(), Dynamic::new());
        let (_root, registry) = up(one_for_one().child(Child::dynamic(ChildSpec::new("set"), &set))).await;
        let spec = ChildSpec::new("a").ack(Ack::Explicit).intensity(Intensity::new(0, SHORT));
        set.start(puppet_with(spec, &slot, script.clone())).await.unwrap();
        script.last_is_ready();
        slot.call(Burst, PATIENCE).await.unwrap_err();
        until_state(&registry, "set/a", "crashed").await;
        assert!(matches!(slot.call(Add(1), SHORT).await, Err(CallError::Gone { .. })));
        set.restart(&id("a")).await.unwrap();
        assert_eq!(slot.call(Add(1), SHORT).await, Err(CallError::Down), "not ready yet, and not gone any more");
        script.last_is_ready();
        assert_eq!(slot.call(Add(1), SHORT).await, Ok(1));
    });
}

#[test]
fn h04_a_call_without_an_answer_ends_in_time() {
    paused(async {
        let slot = Slot::new();
        let (_root, _registry) = up(one_for_one().child(puppet("a", &slot))).await;
        assert_eq!(slot.call(Slow(PATIENCE), SHORT).await, Err(CallError::Timeout));
        assert_eq!(slot.call(Slow(SHORT), PATIENCE).await, Ok(1));
    });
}

#[test]
fn h04_a_full_mailbox_refuses_at_once_and_counts_its_queue() {
    paused(async {
        let slot = Slot::new();
        let child = puppet_with(ChildSpec::new("a").mailbox(3), &slot, Script::default());
        let (_root, registry) = up(one_for_one().child(child)).await;
        slot.call(Deaf(SHORT), PATIENCE).await.unwrap();
        for _ in 0..3 {
            slot.tell(Add(1)).unwrap();
        }
        assert_eq!(view(&registry, "a").queue, 3);
        assert_eq!(slot.tell(Add(1)), Err(TellError::Full));
        assert_eq!(slot.call(Add(1), PATIENCE).await, Err(CallError::Full));
        assert_eq!(view(&registry, "a").queue, 3, "a refused message holds no place");
        tokio::time::sleep(SHORT * 2).await;
        assert_eq!(slot.call(Add(0), PATIENCE).await, Ok(3));
        assert_eq!(view(&registry, "a").queue, 0);
    });
}

/// The one that is being handled is told at once; those behind it go to the next incarnation.
#[test]
fn h04_a_crash_answers_at_once_and_loses_no_call_behind_it() {
    paused(async {
        let slot = Slot::new();
        let (_root, _registry) = up(one_for_one().child(puppet("a", &slot))).await;
        slot.call(Deaf(SHORT), PATIENCE).await.unwrap();
        let asked = tokio::time::Instant::now();
        let calls = (
            slot.call(Add(1), PATIENCE),
            slot.call(Burst, PATIENCE),
            slot.call(Add(1), PATIENCE),
            slot.call(Add(1), PATIENCE),
        );
        let answers = tokio::join!(calls.0, calls.1, calls.2, calls.3);
        assert_eq!(answers, (Ok(1), Err(CallError::Died), Ok(1), Ok(2)));
        assert!(asked.elapsed() < SHORT * 2, "{:?}", asked.elapsed());
    });
}

/// A call behind the last crash waits no longer than it said.
#[test]
fn h04_a_call_that_no_incarnation_came_for_ends_in_time() {
    paused(async {
        let slot = Slot::new();
        let spec = ChildSpec::new("a").restart(Restart::Temporary);
        let tree = one_for_one().child(puppet_with(spec, &slot, Script::default()));
        let (_root, _registry) = up(tree).await;
        slot.call(Deaf(SHORT), PATIENCE).await.unwrap();
        let (burst, queued) = tokio::join!(slot.call(Burst, PATIENCE), slot.call(Add(1), PATIENCE));
        assert_eq!(burst, Err(CallError::Died));
        assert!(matches!(queued, Err(CallError::Gone { .. })), "{queued:?}");
    });
}

#[test]
fn h04_a_child_that_does_not_come_back_says_so() {
    paused(async {
        let (parked, finished) = (Slot::new(), Slot::new());
        let set = Dynamic::new();
        let tree = one_for_one().child(Child::dynamic(ChildSpec::new("set"), &set));
        let (_root, _registry) = up(tree).await;
        let spec = ChildSpec::new("p").intensity(Intensity::new(0, SHORT));
        set.start_ready(puppet_with(spec, &parked, Script::default()), PATIENCE).await.unwrap();
        let spec = ChildSpec::new("f").restart(Restart::Transient);
        set.start_ready(puppet_with(spec, &finished, Script::default()), PATIENCE).await.unwrap();
        parked.call(Burst, PATIENCE).await.unwrap_err();
        let reason = ExitReason::Panic("in a handler".into());
        let gone = CallError::Gone { state: NodeState::Crashed, reason };
        assert_eq!(parked.call(Add(1), PATIENCE).await, Err(gone));
        finished.call(End(ExitReason::Normal), PATIENCE).await.unwrap();
        let gone = CallError::Gone { state: NodeState::Stopped, reason: ExitReason::Normal };
        assert_eq!(finished.up(PATIENCE).await, Err(gone));
        set.restart(&id("p")).await.unwrap();
        assert_eq!(parked.call(Add(1), PATIENCE).await, Ok(1), "until somebody starts it again");
    });
}

/// A generic actor, whose answer is of the form that actix ties to the message.
struct Cell<T>(T);

supervised!([T: Clone + Unpin + 'static] Cell<T>);

impl<T: Clone + Unpin + 'static> Supervised for Cell<T> {}

impl<T: Clone + Unpin + 'static> Actor for Cell<T> {
    type Context = Context<Self>;
}

struct Get;
struct Content(&'static str);

impl Message for Get {
    type Result = Content;
}

impl<T: Clone + Unpin + Into<&'static str> + 'static> Handler<Get> for Cell<T> {
    type Result = MessageResult<Get>;

    fn handle(&mut self, _: Get, _: &mut Context<Self>) -> MessageResult<Get> {
        MessageResult(Content(self.0.clone().into()))
    }
}

#[test]
fn any_actor_and_any_form_of_answer_goes_through_a_slot() {
    paused(async {
        let slot: Slot<Cell<&'static str>> = Slot::new();
        let child = Child::actor(ChildSpec::new("cell"), &slot, |_| Cell("content"));
        let (_root, _registry) = up(one_for_one().child(child)).await;
        assert_eq!(slot.call(Get, PATIENCE).await.map(|content| content.0), Ok("content"));
    });
}

#[test]
fn handles_may_be_used_from_any_thread() {
    fn any_thread<T: Send>(value: T) -> T {
        value
    }
    let (slot, set) = (Slot::<Puppet>::new(), Dynamic::new());
    drop(any_thread(slot.call(Add(1), SHORT)));
    drop(any_thread(slot.up(SHORT)));
    drop(any_thread(set.start_ready(puppet("a", &slot), SHORT)));
    drop(any_thread(set.stop(&id("a"))));
}
