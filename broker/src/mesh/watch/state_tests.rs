#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules { interval_ms: 1_000, phase_ms: 0, notify: Notify::Change, fail_after: 3, settle: 1 }
}

fn seen(text: &str) -> Seen {
    Seen::of(text.as_bytes(), text.to_owned())
}

fn failure(reason: &str) -> Look {
    Look::Failed { reason: reason.to_owned() }
}

/// A watch, its time, and what its owner was told.
struct Run {
    state: State,
    now: i64,
    told: Vec<(Kind, Option<String>, Option<String>)>,
}

impl Run {
    fn new(rules: Rules) -> Self {
        Self { state: State::new(rules, Committed::default(), 0), now: 0, told: Vec::new() }
    }

    /// Waits for the next look, and answers it; each commit is stored as `store` says. Returns how long it waited.
    fn look(&mut self, look: Look, store: impl Fn(&Commit) -> Stored) -> i64 {
        let began = self.now;
        let mut step = self.state.tick(self.now);
        while let Step::Wait(until) = step {
            assert!(until > self.now, "a wait is for later");
            self.now = until;
            step = self.state.tick(self.now);
        }
        assert_eq!(step, Step::Look, "no commit is left behind");
        assert_eq!(self.state.tick(self.now), Step::Look, "one look at a time");
        step = self.state.looked(look, self.now, 0);
        while let Step::Commit(commit) = step {
            let stored = store(&commit);
            if stored == Stored::Done && commit.told {
                let text = |committed: &Committed| committed.value.as_ref().map(|seen| seen.text.clone());
                self.told.push((commit.kind, text(&commit.before), text(&commit.after)));
            }
            step = self.state.stored(stored, self.now);
        }
        self.now - began
    }

    fn see(&mut self, text: &str) -> i64 {
        self.look(Look::Seen(seen(text)), |_| Stored::Done)
    }

    fn fail(&mut self) -> i64 {
        self.look(failure("the answer was 503"), |_| Stored::Done)
    }
}

fn changed(old: &str, new: &str) -> (Kind, Option<String>, Option<String>) {
    (Kind::Changed, Some(old.to_owned()), Some(new.to_owned()))
}

#[test]
fn the_first_value_is_kept_and_a_change_is_told() {
    let mut run = Run::new(rules());
    run.see("heads");
    assert_eq!(run.told, []);
    run.see("heads");
    run.see("tails");
    run.look(Look::Unchanged, |_| Stored::Done);
    assert_eq!(run.told, [changed("heads", "tails")]);
    assert_eq!(run.state.committed().version, 2);
}

#[test]
fn what_is_waited_for_is_told_each_time_it_comes() {
    let mut run = Run::new(Rules { notify: Notify::Match("up".to_owned()), ..rules() });
    for text in ["down", "up", "up", "down", "up"] {
        run.see(text);
    }
    assert_eq!(run.told, [changed("down", "up"), changed("down", "up")]);
    let mut run = Run::new(Rules { notify: Notify::Match("up".to_owned()), ..rules() });
    run.see("up");
    assert_eq!(run.told, [(Kind::First, None, Some("up".to_owned()))]);
    let mut run = Run::new(Rules { notify: Notify::NotMatch("200".to_owned()), ..rules() });
    for text in ["200", "503", "503", "500", "200"] {
        run.see(text);
    }
    assert_eq!(run.told, [changed("200", "503"), changed("503", "500")]);
}

/// The value that is waited for is found though what is shown of it is cut.
#[test]
fn a_long_value_is_matched_whole() {
    let whole = "x".repeat(5_000);
    let mut run = Run::new(Rules { notify: Notify::Match(whole.clone()), ..rules() });
    run.look(Look::Seen(Seen::of(whole.as_bytes(), "xx…".to_owned())), |_| Stored::Done);
    assert_eq!(run.told.len(), 1);
}

