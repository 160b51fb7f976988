#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn seen(all: &[(&str, ServiceState)]) -> Event {
    let actual = |state| Actual { state, cause: String::new(), failure: None };
    Event::Seen(all.iter().map(|(id, state)| ((*id).to_owned(), actual(*state))).collect())
}

/// A deploy, in the place that is chosen when it comes.
pub(super) fn deploy(state: &mut State, id: Deployment) -> Vec<(Deployment, Verdict)> {
    let slot = if state.keeps_active() { Slot::Pending } else { Slot::Active };
    state.on(Event::Deployed(id, slot))
}

fn stored(active: Option<&str>, pending: Option<&str>) -> State {
    State::stored(active.map(str::to_owned), pending.map(str::to_owned), BTreeMap::new())
}

use ServiceState::{Crashed, Failed, Restarting, Running, Starting};

#[test]
fn h17_a_restarted_broker_adopts_what_runs() {
    let mut state = stored(Some("a"), None);
    assert_eq!(state.shown().0, ServiceState::Unreachable);
    assert_eq!(state.next_step(), None, "nothing is done out of sight");
    state.on(seen(&[("a", Running)]));
    assert_eq!(state.next_step(), None, "what runs is left alone");
    assert_eq!(state.shown().0, Running);
}

#[test]
fn h15_whoever_started_what_an_update_replaces_is_told() {
    let mut state = stored(Some("a"), Some("b"));
    state.on(seen(&[("a", Starting), ("b", Running)]));
    state.on(Event::Started { anew: false });
    let verdicts = state.on(Event::Done(Step::Commit("b".into())));
    let told: Vec<&str> = verdicts.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(told, ["b", "a"]);
    assert!(matches!(&verdicts[1].1, Verdict::Failed(failure) if failure.reason.contains("update")));
}

#[test]
fn h15_a_rollback_that_is_asked_for_twice_is_one() {
    let mut state = stored(Some("b"), None);
    state.on(seen(&[("b", Running)]));
    assert_eq!(state.on(Event::Returned("a".into())), []);
    assert_eq!(state.on(Event::Returned("a".into())), [], "nobody is told that it failed");
}

#[test]
fn a_rollback_of_what_was_stopped_does_not_bring_that_back_meanwhile() {
    let mut state = stored(Some("b"), None).resting(true);
    state.on(seen(&[]));
    state.on(Event::Returned("a".into()));
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
    state.on(Event::Done(Step::Load("a".into())));
    assert_eq!(state.next_step(), None, "what was stopped stays stopped");
}

#[test]
fn h17_a_restarted_runner_gets_its_services_back() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    state.on(Event::OutOfSight);
    assert_eq!(state.shown().0, ServiceState::Unreachable);
    state.on(seen(&[]));
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
    assert_eq!(state.next_step(), None, "one command at a time");
}

#[test]
fn a_lost_command_is_given_again() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[]));
    let load = state.next_step().unwrap();
    state.on(Event::Lost(load.clone()));
    assert_eq!(state.next_step(), Some(load));
}

#[test]
fn an_answer_that_overtakes_its_report_is_believed() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[]));
    let load = state.next_step().unwrap();
    state.on(Event::Done(load));
    state.on(seen(&[]));
    assert_eq!(state.next_step(), None, "accepted, and not loaded a second time");
    state.on(seen(&[("a", Running)]));
    state.on(seen(&[]));
    let load = state.next_step();
    assert_eq!(load, Some(Step::Load("a".into())), "once it was reported, its absence is a fact");
    state.on(Event::Done(load.unwrap()));
    state.on(Event::OutOfSight);
    state.on(seen(&[]));
    assert_eq!(state.next_step(), Some(Step::Load("a".into())), "a new connection's report is newer than the answer");
}

#[test]
fn failed_and_crashed_count_as_agreement() {
    for end in [Failed, Crashed] {
        let mut state = stored(Some("a"), None);
        state.on(seen(&[("a", end)]));
        assert_eq!(state.next_step(), None);
    }
}

