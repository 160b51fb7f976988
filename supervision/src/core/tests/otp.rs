//! The decisions against recorded traces of the real `supervisor` of OTP: the same inputs, the same decisions.
//!
//! `scripts/record-otp.sh` records them again. Where the two differ on purpose, a test says by which rule, and what is
//! decided instead; docs/supervision.md has the list.

mod stage;
mod trace;

use stage::{Pace, Stage};
use trace::{Scenario, Spec, Step, recorded};

use super::world::Core;

/// Scenarios of trees in which static supervisors differ on purpose.
const DIFFERENT_TREES: [&str; 5] = [
    "differs ",
    "nested one_for_one transient",
    "nested one_for_all transient",
    "nested rest_for_one transient",
    "command ",
];
/// Scenarios of sets in which ours differ on purpose.
const DIFFERENT_SETS: [&str; 2] = ["set above its intensity", "set first start fails"];

/// Scenarios of commands to which a set answers as OTP does.
const COMMANDS_ALIKE: [&str; 4] =
    ["command remove", "command renew", "command renew spends no intensity", "command terminate of a temporary"];

fn starts_with_any(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn scenarios(wanted: impl Fn(&str) -> bool) -> Vec<Scenario> {
    recorded().into_iter().filter(|scenario| wanted(&scenario.name)).collect()
}

fn trees() -> Vec<Scenario> {
    let trees = scenarios(|name| !name.starts_with("set ") && !starts_with_any(name, &DIFFERENT_TREES));
    assert!(trees.len() > 500, "{} scenarios of trees", trees.len());
    trees
}

/// In which step, and how, what was played differs from what OTP did.
fn first_difference(played: &[Step], scenario: &Scenario) -> Option<usize> {
    let pairs = played.iter().zip(&scenario.steps);
    let different = pairs.enumerate().find(|(_, (ours, theirs))| ours != theirs);
    let shorter = (played.len() < scenario.steps.len()).then_some(played.len());
    different.map(|(i, _)| i).or(shorter)
}

fn assert_same(scenario: &Scenario, played: &[Step]) {
    if let Some(i) = first_difference(played, scenario) {
        let spec = &scenario.name;
        panic!("{spec}, step {i}\n OTP  {:?}\n ours {:?}", scenario.steps.get(i), played.get(i));
    }
}

/// Order of starts and stops, reasons, restarts, verdicts, the supervisor's own end, what is left: step by step, with
/// the seconds in which it happened.
#[test]
fn h03_trees_decide_as_otp_did() {
    for scenario in trees() {
        assert_same(&scenario, &Stage::play(&scenario, Pace::Deaf, Stage::fixed));
    }
}

/// While children start or stop OTP's supervisor does not listen, and ours does. That changes what is done on the
/// way, not where it ends; but for a failure that is judged when it happens instead of seconds later.
#[test]
fn h03_listening_while_children_start_and_stop_ends_where_otp_ends() {
    let judged_earlier = ["random 128"];
    let (mut shorter, mut earlier) = (0, Vec::new());
    for scenario in trees() {
        let played = Stage::play(&scenario, Pace::Listening, Stage::fixed);
        let Some(i) = first_difference(&played, &scenario) else { continue };
        let (ours, theirs) = (&played[i], &scenario.steps[i]);
        if judged_earlier.contains(&scenario.name.as_str()) {
            earlier.push(scenario.name.clone());
            continue;
        }
        // One restart of the group for two failures that came together, where OTP restarts it twice.
        assert_eq!(ours.left, theirs.left, "{}", scenario.name);
        assert!(ours.saw.len() < theirs.saw.len(), "{}\n{theirs:?}\n{ours:?}", scenario.name);
        assert!(theirs.deeds.len() > 1, "{}\n{theirs:?}\n{ours:?}", scenario.name);
        shorter += 1;
    }
    assert_eq!(earlier, judged_earlier);
    assert!(shorter > 0);
}

/// A child of a set is parked exactly when a supervisor of that child alone would give up.
#[test]
fn h03_a_child_of_a_set_is_parked_when_otp_gives_up() {
    let alone = scenarios(|name| name.starts_with("alone"));
    let mut parked = 0;
    for scenario in &alone {
        let played = Stage::play(scenario, Pace::Deaf, Stage::set);
        assert_eq!(played.len(), scenario.steps.len(), "{}", scenario.name);
        for (ours, theirs) in played.iter().zip(&scenario.steps) {
            assert_eq!(ours.saw, theirs.saw, "{}", scenario.name);
            // A static supervisor keeps what has finished; a set forgets it.
            let up = |step: &Step| step.left.contains(&"a up".to_owned());
            assert_eq!(up(ours), up(theirs), "{}", scenario.name);
        }
        let last = scenario.steps.last().expect("a step");
        parked += usize::from(last.deeds != ["stop"]);
    }
    assert!(parked > 10 && parked < alone.len(), "{parked} of {} are parked", alone.len());
}

#[test]
fn h03_sets_decide_as_otp_did() {
    let sets = scenarios(|name| name.starts_with("set ") && !DIFFERENT_SETS.contains(&name));
    assert!(sets.len() > 50);
    for mut scenario in sets {
        let mut played = Stage::play(&scenario, Pace::Deaf, Stage::set);
        // They stop side by side: in no order.
        for steps in [&mut played, &mut scenario.steps] {
            let last = steps.last_mut().expect("a step");
            assert_eq!(last.deeds, ["stop"]);
            last.saw.sort();
        }
        assert_same(&scenario, &played);
    }
}

/// A static supervisor's children are fixed. A set has two commands where OTP has four: `terminate_child` with
/// `delete_child` is one, `terminate_child` with `restart_child` the other.
#[test]
fn h03_commands_do_as_otp_does() {
    for name in COMMANDS_ALIKE {
        let scenario = translated(name);
        let mut played = Stage::play(&scenario, Pace::Deaf, Stage::set);
        played[0].results.clear();
        let (ours, theirs) = (played.pop().expect("the stop"), &scenario.steps[played.len()]);
        for (ours, theirs) in played.iter().zip(&scenario.steps) {
            assert_eq!(ours, theirs, "{name}");
        }
        let sorted = |step: &Step| std::collections::BTreeSet::from_iter(step.saw.clone());
        assert_eq!(sorted(&ours), sorted(theirs), "{name}");
    }
}

/// With OTP's commands in the words of a set.
fn translated(name: &str) -> Scenario {
    let mut scenario = the(name);
    for step in &mut scenario.steps {
        let of = |deed: &String| deed.split_once(' ').map(|(what, id)| (what.to_owned(), id.to_owned()));
        let words: Vec<_> = step.deeds.iter().filter_map(of).collect();
        let deed = match words.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>()[..] {
            ["terminate", "delete"] | ["terminate"] => "remove",
            ["terminate", "restart"] | ["restart"] => "renew",
            ["delete"] => "remove",
            _ => continue,
        };
        step.deeds = vec![format!("{deed} {}", words[0].1)];
        step.results.truncate(1);
    }
    scenario
}

fn the(name: &str) -> Scenario {
    scenarios(|n| n == name).pop().unwrap_or_else(|| panic!("no scenario {name}"))
}

/// One difference on purpose: in which step it shows, and what is seen and left here instead.
struct Difference {
    rule: &'static str,
    scenario: &'static str,
    step: usize,
    saw: &'static [&'static str],
    left: &'static [&'static str],
}

