//! Several processes, several members, progress, and servers that answer nothing in time.

use super::*;

fn member(name: &str) -> Member {
    Some(Arc::from(name))
}

fn of(name: &str, id: u64) -> Event {
    Event::Submit(Submit { member: member(name), ..call(id, PARAMS_COUNT) })
}

/// (process, request id) of each hand-over
fn given(effects: &[Effect]) -> Vec<(u64, u64)> {
    let one = |effect: &Effect| match effect {
        Effect::Write { generation, rpc, .. } => Some((*generation, *rpc)),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn words(effects: &[Effect]) -> Vec<(u64, Bytes)> {
    let one = |effect: &Effect| match effect {
        Effect::Progress { origin, word } => Some((origin.id, word.clone())),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn message(effects: &[Effect]) -> &str {
    match effects {
        [Effect::Reply { answer: Answer::Failed { message, .. }, .. }] => message,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    fn with(rules: Rules) -> Self {
        Self { gate: Gate::new(GateMeter::default(), rules), ..Self::new() }
    }
}

#[test]
fn h50_a_member_has_64_calls_before_the_processes_and_256_waiting_and_others_have_theirs() {
    let mut bench = Bench::new();
    bench.open(1);
    let mut sent = Vec::new();
    for id in 0..(MEMBER_IN_FLIGHT_MAX + MEMBER_WAITING_MAX) as u64 {
        sent.extend(given(&bench.on(of("many", id))));
    }
    assert_eq!((bench.gate.in_flight(), bench.gate.waiting()), (MEMBER_IN_FLIGHT_MAX, MEMBER_WAITING_MAX));
    let refused = bench.on(of("many", 9_000));
    assert_eq!(replies(&refused), reply(9_000, "overloaded", 0));
    assert_eq!(message(&refused), "limit: 256 calls of this member wait for this service already");
    // There is room, and who comes now has it at once.
    assert_eq!(given(&bench.on(of("one", 9_001))).len(), 1);
    // A place of the first one's goes to its own next call.
    assert_eq!(given(&bench.said(sent[0].1)).len(), 1);
    assert_eq!((bench.gate.in_flight(), bench.gate.waiting()), (MEMBER_IN_FLIGHT_MAX + 1, MEMBER_WAITING_MAX - 1));
}

#[test]
fn h50_members_take_turns_when_there_is_no_room() {
    let mut bench = Bench::with(Rules { concurrency: 1, ..Rules::default() });
    bench.open(1);
    let first = given(&bench.on(of("many", 0)))[0].1;
    (1..200).for_each(|id| assert!(bench.on(of("many", id)).is_empty()));
    assert!(bench.on(of("one", 500)).is_empty());
    assert_eq!(bench.gate.in_flight(), 1, "the deployment wants one at a time");
    let mut rpc = first;
    let mut order = Vec::new();
    for _ in 0..3 {
        let effects = bench.said(rpc);
        order.push(replies(&effects)[0].0);
        rpc = given(&effects)[0].1;
    }
    assert_eq!(order, [0, 1, 500], "one call of the other's, then its own");
}

#[test]
fn h50_a_member_cannot_hold_all_of_the_memory() {
    let mut bench = Bench::new();
    let large = Bytes::from(vec![b' '; MEMBER_HELD_BYTES_MAX / 2]);
    let big = |who: &str, id| Event::Submit(Submit { member: member(who), params: large.clone(), ..call(id, b"") });
    assert!((0..2).all(|id| bench.on(big("many", id)).is_empty()));
    assert_eq!(replies(&bench.on(of("many", 2))), reply(2, "overloaded", 0));
    assert!(bench.on(big("one", 3)).is_empty());
    // What is answered is given back.
    bench.on(Event::Cancel { origin: Origin { session: 1, id: 0 }, reason: None });
    assert!(bench.on(of("many", 4)).is_empty());
}

#[test]
fn a_death_is_that_processes_calls_affair_alone() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.open(2);
    let calls: Vec<(u64, u64)> = (0..4).flat_map(|id| given(&bench.submit(id, PARAMS_COUNT))).collect();
    assert_eq!(calls.iter().map(|(generation, _)| *generation).collect::<Vec<_>>(), [1, 2, 1, 2]);
    for (generation, rpc) in &calls {
        bench.on(Event::Written { generation: *generation, rpc: *rpc });
    }
    assert!(bench.said_by(2, calls[0].1).is_empty(), "one process cannot answer for another");
    assert_eq!(bench.gate.counters().foreign, 1);
    let lost: Vec<_> = replies(&bench.on(Event::Died { generation: 1 }));
    assert_eq!(
        lost.iter().map(|(id, code, _)| (*id, code.as_str())).collect::<Vec<_>>(),
        [(2, "outcome_unknown"), (0, "outcome_unknown")]
    );
    assert_eq!(bench.gate.in_flight(), 2);
    // The other one goes on, and new calls are its own.
    assert_eq!(given(&bench.submit(9, PARAMS_COUNT))[0].0, 2);
    assert_eq!(replies(&bench.said_by(2, calls[1].1)), reply(1, "ok", 1));
}

#[test]
fn h09_what_may_go_to_another_process_goes_to_one_that_is_there() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.open(2);
    let (_, rpc) = given(&bench.submit(1, PARAMS_ECHO))[0];
    bench.on(Event::Written { generation: 1, rpc });
    let effects = bench.on(Event::Died { generation: 1 });
    let (generation, fresh) = given(&effects)[0];
    assert_eq!((generation, fresh == rpc, replies(&effects).len()), (2, false, 0));
    bench.on(Event::Written { generation: 2, rpc: fresh });
    assert_eq!(replies(&bench.on(Event::Died { generation: 2 })), reply(1, "poison", 2));
}

#[test]
fn time_outs_in_a_row_open_the_circuit_and_an_answer_closes_it() {
    let mut bench = Bench::new();
    bench.open(1);
    for id in 0..5 {
        bench.submit(id, PARAMS_COUNT);
    }
    // Impatient callers count for nothing.
    let impatient = |id| Event::Submit(Submit { timeout: SECOND, ..call(id, PARAMS_COUNT) });
    (10..30).for_each(|id| drop(bench.on(impatient(id))));
    assert_eq!(replies(&bench.after(SECOND)).len(), 20);
    assert_eq!(written(&bench.submit(40, PARAMS_COUNT)).len(), 1);
    assert!(bench.gate.patience(1).is_some());
    let effects = bench.after(59 * SECOND);
    assert_eq!(replies(&effects).len(), 5);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Say(words) if words.starts_with("5 calls in a row"))));
    assert_eq!(bench.gate.patience(1), None, "the call that is left is no excuse");
    let effects = bench.submit(50, PARAMS_ECHO);
    assert_eq!(replies(&effects), reply(50, "circuit_open", 0));
    assert!(message(&effects).contains("tried again in 31 s"), "{effects:?}");
    // One call tries it; others do not wait for that.
    bench.after(OPEN_FOR);
    let rpc = written(&bench.submit(60, PARAMS_ECHO))[0];
    assert_eq!(replies(&bench.submit(61, PARAMS_ECHO)), reply(61, "circuit_open", 0));
    let effects = bench.said(rpc);
    assert_eq!(replies(&effects), reply(60, "ok", 1));
    assert!(effects.contains(&Effect::Say("it answers calls again".to_owned())));
    assert_eq!(written(&bench.submit(62, PARAMS_ECHO)).len(), 1);
}