#[test]
fn h10_what_failed_or_crashed_is_not_started_again_by_a_restart() {
    for end in [Failed, Crashed] {
        let mut state = stored(Some("a"), None);
        state.on(seen(&[("a", end)]));
        state.on(Event::OutOfSight);
        state.on(seen(&[]));
        assert_eq!((state.shown().0, state.next_step()), (end, None), "the runner forgot it, we did not");

        let over = Actual { state: end, cause: "so it was".into(), failure: None };
        let mut state = State::stored(Some("a".into()), None, BTreeMap::from([("a".into(), over)]));
        state.on(seen(&[]));
        assert_eq!((state.shown().0, state.next_step()), (end, None), "both were restarted");
    }
}

#[test]
fn a_first_deploy_is_shown_and_judged() {
    let mut state = stored(None, None);
    state.on(seen(&[]));
    assert!(deploy(&mut state, "a".into()).is_empty());
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
    state.on(Event::Done(Step::Load("a".into())));
    assert!(state.on(seen(&[("a", Starting)])).is_empty());
    assert_eq!(state.on(seen(&[("a", Running)])), vec![("a".into(), Verdict::Running)]);
    assert!(state.on(seen(&[("a", Restarting)])).is_empty());
    assert!(state.on(seen(&[("a", Running)])).is_empty(), "a verdict is given once");
}

#[test]
fn an_update_switches_at_the_commit_and_drains_the_old() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    deploy(&mut state, "b".into());
    assert_eq!(state.next_step(), Some(Step::Load("b".into())));
    state.on(Event::Done(Step::Load("b".into())));
    assert!(state.on(seen(&[("a", Running), ("b", Starting)])).is_empty());
    assert_eq!(state.next_step(), None);
    assert_eq!(state.active(), Some("a"));
    assert!(state.on(seen(&[("a", Running), ("b", Running)])).is_empty(), "no verdict before the commit");
    assert_eq!(state.next_step(), Some(Step::Commit("b".into())));
    assert_eq!(state.on(Event::Done(Step::Commit("b".into()))), vec![("b".into(), Verdict::Running)]);
    assert_eq!(state.active(), Some("b"));
    assert_eq!(state.next_step(), Some(Step::Unload("a".into())));
    state.on(Event::Done(Step::Unload("a".into())));
    assert_eq!(state.next_step(), None);
}

#[test]
fn an_update_that_fails_leaves_the_old_alone() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    deploy(&mut state, "b".into());
    let verdicts = state.on(seen(&[("a", Running), ("b", Failed)]));
    assert!(matches!(verdicts[0].1, Verdict::Failed(_)));
    assert_eq!((state.active(), state.pending()), (Some("a"), None));
    assert_eq!(state.next_step(), Some(Step::Unload("b".into())));
}

#[test]
fn h14_the_later_of_two_deploys_wins_and_the_earlier_is_told() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    deploy(&mut state, "b".into());
    let verdicts = deploy(&mut state, "c".into());
    assert_eq!(verdicts[0].0, "b");
    assert_eq!(state.pending(), Some("c"));
}

#[test]
fn h14_an_undeploy_during_a_deploy_wins() {
    let mut state = stored(None, None);
    state.on(seen(&[]));
    deploy(&mut state, "a".into());
    let load = state.next_step().unwrap();
    let verdicts = state.on(Event::Removed);
    assert!(matches!(&verdicts[..], [(id, Verdict::Failed(_))] if id == "a"));
    state.on(Event::Done(load));
    state.on(seen(&[("a", Starting)]));
    assert_eq!(state.next_step(), Some(Step::Unload("a".into())));
    state.on(Event::Done(Step::Unload("a".into())));
    assert_eq!(state.next_step(), Some(Step::Gone));
}

#[test]
fn a_refused_load_is_a_failure_and_not_tried_again() {
    let mut state = stored(None, None);
    state.on(seen(&[]));
    deploy(&mut state, "a".into());
    let load = state.next_step().unwrap();
    let verdicts = state.on(Event::Refused(load, "`args` is too long".into()));
    assert!(matches!(&verdicts[0].1, Verdict::Failed(failure) if failure.reason.contains("args")));
    assert_eq!(state.shown().0, Failed);
    state.on(seen(&[]));
    assert_eq!(state.next_step(), None);
}