#[test]
fn h39_failures_are_told_once_and_their_end_once() {
    let mut run = Run::new(rules());
    run.see("a");
    (0..8).for_each(|_| {
        run.fail();
    });
    assert_eq!(run.told, [(Kind::Failed, Some("a".to_owned()), Some("a".to_owned()))]);
    run.see("a");
    run.see("a");
    assert_eq!(run.told.len(), 2);
    assert_eq!(run.told[1].0, Kind::Recovered);
    // Fewer than it takes are told to nobody, and a success in between begins the count anew.
    for _ in 0..4 {
        run.fail();
        run.fail();
        run.see("a");
    }
    assert_eq!(run.told.len(), 2);
    // What changed meanwhile is told behind the recovery.
    (0..3).for_each(|_| {
        run.fail();
    });
    run.see("b");
    assert_eq!(run.told[3..], [(Kind::Recovered, Some("a".to_owned()), Some("a".to_owned())), changed("a", "b")]);
}

#[test]
fn failures_that_were_told_are_followed_by_longer_waits_up_to_a_bound() {
    let mut run = Run::new(rules());
    run.see("a");
    let mut waits = Vec::new();
    for _ in 0..14 {
        waits.push(run.fail());
    }
    assert_eq!(waits[..7], [1_000, 1_000, 1_000, 2_000, 4_000, 8_000, 16_000]);
    assert_eq!(waits.last(), Some(&MAX_BACKOFF_MS));
    run.see("a");
    assert!(run.see("a") <= 1_000, "well again it looks as before");
    let mut rare = Run::new(Rules { interval_ms: 3_600_000, ..rules() });
    (0..9).for_each(|_| {
        assert!(rare.fail() <= 3_600_000);
    });
}

#[test]
fn a_server_that_asks_for_time_gets_it_within_reason() {
    let mut run = Run::new(rules());
    run.see("a");
    run.fail();
    run.state.hold(run.now, 60_000);
    assert_eq!(run.fail(), 60_000);
    run.state.hold(run.now, i64::MAX);
    assert_eq!(run.see("a"), MAX_RETRY_AFTER_MS);
    // Less than the next look is away changes nothing.
    run.state.hold(run.now, 1);
    assert_eq!(run.see("a"), 1_000);
    // Also while a commit is under way.
    run.state.tick(run.now + 1_000);
    run.now += 1_000;
    let Step::Commit(_) = run.state.looked(Look::Seen(seen("b")), run.now, 0) else { panic!("a change") };
    assert!(matches!(run.state.hold(run.now, 60_000), Step::Commit(_)));
    assert_eq!(run.state.stored(Stored::Done, run.now), Step::Wait(run.now + 60_000));
}

#[test]
fn what_flaps_is_told_when_it_has_settled() {
    let mut run = Run::new(Rules { settle: 3, ..rules() });
    for text in ["a", "b", "a", "b", "b", "a", "b", "b"] {
        run.see(text);
    }
    assert_eq!(run.told, []);
    run.look(Look::Unchanged, |_| Stored::Done);
    assert_eq!(run.told, [changed("a", "b")]);
}

#[test]
fn what_was_not_stored_is_told_from_what_the_next_look_sees() {
    let mut run = Run::new(rules());
    run.see("a");
    run.look(Look::Seen(seen("b")), |_| Stored::NotNow);
    run.look(Look::Unchanged, |_| Stored::NotNow);
    run.see("c");
    assert_eq!(run.told, [changed("a", "c")]);
    // Stored after all, as reading it again shows: not a second time.
    run.look(Look::Seen(seen("d")), |commit| Stored::Reread(commit.after.clone()));
    run.see("d");
    assert_eq!(run.told.len(), 1);
    // Not stored after all.
    let before = run.state.committed().clone();
    let first = std::cell::Cell::new(true);
    run.look(
        Look::Seen(seen("e")),
        |_| {
            if first.replace(false) { Stored::Reread(before.clone()) } else { Stored::Done }
        },
    );
    assert_eq!(run.told[1..], [changed("d", "e")]);
}