#[test]
fn a_call_with_the_deployments_own_time_counts_although_some_of_it_was_lost_on_the_way() {
    for (whole_time, lost_ms, opens) in [(true, 1, true), (true, 5_000, true), (true, 7_000, false), (false, 1, false)]
    {
        let mut bench = Bench::new();
        bench.open(1);
        let timeout = 60 * SECOND - Duration::from_millis(lost_ms);
        let late = |id| Event::Submit(Submit { timeout, whole_time, ..call(id, PARAMS_COUNT) });
        (0..5).for_each(|id| drop(bench.on(late(id))));
        let effects = bench.after(timeout);
        assert_eq!(replies(&effects).len(), 5);
        let says = |effect: &Effect| matches!(effect, Effect::Say(words) if words.starts_with("5 calls in a row"));
        assert_eq!(effects.iter().any(says), opens, "{whole_time} {lost_ms}");
    }
}

#[test]
fn what_waits_when_the_circuit_opens_is_told_and_a_late_answer_closes_it() {
    let mut bench = Bench::with(Rules { concurrency: 2, circuit_timeouts: 2, ..Rules::default() });
    bench.open(1);
    let rpc = written(&bench.submit(0, PARAMS_COUNT))[0];
    bench.submit(1, PARAMS_COUNT);
    bench.after(SECOND);
    bench.submit(2, PARAMS_COUNT);
    let codes: Vec<String> = replies(&bench.after(59 * SECOND)).into_iter().map(|(_, code, _)| code).collect();
    assert_eq!(codes, ["timeout", "timeout", "circuit_open"]);
    bench.said(rpc);
    assert_eq!(written(&bench.submit(3, PARAMS_COUNT)).len(), 1);
    // Another process begins without a past.
    bench.on(Event::Died { generation: 1 });
    bench.open(2);
    assert_eq!(written(&bench.submit(4, PARAMS_COUNT)).len(), 1);
}