#[test]
fn what_is_stopped_rests_and_is_started_again() {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    assert!(state.on(Event::Stopped).is_empty(), "something of it is left");
    assert_eq!(state.shown().0, ServiceState::Draining);
    assert_eq!(state.next_step(), Some(Step::Unload("a".into())));
    assert!(state.on(seen(&[("a", ServiceState::Stopped)])).is_empty());
    assert_eq!(state.on(Event::Done(Step::Unload("a".into()))), vec![("a".into(), Verdict::Stopped)]);
    assert!(state.on(seen(&[])).is_empty(), "told once");
    assert_eq!((state.shown().0, state.next_step()), (ServiceState::Stopped, None));
    state.on(Event::OutOfSight);
    state.on(seen(&[("a", Running)]));
    assert_eq!(state.next_step(), Some(Step::Unload("a".into())), "also when a runner has it after all");
    state.on(Event::Done(Step::Unload("a".into())));

    assert!(state.on(Event::Started { anew: false }).is_empty());
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
    state.on(Event::Done(Step::Load("a".into())));
    assert_eq!(state.on(seen(&[("a", Running)])), vec![("a".into(), Verdict::Running)]);
    let again = state.on(Event::Started { anew: false });
    assert_eq!(again, vec![("a".into(), Verdict::Running)], "what runs is left alone");
}

#[test]
fn a_restart_unloads_and_loads_and_is_judged_by_the_new_life() {
    for before in [Running, Crashed, Failed, Starting] {
        let mut state = stored(Some("a"), None);
        state.on(seen(&[("a", before)]));
        assert!(state.on(Event::Started { anew: true }).is_empty());
        assert!(state.begins_again());
        assert!(state.on(seen(&[("a", before)])).is_empty(), "the old life says nothing of the new one");
        assert_eq!(state.next_step(), Some(Step::Unload("a".into())), "{before}");
        assert!(state.on(seen(&[("a", ServiceState::Stopped)])).is_empty());
        state.on(Event::Done(Step::Unload("a".into())));
        assert!(!state.begins_again());
        assert_eq!(state.next_step(), Some(Step::Load("a".into())), "{before}");
        state.on(Event::Done(Step::Load("a".into())));
        assert_eq!(state.on(seen(&[("a", Running)])), vec![("a".into(), Verdict::Running)]);
    }
}

#[test]
fn a_start_tries_what_ended_again_also_when_its_runner_forgot_it() {
    let over = Actual { state: Crashed, cause: "so it was".into(), failure: None };
    let mut state = State::stored(Some("a".into()), None, BTreeMap::from([("a".into(), over)]));
    state.on(seen(&[]));
    state.on(Event::Started { anew: false });
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
}

/// `b` has replaced `a` a moment ago.
fn replaced() -> State {
    let mut state = stored(Some("a"), None);
    state.on(seen(&[("a", Running)]));
    deploy(&mut state, "b".into());
    state.on(seen(&[("a", Running), ("b", Running)]));
    let commit = state.next_step().unwrap();
    state.on(Event::Done(commit));
    let unload = state.next_step().unwrap();
    state.on(Event::Done(unload));
    state
}

#[test]
fn what_dies_on_trial_brings_the_one_before_it_back_once() {
    let mut state = replaced();
    assert_eq!(state.on_trial(), Some("b"));
    let verdicts = state.on(seen(&[("b", Restarting)]));
    assert!(matches!(&verdicts[..], [(id, Verdict::Died { back, .. })] if id == "b" && back == "a"), "{verdicts:?}");
    assert!(state.on(seen(&[("b", Crashed)])).is_empty(), "once");
    state.on(Event::Returned("a".into()));
    assert_eq!(state.next_step(), Some(Step::Load("a".into())));
    state.on(Event::Done(Step::Load("a".into())));
    state.on(seen(&[("b", Crashed), ("a", Running)]));
    assert_eq!(state.next_step(), Some(Step::Commit("a".into())));
    assert_eq!(state.on(Event::Done(Step::Commit("a".into()))), vec![("a".into(), Verdict::Running)]);
    assert_eq!((state.active(), state.on_trial()), (Some("a"), None));
    assert!(state.on(seen(&[("a", Restarting)])).is_empty(), "what came back is not on trial");
}

#[test]
fn a_trial_ends_with_its_time() {
    let mut state = replaced();
    state.on(Event::Stable("a".into()));
    assert_eq!(state.on_trial(), Some("b"), "not by another one's time");
    state.on(Event::Stable("b".into()));
    assert!(state.on(seen(&[("b", Crashed)])).is_empty());
}

/// A runner in a few lines: does what it is told, and forgets everything when it restarts.
#[derive(Default)]
struct Runner(BTreeMap<Deployment, Actual>);