const IN_TREES: [Difference; 8] = [
    Difference {
        rule: "failures before ready count in a row, whatever the window",
        scenario: "differs slow sibling",
        step: 1,
        saw: &[
            "end b crash",
            "end a shutdown",
            "start a",
            "start b +2",
            "fail b +2",
            "end a shutdown +2",
            "start a +2",
            "start b +4",
            "fail b +4",
            "end a shutdown +4",
            "over shutdown +4",
        ],
        left: &[],
    },
    Difference {
        rule: "the window is stretched to (n + 1) times the longest start, of those that failed too",
        scenario: "differs slow failures",
        step: 1,
        saw: &["end a crash", "start a", "fail a +2", "over shutdown +2"],
        left: &[],
    },
    Difference {
        rule: "the window is stretched to (n + 1) times the longest start",
        scenario: "differs slow starts",
        step: 2,
        saw: &["end a crash", "over shutdown"],
        left: &[],
    },
    Difference {
        rule: "a transient child that ends without complaint has finished, before it is ready too",
        scenario: "differs normal failure",
        step: 1,
        saw: &["end b crash", "start b", "fail b"],
        left: &["a up", "b down"],
    },
    Difference {
        rule: "a permanent child cannot be left out of the start",
        scenario: "differs ignore",
        step: 0,
        saw: &["start a", "start b", "end a shutdown", "over failed b"],
        left: &[],
    },
    Difference {
        rule: "a supervisor that gives up has failed: a transient one is restarted",
        scenario: "nested one_for_one transient",
        step: 2,
        saw: &["end in/x crash", "end in/y shutdown", "end in shutdown", "start in", "start in/x", "start in/y"],
        left: &["a up", "in up", "b up"],
    },
    Difference {
        rule: "a supervisor that gives up has failed: a transient one is restarted",
        scenario: "nested one_for_all transient",
        step: 2,
        saw: &[
            "end in/x crash",
            "end in/y shutdown",
            "end in shutdown",
            "end b shutdown",
            "end a shutdown",
            "start a",
            "start in",
            "start in/x",
            "start in/y",
            "start b",
        ],
        left: &["a up", "in up", "b up"],
    },
    Difference {
        rule: "a supervisor that gives up has failed: a transient one is restarted",
        scenario: "nested rest_for_one transient",
        step: 2,
        saw: &[
            "end in/x crash",
            "end in/y shutdown",
            "end in shutdown",
            "end b shutdown",
            "start in",
            "start in/x",
            "start in/y",
            "start b",
        ],
        left: &["a up", "in up", "b up"],
    },
];

