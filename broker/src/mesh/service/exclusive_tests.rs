//! Updates of a service that must never run twice at a time.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::tests::deploy;
use super::*;
use ServiceState as S;
use proptest::prelude::*;

/// A runner of a few lines: what it was told, and what it says.
#[derive(Default)]
struct Runner {
    holds: BTreeMap<Deployment, ServiceState>,
}

impl Runner {
    fn seen(&self) -> Event {
        let actual = |state: &S| Actual {
            state: *state,
            cause: "as it is".to_owned(),
            failure: (*state == S::Failed).then(|| plain("exit code 3")),
        };
        Event::Seen(self.holds.iter().map(|(id, state)| (id.clone(), actual(state))).collect())
    }

    /// Carries a step out; `fails` says which deployments do not come up.
    fn carry_out(&mut self, step: &Step, fails: &[&str]) {
        match step {
            Step::Load(id) => {
                let has_process = |state: &S| !state.is_final();
                assert!(!self.holds.values().any(has_process), "{id} is loaded beside {:?}", self.holds);
                let state = if fails.contains(&id.as_str()) { S::Failed } else { S::Running };
                self.holds.insert(id.clone(), state);
            }
            Step::Unload(id) => drop(self.holds.remove(id)),
            Step::Commit(_) | Step::Gone => {}
        }
    }
}

/// Lets the state and the runner come to rest; the steps and the verdicts on the way.
fn settle(state: &mut State, runner: &mut Runner, fails: &[&str]) -> (Vec<Step>, Vec<(Deployment, Verdict)>) {
    let (mut steps, mut verdicts) = (Vec::new(), state.on(runner.seen()));
    while let Some(step) = state.next_step() {
        if let Step::Unload(id) = &step {
            // What a runner says while it carries the order out.
            runner.holds.insert(id.clone(), S::Stopped);
            verdicts.extend(state.on(runner.seen()));
        }
        runner.carry_out(&step, fails);
        verdicts.extend(state.on(Event::Done(step.clone())));
        verdicts.extend(state.on(runner.seen()));
        steps.push(step);
        if steps.last() == Some(&Step::Gone) {
            break;
        }
        assert!(steps.len() < 20, "it never comes to rest: {steps:?}");
    }
    (steps, verdicts)
}

fn running() -> (State, Runner) {
    let mut state = State::stored(Some("a".into()), None, BTreeMap::new());
    state.set_exclusive(true);
    let mut runner = Runner::default();
    settle(&mut state, &mut runner, &[]);
    (state, runner)
}

#[test]
fn the_old_one_is_gone_before_the_new_one_is_loaded() {
    let (mut state, mut runner) = running();
    deploy(&mut state, "b".into());
    assert!(state.keeps_active(), "until the new one runs it is what is wanted");
    let (steps, verdicts) = settle(&mut state, &mut runner, &[]);
    assert_eq!(steps, [Step::Unload("a".into()), Step::Load("b".into()), Step::Commit("b".into())]);
    assert_eq!(verdicts, [("b".into(), Verdict::Running)]);
    assert_eq!((state.active(), state.shown().0), (Some("b"), S::Running));
}

#[test]
fn when_the_new_one_fails_the_old_one_comes_back_and_says_why() {
    let (mut state, mut runner) = running();
    deploy(&mut state, "b".into());
    assert_eq!(state.next_step(), Some(Step::Unload("a".into())));
    assert_eq!(state.shown(), (S::Queued, "stopped while its update comes up, since it is exclusive".to_owned()));
    state.on(Event::Lost(Step::Unload("a".into())));
    let (steps, verdicts) = settle(&mut state, &mut runner, &["b"]);
    let expected = [Step::Unload("a".into()), Step::Load("b".into()), Step::Unload("b".into()), Step::Load("a".into())];
    assert_eq!(steps, expected);
    assert_eq!(verdicts, [("b".into(), Verdict::Failed(plain("exit code 3")))]);
    let (shown, cause) = state.shown();
    assert_eq!((shown, cause.as_str()), (S::Running, "as it is; as before, since its update failed: exit code 3"));
    // Until the next one.
    deploy(&mut state, "c".into());
    settle(&mut state, &mut runner, &[]);
    assert_eq!((state.active(), state.shown().1.as_str()), (Some("c"), "as it is"));
}