impl Runner {
    fn carry_out(&mut self, step: &Step, fails: bool) {
        match step {
            Step::Load(id) => {
                let state = if fails { Failed } else { Running };
                self.0.insert(id.clone(), Actual { state, cause: String::new(), failure: None });
            }
            Step::Unload(id) => drop(self.0.remove(id)),
            Step::Commit(_) | Step::Gone => {}
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Deploy,
    Remove,
    Stop,
    Start { anew: bool },
    Return,
    RunnerRestart,
    LinkDown,
    Step { fails: bool, lost: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let step = (any::<bool>(), any::<bool>()).prop_map(|(fails, lost)| Act::Step { fails, lost });
    let act = prop_oneof![
        1 => Just(Act::Deploy),
        1 => Just(Act::Remove),
        1 => Just(Act::Stop),
        1 => any::<bool>().prop_map(|anew| Act::Start { anew }),
        1 => Just(Act::Return),
        1 => Just(Act::RunnerRestart),
        1 => Just(Act::LinkDown),
        6 => step,
    ];
    proptest::collection::vec(act, 0..60)
}

proptest! {
    /// Whatever happens, once the world is left alone the two sides agree, nothing unwanted is left, and
    /// every deploy got exactly one verdict.
    #[test]
    fn wanted_and_actual_come_to_agree(acts in acts()) {
        let (mut state, mut runner) = (stored(None, None), Runner::default());
        let (mut deploys, mut verdicts) = (0_usize, Vec::new());
        let (mut removed, mut stopped) = (false, false);
        for act in acts {
            match act {
                Act::Deploy => {
                    deploys += 1;
                    (removed, stopped) = (false, false);
                    verdicts.extend(deploy(&mut state, format!("d{deploys:03}")));
                }
                Act::Remove => {
                    removed = true;
                    verdicts.extend(state.on(Event::Removed));
                }
                Act::Stop => {
                    stopped = state.active().is_some();
                    if stopped { verdicts.extend(state.on(Event::Stopped)); }
                }
                Act::Start { anew } => {
                    stopped = false;
                    verdicts.extend(state.on(Event::Started { anew }));
                }
                // To the first one, whatever became of it.
                Act::Return => if state.active().is_some_and(|active| active != "d001") && deploys > 1 {
                    stopped = false;
                    verdicts.extend(state.on(Event::Returned("d001".into())));
                },
                Act::RunnerRestart => {
                    verdicts.extend(state.on(Event::OutOfSight));
                    runner.0.clear();
                }
                Act::LinkDown => verdicts.extend(state.on(Event::OutOfSight)),
                Act::Step { fails, lost } => {
                    verdicts.extend(state.on(Event::Seen(runner.0.clone())));
                    if let Some(step) = state.next_step() {
                        // A lost answer may mean done or not done.
                        if !lost || fails { runner.carry_out(&step, fails); }
                        let end = if lost { Event::Lost(step) } else { Event::Done(step) };
                        verdicts.extend(state.on(end));
                    }
                }
            }
        }
        for _ in 0..20 {
            verdicts.extend(state.on(Event::Seen(runner.0.clone())));
            let Some(step) = state.next_step() else { break };
            runner.carry_out(&step, false);
            if step == Step::Gone { break; }
            verdicts.extend(state.on(Event::Done(step)));
        }
        verdicts.extend(state.on(Event::Seen(runner.0.clone())));
        let left: Vec<&str> = runner.0.keys().map(String::as_str).collect();
        // What ended for good may be forgotten by its runner; it is not started again.
        let ended = state.active().filter(|id| state.over(id).is_some() && left.is_empty());
        let expected: Vec<&str> = state.active().filter(|_| ended.is_none() && !stopped).into_iter().collect();
        prop_assert_eq!(&left, &expected);
        prop_assert!(!(removed || stopped) || left.is_empty());
        // Whoever deployed something has one verdict of it; what is only run again may have more.
        for deploy in 2..=deploys {
            let id = format!("d{deploy:03}");
            prop_assert!(verdicts.iter().any(|(judged, _)| *judged == id), "{} was never judged", id);
        }
        prop_assert!(deploys == 0 || verdicts.iter().any(|(id, _)| id == "d001"));
        let ends = |id: &str| !state.is_unsettled(id);
        prop_assert!(state.active().is_none_or(ends) && state.pending().is_none());
    }
}
