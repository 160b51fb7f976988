#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod more;

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

/// What a deployment lets its processes have at once unless it says otherwise.
const IN_FLIGHT_MAX: usize = 256;
const SECOND: Duration = Duration::from_secs(1);
const PARAMS_ECHO: &[u8] = br#"{"name":"echo","arguments":{}}"#;
const PARAMS_COUNT: &[u8] = br#"{"arguments":{},"name":"count"}"#;

struct Bench {
    gate: Gate,
    /// The process that was opened last.
    generation: u64,
    now: Duration,
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        Self { gate: Gate::default(), generation: 0, now: Duration::ZERO, effects: Vec::new() }
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.effects.clear();
        self.gate.on(event, self.now, &mut self.effects);
        self.effects.clone()
    }

    fn wrote(&mut self, rpc: u64) -> Vec<Effect> {
        self.on(Event::Written { generation: self.generation, rpc })
    }

    fn said(&mut self, rpc: u64) -> Vec<Effect> {
        self.said_by(self.generation, rpc)
    }

    fn said_by(&mut self, generation: u64, rpc: u64) -> Vec<Effect> {
        self.on(Event::Answered { generation, rpc, answer: Answer::Result(Bytes::new()) })
    }

    fn open(&mut self, generation: u64) -> Vec<Effect> {
        self.generation = generation;
        self.on(Event::Opened { generation, repeatable: Arc::new(["echo".to_owned()].into()) })
    }

    fn submit(&mut self, id: u64, params: &'static [u8]) -> Vec<Effect> {
        self.on(Event::Submit(call(id, params)))
    }

    fn after(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.on(Event::Tick)
    }
}

fn call(id: u64, params: &'static [u8]) -> Submit {
    Submit {
        origin: Origin { session: 1, id },
        method: "tools/call".to_owned(),
        params: Bytes::from_static(params),
        timeout: 60 * SECOND,
        retry: true,
        attempts_before: 0,
        member: None,
        whole_time: true,
        tells: false,
    }
}

fn written(effects: &[Effect]) -> Vec<u64> {
    effects.iter().filter_map(|effect| if let Effect::Write { rpc, .. } = effect { Some(*rpc) } else { None }).collect()
}

/// (id of the call, code or "ok", attempts)
fn replies(effects: &[Effect]) -> Vec<(u64, String, u8)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Reply { origin, answer, attempts } => Some((
                origin.id,
                match answer {
                    Answer::Failed { code, .. } => serde_json::to_value(code).unwrap().as_str().unwrap().to_owned(),
                    Answer::Result(_) | Answer::Error(_) => "ok".to_owned(),
                },
                *attempts,
            )),
            _ => None,
        })
        .collect()
}

fn reply(id: u64, code: &str, attempts: u8) -> Vec<(u64, String, u8)> {
    vec![(id, code.to_owned(), attempts)]
}

#[test]
fn a_call_waits_for_the_service_and_is_answered_once() {
    let mut bench = Bench::new();
    assert!(bench.submit(1, PARAMS_ECHO).is_empty());
    let rpc = written(&bench.open(1))[0];
    bench.wrote(rpc);
    assert_eq!(replies(&bench.said(rpc)), reply(1, "ok", 1));
    assert!(bench.said(rpc).is_empty());
    assert_eq!(bench.gate.counters().repeated, 1);
    assert_eq!(bench.gate.wake_at(), None);
}

/// What becomes of one call at the death of its process: (params, retry, written, earlier attempts) → answer.
#[test]
fn h09_verdicts_at_a_death() {
    /// Name, params, retry wanted, written, attempts before, and the failure's word (none: it waits again).
    type Case<'a> = (&'a str, &'static [u8], bool, bool, u8, Option<&'a str>);
    let table: &[Case<'_>] = &[
        ("never written, repeatable", PARAMS_ECHO, true, false, 0, None),
        ("never written, not repeatable", PARAMS_COUNT, true, false, 0, None),
        ("never written, retry never", PARAMS_COUNT, false, false, 0, None),
        ("written once, repeatable", PARAMS_ECHO, true, true, 0, None),
        ("written once, repeatable, retry never", PARAMS_ECHO, false, true, 0, Some("outcome_unknown")),
        ("written once, not repeatable", PARAMS_COUNT, true, true, 0, Some("outcome_unknown")),
        ("written twice, repeatable", PARAMS_ECHO, true, true, 1, Some("poison")),
        ("written twice, not repeatable", PARAMS_COUNT, true, true, 1, Some("poison")),
    ];
    for (name, params, retry, was_written, before, expected) in table {
        let mut bench = Bench::new();
        bench.open(1);
        let submit = Submit { retry: *retry, attempts_before: *before, ..call(7, params) };
        let rpc = written(&bench.on(Event::Submit(submit)))[0];
        if *was_written {
            bench.wrote(rpc);
        }
        let effects = bench.on(Event::Died { generation: 1 });
        match expected {
            Some(code) => assert_eq!(replies(&effects), reply(7, code, before + 1), "{name}"),
            None => {
                assert!(effects.is_empty(), "{name}: {effects:?}");
                let again = written(&bench.open(2));
                assert_eq!(again.len(), 1, "{name}");
                assert_ne!(again[0], rpc, "{name}: a new process gets a new id");
            }
        }
    }
}