#[test]
fn a_later_update_during_the_change_keeps_the_old_one_to_return_to() {
    let (mut state, mut runner) = running();
    deploy(&mut state, "b".into());
    let unload = state.next_step().unwrap();
    runner.carry_out(&unload, &[]);
    state.on(Event::Done(unload));
    assert!(state.keeps_active());
    deploy(&mut state, "c".into());
    let (_, verdicts) = settle(&mut state, &mut runner, &["c"]);
    assert_eq!(verdicts.len(), 1);
    assert_eq!((state.active(), state.shown().0), (Some("a"), S::Running));
}

/// An update that failed, with the old one about to be loaded again.
fn coming_back() -> (State, Runner, Step) {
    let (mut state, mut runner) = running();
    deploy(&mut state, "b".into());
    for _ in 0..5 {
        let step = state.next_step().unwrap();
        if step == Step::Load("a".into()) {
            return (state, runner, step);
        }
        runner.carry_out(&step, &["b"]);
        state.on(Event::Done(step));
        state.on(runner.seen());
    }
    panic!("{state:?}")
}

#[test]
fn what_is_back_is_shown_although_the_answer_was_lost_with_the_link() {
    let (mut state, mut runner, load) = coming_back();
    runner.carry_out(&load, &[]);
    state.on(Event::OutOfSight);
    state.on(runner.seen());
    assert_eq!((state.next_step(), state.shown().0), (None, S::Running));
}

#[test]
fn what_the_runner_does_not_take_back_is_shown_as_failed() {
    let (mut state, _, load) = coming_back();
    state.on(Event::Refused(load, "limit".to_owned()));
    assert_eq!(state.shown().0, S::Failed);
}

#[test]
fn a_deploy_over_an_exclusive_one_that_does_not_run_makes_it_go_first() {
    let (mut state, mut runner) = running();
    runner.holds.insert("a".into(), S::Restarting);
    state.on(runner.seen());
    deploy(&mut state, "c".into());
    // The new one is not exclusive, and of the old one nothing is known any more.
    state.set_exclusive(false);
    let (steps, _) = settle(&mut state, &mut runner, &[]);
    assert_eq!(steps, [Step::Unload("a".into()), Step::Load("c".into())]);
}

#[test]
fn a_broker_that_comes_in_the_middle_of_an_update_returns_to_the_old_one() {
    let mut state = State::stored(Some("a".into()), Some("b".into()), BTreeMap::new());
    state.set_exclusive(true);
    let mut runner = Runner::default();
    runner.holds.insert("a".into(), S::Stopped);
    settle(&mut state, &mut runner, &["b"]);
    assert_eq!((runner.holds.get("a"), state.shown().0), (Some(&S::Running), S::Running));
}

#[test]
fn a_refusal_of_the_new_one_is_its_failure() {
    let (mut state, mut runner) = running();
    deploy(&mut state, "b".into());
    for expected in [Step::Unload("a".into()), Step::Load("b".into())] {
        assert_eq!(state.next_step(), Some(expected.clone()));
        if expected == Step::Load("b".into()) {
            state.on(Event::Refused(expected, "no".to_owned()));
        } else {
            runner.carry_out(&expected, &[]);
            state.on(Event::Done(expected));
        }
    }
    settle(&mut state, &mut runner, &[]);
    assert_eq!(state.shown(), (S::Running, "as it is; as before, since its update failed: no".to_owned()));
}

proptest! {
    /// Whatever is deployed and undeployed, and whatever fails or is lost, the runner never has two of them.
    #[test]
    fn never_two_at_a_time(orders in prop::collection::vec((0_u8..4, any::<bool>(), 0_usize..4), 1..30)) {
        let (mut state, mut runner) = running();
        for (n, (order, fails, steps)) in orders.into_iter().enumerate() {
            let id = format!("d{n}");
            match order {
                0 => drop(state.on(Event::Removed)),
                1 => {
                    state.on(Event::OutOfSight);
                    state.on(runner.seen());
                }
                _ => drop(deploy(&mut state, id.clone())),
            }
            let failing = if fails { vec![id.as_str()] } else { vec![] };
            // Some of it happens before the next order comes.
            for _ in 0..steps {
                let Some(step) = state.next_step() else { break };
                runner.carry_out(&step, &failing);
                let is_gone = step == Step::Gone;
                state.on(Event::Done(step));
                state.on(runner.seen());
                if is_gone {
                    break;
                }
            }
        }
        settle(&mut state, &mut runner, &[]);
        prop_assert!(runner.holds.len() <= 1, "{:?}", runner.holds);
    }
}