#[test]
fn a_look_that_was_not_taken_is_no_failure() {
    let mut run = Run::new(rules());
    run.see("a");
    (0..5).for_each(|_| {
        run.look(Look::Skipped, |_| Stored::Done);
    });
    assert_eq!(run.told, []);
    assert_eq!(run.state.trouble(), (0, None));
}

#[test]
fn many_watches_are_spread_over_the_interval() {
    let mut parts = [0_u32; 30];
    for n in 0..9_000_u32 {
        let phase = phase_of(&format!("w_{n:08x}"), 30_000);
        parts[usize::try_from(phase / 1_000).unwrap()] += 1;
    }
    assert!(parts.iter().all(|part| (200..400).contains(part)), "{parts:?}");
}

#[derive(Debug, Clone)]
enum Event {
    See(u8),
    Same,
    Fail(Option<i64>),
    Skip,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Event::See),
        1 => Just(Event::Same),
        2 => proptest::option::of(0..10_000_i64).prop_map(Event::Fail),
        1 => Just(Event::Skip),
    ]
}

proptest! {
    /// Whatever happens: each told change begins where the last one ended, the last value seen is the one that is kept once
    /// a commit goes through, failures and recoveries alternate, and two looks are never nearer than they may be.
    #[test]
    fn nothing_is_told_twice_and_nothing_is_lost(
        events in proptest::collection::vec((event(), 0..4_u8, any::<u64>()), 1..200),
        phase in 0..1_000_i64,
    ) {
        let mut state = State::new(Rules { phase_ms: phase, ..rules() }, Committed::default(), 0);
        let (mut now, mut stored) = (0, Committed::default());
        let (mut told, mut failing, mut last_seen) = (None::<String>, false, None::<String>);
        for (event, fate, roll) in events {
            let mut step = state.tick(now);
            if let Step::Wait(until) = step {
                prop_assert!(until > now && until <= now + MAX_RETRY_AFTER_MS.max(MAX_BACKOFF_MS * 2));
                now = until;
                step = state.tick(now);
            }
            prop_assert_eq!(step, Step::Look);
            now += 7;
            let look = match event {
                Event::See(n) => {
                    last_seen = Some(n.to_string());
                    Look::Seen(seen(&n.to_string()))
                }
                Event::Same => Look::Unchanged,
                Event::Fail(_) => failure("no"),
                Event::Skip => Look::Skipped,
            };
            let quiet = matches!(look, Look::Failed { .. } | Look::Skipped);
            let mut step = state.looked(look, now, roll);
            if let Event::Fail(Some(ms)) = event {
                step = state.hold(now, ms);
            }
            let mut stored_all = true;
            let mut tries = 0;
            while let Step::Commit(commit) = step {
                tries += 1;
                prop_assert!(tries < 6);
                prop_assert_eq!(commit.expected, stored.version);
                // 0: refused. 1: done, and the answer lost. Else done.
                let fate = if tries > 3 { 2 } else { fate };
                if fate != 0 {
                    match commit.kind {
                        Kind::Failed => { prop_assert!(!failing); failing = true; }
                        Kind::Recovered => { prop_assert!(failing); failing = false; }
                        Kind::First => prop_assert!(stored.value.is_none()),
                        Kind::Changed => {
                            let old = commit.before.value.clone().map(|seen| seen.text);
                            let new = commit.after.value.clone().map(|seen| seen.text);
                            prop_assert_ne!(&old, &new);
                            if told.is_some() {
                                prop_assert_eq!(&told, &old);
                            }
                            told = new;
                        }
                    }
                    stored = commit.after.clone();
                }
                stored_all &= fate != 0;
                step = state.stored(
                    match fate { 0 => Stored::NotNow, 1 => Stored::Reread(stored.clone()), _ => Stored::Done },
                    now,
                );
            }
            if stored_all && !quiet {
                prop_assert_eq!(stored.value.clone().map(|seen| seen.text), last_seen.clone());
            }
            prop_assert_eq!(state.committed(), &stored);
        }
    }
}