#[test]
fn two_deaths_are_poison() {
    let mut bench = Bench::new();
    bench.submit(1, PARAMS_ECHO);
    for generation in 1..=2 {
        let rpc = written(&bench.open(generation))[0];
        bench.wrote(rpc);
        bench.on(Event::Died { generation });
    }
    assert_eq!(replies(&bench.effects), reply(1, "poison", 2));
}

#[test]
fn what_goes_back_keeps_its_place_in_front() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.submit(1, PARAMS_ECHO);
    bench.submit(2, PARAMS_ECHO);
    bench.on(Event::Died { generation: 1 });
    bench.submit(3, PARAMS_ECHO);
    let effects = bench.open(2);
    for rpc in written(&effects) {
        bench.wrote(rpc);
    }
    let order: Vec<u64> = written(&effects).into_iter().map(|rpc| replies(&bench.said(rpc))[0].0).collect();
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn an_older_process_cannot_end_a_newer_ones_calls() {
    let mut bench = Bench::new();
    bench.open(2);
    bench.submit(1, PARAMS_COUNT);
    assert!(bench.on(Event::Died { generation: 1 }).is_empty());
    assert_eq!(bench.gate.in_flight(), 1);
}

#[test]
fn h04_waiting_ends_after_thirty_seconds_or_the_calls_own_time() {
    let mut bench = Bench::new();
    bench.submit(1, PARAMS_ECHO);
    bench.on(Event::Submit(Submit { timeout: 5 * SECOND, ..call(2, PARAMS_ECHO) }));
    assert!(bench.after(4 * SECOND).is_empty());
    assert_eq!(replies(&bench.after(SECOND)), reply(2, "timeout", 0));
    assert!(bench.after(24 * SECOND).is_empty());
    assert_eq!(replies(&bench.after(SECOND)), reply(1, "not_running", 0));
}

#[test]
fn a_call_that_waits_for_room_has_its_own_time() {
    let mut bench = Bench::new();
    bench.open(1);
    for id in 0..=IN_FLIGHT_MAX as u64 {
        bench.submit(id, PARAMS_COUNT);
    }
    assert_eq!((bench.gate.in_flight(), bench.gate.waiting()), (IN_FLIGHT_MAX, 1));
    assert!(bench.after(40 * SECOND).is_empty());
    assert_eq!(replies(&bench.after(20 * SECOND)).len(), IN_FLIGHT_MAX + 1);
}

#[test]
fn room_is_bounded() {
    let mut bench = Bench::new();
    for id in 0..WAITING_MAX as u64 {
        assert!(bench.submit(id, PARAMS_ECHO).is_empty());
    }
    assert_eq!(replies(&bench.submit(9_999, PARAMS_ECHO)), reply(9_999, "overloaded", 0));
    assert_eq!(written(&bench.open(1)).len(), IN_FLIGHT_MAX);
}

#[test]
fn a_time_out_tells_the_server_and_frees_the_place() {
    let mut bench = Bench::new();
    bench.open(1);
    let rpc = written(&bench.submit(1, PARAMS_ECHO))[0];
    bench.wrote(rpc);
    let effects = bench.after(60 * SECOND);
    assert!(matches!(effects[0], Effect::Revoke { rpc: revoked, .. } if revoked == rpc));
    assert_eq!(replies(&effects), reply(1, "timeout", 1));
    assert!(bench.said(rpc).is_empty());
    assert!(bench.said(5).is_empty());
    assert_eq!(bench.gate.counters(), Counters { late: 1, foreign: 1, ..Counters::default() });
}