const IN_SETS: [Difference; 6] = [
    Difference {
        rule: "each child of a set is judged alone: the second crash is the first of its own",
        scenario: "set above its intensity",
        step: 3,
        saw: &["end 2 crash", "start 2"],
        left: &["up", "up"],
    },
    Difference {
        rule: "a first start that fails is a failure of the child: tried again, and parked above its intensity",
        scenario: "set first start fails",
        step: 1,
        saw: &["start 1", "fail 1", "start 1"],
        left: &["up"],
    },
    Difference {
        rule: "a child is restarted by hand while it runs, OTP refuses",
        scenario: "command restart of what runs",
        step: 1,
        saw: &["end a shutdown", "start a"],
        left: &["a up", "b up"],
    },
    Difference {
        rule: "a child is removed while it runs, OTP refuses",
        scenario: "command delete of what runs",
        step: 1,
        saw: &["end a shutdown"],
        left: &["b up"],
    },
    Difference {
        rule: "a set forgets a transient child that has finished",
        scenario: "command restart of what has finished",
        step: 1,
        saw: &["end a normal"],
        left: &["b up"],
    },
    Difference {
        rule: "a set stops its children side by side",
        scenario: "command start of one more",
        step: 4,
        saw: &["end a shutdown", "end b shutdown", "end c shutdown", "over shutdown"],
        left: &[],
    },
];

impl Difference {
    fn check(&self, scenario: &Scenario, core: fn(&Spec) -> Core) {
        let played = Stage::play(scenario, Pace::Deaf, core);
        let same = |step: usize| {
            let (ours, theirs) = (&played[step], &scenario.steps[step]);
            (&ours.saw, &ours.left) == (&theirs.saw, &theirs.left)
        };
        let (name, rule, step) = (self.scenario, self.rule, self.step);
        assert!((0..step).all(same), "{name}: differs before its step");
        assert!(!same(step), "{name}: does not differ any more: {rule}");
        assert_eq!(played[step].saw, self.saw, "{name}: {rule}");
        assert_eq!(played[step].left, self.left, "{name}: {rule}");
    }
}

#[test]
fn where_trees_differ_from_otp_a_rule_says_so() {
    IN_TREES.iter().for_each(|difference| difference.check(&the(difference.scenario), Stage::fixed));
    let told = |name: &str| IN_TREES.iter().any(|difference| difference.scenario == name);
    let differ = scenarios(|name| starts_with_any(name, &DIFFERENT_TREES) && !name.starts_with("command "));
    assert!(differ.iter().all(|scenario| told(&scenario.name)), "a scenario is left out without a rule");
}

#[test]
fn where_sets_differ_from_otp_a_rule_says_so() {
    IN_SETS.iter().for_each(|difference| difference.check(&translated(difference.scenario), Stage::set));
    let told = |name: &str| IN_SETS.iter().any(|difference| difference.scenario == name);
    let differ = scenarios(|name| {
        DIFFERENT_SETS.contains(&name) || name.starts_with("command ") && !COMMANDS_ALIKE.contains(&name)
    });
    assert!(differ.iter().all(|scenario| told(&scenario.name)), "a scenario is left out without a rule");
}