#[test]
fn a_process_is_excused_by_its_own_calls_for_as_long_as_they_may_take() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.open(2);
    assert_eq!(bench.gate.patience(1), None);
    bench.on(Event::Submit(Submit { timeout: 5 * SECOND, ..call(1, PARAMS_COUNT) }));
    assert_eq!((bench.gate.patience(1), bench.gate.patience(2)), (Some(5 * SECOND), None));
    bench.after(5 * SECOND);
    assert_eq!(bench.gate.patience(1), None);
}

#[test]
fn h20_progress_goes_to_who_asked_for_it_and_the_last_word_wins() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.open(2);
    let asked = Submit { tells: true, ..call(1, PARAMS_COUNT) };
    let effects = bench.on(Event::Submit(asked));
    assert!(matches!(effects[0], Effect::Write { tells: true, .. }));
    let (generation, rpc) = given(&effects)[0];
    let silent = given(&bench.submit(2, PARAMS_COUNT))[0].1;
    let says = |bench: &mut Bench, generation, rpc, word: &'static str| {
        words(&bench.on(Event::Progress { generation, rpc, word: Bytes::from_static(word.as_bytes()) }))
    };
    let word = |word: &'static str| vec![(1, Bytes::from_static(word.as_bytes()))];
    assert_eq!(says(&mut bench, generation, rpc, "a"), word("a"));
    assert!(says(&mut bench, generation, rpc, "b").is_empty());
    assert!(says(&mut bench, generation, rpc, "c").is_empty());
    assert_eq!(bench.gate.wake_at(), Some(PROGRESS_EVERY));
    assert_eq!(words(&bench.after(PROGRESS_EVERY)), word("c"));
    // Nobody asked; not its call; no call at all.
    assert!(says(&mut bench, 2, silent, "x").is_empty());
    assert!(says(&mut bench, 2, rpc, "x").is_empty());
    assert!(says(&mut bench, generation, 7, "x").is_empty());
    // What was held back comes before the answer, and nothing after it.
    assert!(says(&mut bench, generation, rpc, "d").is_empty());
    let effects = bench.said_by(generation, rpc);
    assert_eq!((words(&effects), replies(&effects)), (word("d"), reply(1, "ok", 1)));
    assert!(matches!(effects[0], Effect::Progress { .. }));
    assert!(says(&mut bench, generation, rpc, "e").is_empty());
}