#[test]
fn cancel_and_lost_sessions() {
    let mut bench = Bench::new();
    bench.open(1);
    bench.submit(1, PARAMS_ECHO);
    let cancel = Event::Cancel { origin: Origin { session: 1, id: 1 }, reason: None };
    assert_eq!(replies(&bench.on(cancel.clone())), reply(1, "cancelled", 0));
    assert!(bench.on(cancel).is_empty());
    bench.submit(2, PARAMS_ECHO);
    bench.on(Event::Submit(Submit { origin: Origin { session: 2, id: 2 }, ..call(2, PARAMS_ECHO) }));
    assert_eq!(replies(&bench.on(Event::SessionGone { session: 1 })), reply(2, "link_lost", 0));
    assert_eq!(bench.gate.in_flight(), 1);
}

#[test]
fn a_closed_gate_answers_at_once_and_opens_again() {
    let mut bench = Bench::new();
    bench.submit(1, PARAMS_ECHO);
    let closed = Event::Closed { state: "crashed", reason: "exit code 3".to_owned() };
    assert_eq!(replies(&bench.on(closed)), reply(1, "not_running", 0));
    let Effect::Reply { answer: Answer::Failed { message, .. }, .. } = &bench.submit(2, PARAMS_ECHO)[0] else {
        panic!()
    };
    assert_eq!(message, "the service is crashed: exit code 3");
    bench.on(Event::Waiting { state: "restarting" });
    assert!(bench.submit(3, PARAMS_ECHO).is_empty());
    assert_eq!(written(&bench.open(5)).len(), 1);
}

#[test]
fn draining_lets_the_process_finish_and_says_when_it_did() {
    let mut bench = Bench::new();
    bench.open(1);
    let rpc = written(&bench.submit(1, PARAMS_COUNT))[0];
    assert!(bench.on(Event::Drain).is_empty());
    assert_eq!(replies(&bench.submit(2, PARAMS_ECHO)), reply(2, "draining", 0));
    let effects = bench.said(rpc);
    assert_eq!(replies(&effects), reply(1, "ok", 1));
    assert_eq!(effects.last(), Some(&Effect::Idle));
}

#[test]
fn a_duplicate_id_is_counted_and_not_answered_twice() {
    let mut bench = Bench::new();
    bench.submit(1, PARAMS_ECHO);
    assert!(bench.submit(1, PARAMS_COUNT).is_empty());
    assert_eq!(bench.gate.counters().duplicate, 1);
    assert_eq!(written(&bench.open(1)).len(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Submit { repeatable: bool, retry: bool, timeout: u64, member: u8 },
    Open,
    Die(usize),
    Write(usize),
    Answer(usize),
    Foreign(u64),
    Cancel(usize),
    Pass(u64),
    Drain,
    Close,
    Reopen,
    Session,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<bool>(), any::<bool>(), 1_u64..90, 0_u8..4).prop_map(|(repeatable, retry, timeout, member)| Step::Submit { repeatable, retry, timeout, member }),
        3 => Just(Step::Open),
        2 => (0_usize..8).prop_map(Step::Die),
        8 => (0_usize..64).prop_map(Step::Write),
        6 => (0_usize..64).prop_map(Step::Answer),
        1 => (0_u64..u64::MAX).prop_map(Step::Foreign),
        2 => (0_usize..64).prop_map(Step::Cancel),
        3 => (1_u64..40).prop_map(Step::Pass),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
        2 => Just(Step::Reopen),
        1 => Just(Step::Session),
    ]
}

/// A careful observer of everything that the gate says.
#[derive(Default)]
struct Model {
    submitted: Vec<(bool, bool)>,
    answers: HashMap<u64, u32>,
    /// Request id → (call, written)
    sent: HashMap<u64, (u64, bool)>,
    writes: HashMap<u64, u32>,
    /// Requests before each process that lives.
    alive: Vec<(u64, Vec<u64>)>,
}

