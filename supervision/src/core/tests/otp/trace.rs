//! The recorded lines: what the supervisor of OTP was given, and what it did. `supervision/tests/otp/otp_record.erl`
//! writes them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Backoff, Child, ChildId, ChildSpec, ExitReason, Intensity, MAX_SPAN, Restart, Shutdown, Strategy,
    core::{Member, Policy, tests::s},
};

/// The first line has the versions, each other one a scenario.
pub(super) fn recorded() -> Vec<Scenario> {
    let lines = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/otp/traces.jsonl"));
    let (head, scenarios) = lines.split_once('\n').expect("a head");
    let head: Head = serde_json::from_str(head).expect("the head");
    let scenarios: Vec<_> = scenarios.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(scenarios.len(), head.scenarios, "OTP {}, stdlib {}", head.otp, head.stdlib);
    scenarios
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    otp: String,
    stdlib: String,
    scenarios: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) spec: Spec,
    pub(super) steps: Vec<Step>,
}

/// A child, or a supervisor when it has a strategy.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) id: String,
    pub(super) strategy: Option<String>,
    #[serde(default)]
    intensity: u32,
    #[serde(default)]
    period: u64,
    #[serde(default = "permanent")]
    restart: String,
    #[serde(default = "five")]
    shutdown: Value,
    /// What becomes of its starts, one after the other; later ones succeed.
    #[serde(default)]
    pub(super) starts: Vec<String>,
    /// What it does when it is asked to stop.
    #[serde(default = "obey")]
    pub(super) stop: String,
    #[serde(default)]
    pub(super) children: Vec<Spec>,
    /// Of a `simple_one_for_one`.
    pub(super) template: Option<Box<Spec>>,
}

/// What was done in one second, and what was seen until the supervisors had nothing more to do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) at: u64,
    #[serde(rename = "do")]
    pub(super) deeds: Vec<String>,
    /// Of commands.
    #[serde(default)]
    pub(super) results: Vec<String>,
    #[serde(default)]
    pub(super) saw: Vec<String>,
    /// The children of the root afterwards.
    #[serde(default)]
    pub(super) left: Vec<String>,
}

fn permanent() -> String {
    "permanent".into()
}

fn five() -> Value {
    5.into()
}

fn obey() -> String {
    "obey".into()
}

impl Spec {
    pub(super) fn strategy(&self) -> Strategy {
        match self.strategy.as_deref() {
            Some("one_for_one") => Strategy::OneForOne,
            Some("one_for_all") => Strategy::OneForAll,
            Some("rest_for_one") => Strategy::RestForOne,
            other => panic!("no strategy of a tree: {other:?}"),
        }
    }

    /// Another child of the same kind.
    pub(super) fn named(&self, id: &str) -> Self {
        Self { id: id.to_owned(), ..self.clone() }
    }

    pub(super) fn is_set(&self) -> bool {
        self.strategy.as_deref() == Some("simple_one_for_one")
    }

    pub(super) fn policy(&self) -> Policy {
        Policy { intensity: Intensity::new(self.intensity, s(self.period)), backoff: Backoff::NONE }
    }

    pub(super) fn member(&self) -> Member {
        let restart = match self.restart.as_str() {
            "permanent" => Restart::Permanent,
            "transient" => Restart::Transient,
            "temporary" => Restart::Temporary,
            other => panic!("no restart type: {other}"),
        };
        let shutdown = match (&self.shutdown, self.shutdown.as_u64()) {
            (_, Some(seconds)) => Shutdown::Deadline(s(seconds)),
            (Value::String(word), _) if word == "brutal_kill" => Shutdown::Brutal,
            (Value::String(word), _) if word == "infinity" => Shutdown::Infinity,
            (other, _) => panic!("no stop: {other}"),
        };
        // OTP waits for a start without limit.
        let spec = ChildSpec::new(self.id.clone()).restart(restart).shutdown(shutdown).start_timeout(MAX_SPAN);
        let child = Child::task(spec, |_| async { ExitReason::Normal });
        Member::new(ChildId::try_from(self.id.as_str()).unwrap(), &child, 0)
    }
}

/// The number behind a word: `late 2`.
pub(super) fn seconds(text: &str) -> Duration {
    s(text.parse().expect("whole seconds"))
}