impl Model {
    fn take(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Write { generation, rpc, params, .. } => {
                    let id: u64 =
                        serde_json::from_slice::<serde_json::Value>(params).unwrap()["arguments"].as_u64().unwrap();
                    assert!(self.sent.insert(*rpc, (id, false)).is_none(), "a request id was used twice");
                    assert!(!self.answers.contains_key(&id), "written after it was answered");
                    let (_, requests) = self.alive.iter_mut().find(|(alive, _)| alive == generation).expect("it lives");
                    requests.push(*rpc);
                }
                Effect::Reply { origin, .. } => *self.answers.entry(origin.id).or_default() += 1,
                Effect::Revoke { .. } | Effect::Progress { .. } | Effect::Say(_) | Effect::Idle => {}
            }
        }
    }

    /// Some request, and the process that has it.
    fn some(&self, n: usize) -> Option<(u64, u64)> {
        let all: Vec<_> =
            self.alive.iter().flat_map(|(generation, rpcs)| rpcs.iter().map(|rpc| (*generation, *rpc))).collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn write(&mut self, rpc: u64) {
        let (id, written) = self.sent.get_mut(&rpc).unwrap();
        if !std::mem::replace(written, true) {
            *self.writes.entry(*id).or_default() += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_call_is_answered_once_and_nothing_else_runs_twice(steps in prop::collection::vec(step(), 1..120)) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        let mut generation = 0;
        for step in steps {
            let effects = match step {
                Step::Submit { repeatable, retry, timeout, member } => {
                    let id = model.submitted.len() as u64;
                    model.submitted.push((repeatable, retry));
                    let name = if repeatable { "echo" } else { "count" };
                    let params = Bytes::from(format!(r#"{{"name":"{name}","arguments":{id}}}"#));
                    let member = (member > 0).then(|| Arc::from(member.to_string()));
                    let timeout = Duration::from_secs(timeout);
                    bench.on(Event::Submit(Submit { params, retry, timeout, member, ..call(id, b"") }))
                }
                Step::Open => {
                    generation += 1;
                    model.alive.push((generation, Vec::new()));
                    bench.open(generation)
                }
                Step::Die(n) if !model.alive.is_empty() => {
                    let (generation, _) = model.alive.remove(n % model.alive.len());
                    bench.on(Event::Died { generation })
                }
                Step::Write(n) => match model.some(n) {
                    Some((generation, rpc)) => {
                        model.write(rpc);
                        bench.on(Event::Written { generation, rpc })
                    }
                    None => vec![],
                },
                Step::Answer(n) => match model.some(n) {
                    Some((generation, rpc)) => {
                        model.write(rpc);
                        bench.said_by(generation, rpc)
                    }
                    None => vec![],
                },
                Step::Foreign(rpc) => bench.said_by(generation + 1, rpc),
                Step::Cancel(n) if !model.submitted.is_empty() => {
                    let id = (n % model.submitted.len()) as u64;
                    bench.on(Event::Cancel { origin: Origin { session: 1, id }, reason: None })
                }
                Step::Pass(seconds) => bench.after(Duration::from_secs(seconds)),
                Step::Drain => bench.on(Event::Drain),
                Step::Close => {
                    model.alive.clear();
                    bench.on(Event::Closed { state: "crashed", reason: String::new() })
                }
                Step::Reopen => bench.on(Event::Waiting { state: "restarting" }),
                Step::Session => bench.on(Event::SessionGone { session: 1 }),
                Step::Die(_) | Step::Cancel(_) => vec![],
            };
            model.take(&effects);
            let mine = |member: &Member| bench.gate.share(member).in_flight <= MEMBER_IN_FLIGHT_MAX;
            prop_assert!(bench.gate.shares.keys().all(|member| member.is_none() || mine(member)));
            prop_assert!(bench.gate.in_flight() <= IN_FLIGHT_MAX);
            prop_assert!(bench.gate.waiting() <= WAITING_MAX + IN_FLIGHT_MAX);
            prop_assert!(bench.gate.wake_at().is_none_or(|at| at > bench.now || bench.gate.in_flight() + bench.gate.waiting() > 0));
        }
        let last = bench.on(Event::Closed { state: "stopped", reason: String::new() });
        model.take(&last);
        for (id, (repeatable, retry)) in model.submitted.iter().enumerate() {
            let id = id as u64;
            prop_assert_eq!(model.answers.get(&id), Some(&1), "call {}", id);
            let writes = model.writes.get(&id).copied().unwrap_or(0);
            prop_assert!(writes <= if *repeatable && *retry { 2 } else { 1 }, "call {} was written {} times", id, writes);
        }
        prop_assert_eq!((bench.gate.in_flight(), bench.gate.waiting(), bench.gate.wake_at()), (0, 0, None));
        prop_assert_eq!((bench.gate.held_bytes, bench.gate.shares.len()), (0, 0));
    }
}
