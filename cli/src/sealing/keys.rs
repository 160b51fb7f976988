//! For which runners secrets are sealed. Pure.
//!
//! Contract: what the broker tells of keys is compared with what this person accepted before, and with the key of a runner
//! on this machine where there is one. A key that changed stops everything; a runner that nobody accepted gets nothing.

use protocol::identity::X25519Public;
use protocol::sealed::{fingerprint, kid};
use protocol::wire::RunnerKey;

use crate::profile::{Accepted, Runners};

/// The key of the runner on this machine, as its own files say it.
#[derive(Debug, Clone)]
pub(crate) struct LocalRunner {
    /// Its id.
    pub(crate) id: String,
    /// Its key.
    pub(crate) key: X25519Public,
}

/// A runner as the broker tells it, its fingerprint computed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kid: String,
    pub(crate) fingerprint: String,
    pub(crate) key: X25519Public,
}

/// What is to be done with what was told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Chosen {
    /// The runners that are sealed for.
    pub(crate) allowed: Vec<Told>,
    /// Those of them that are seen for the first time and taken as they are told: to be shown, and kept.
    pub(crate) first: Vec<Told>,
    /// Those that were compared with the files of this machine: to be kept.
    pub(crate) compared: Vec<Told>,
    /// Those that nobody accepted.
    pub(crate) strange: Vec<Told>,
}

/// Why nothing is sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyTrouble {
    #[error("no runner of this mesh is connected that opens sealed secrets")]
    NoRunner,
    #[error("the mesh has no runner `{0}` that opens sealed secrets")]
    NoSuchRunner(String),
    #[error("the key of the runner {name} is not the one that you accepted: it is {found} now and was {known}")]
    Changed { name: String, kid: String, found: String, known: String },
    #[error("the broker tells another key for the runner {name} than the runner's own files on this machine: {found}")]
    NotLocal { name: String, found: String },
    #[error("none of this mesh's runners is accepted by you")]
    NoneAccepted(Vec<Told>),
}

/// Reads what the broker told; what is no key is left out.
pub(crate) fn told(runners: &[RunnerKey]) -> Vec<Told> {
    let read = |runner: &RunnerKey| {
        let bytes: [u8; 32] = hex::decode(&runner.pubkey).ok()?.try_into().ok()?;
        let key = X25519Public::from_bytes(bytes).ok()?;
        let (kid, fingerprint) = (kid(&key), fingerprint(&key));
        Some(Told { id: runner.id.clone(), name: runner.name.clone(), kid, fingerprint, key })
    };
    runners.iter().filter_map(read).collect()
}

/// Chooses among the runners that were told, or takes the named one.
pub(crate) fn choose(
    told: Vec<Told>,
    named: Option<&str>,
    known: &Runners,
    local: Option<&LocalRunner>,
) -> Result<Chosen, KeyTrouble> {
    if told.is_empty() {
        return Err(KeyTrouble::NoRunner);
    }
    let is_first = known.0.is_empty();
    let has_local = local.is_some_and(|local| told.iter().any(|runner| runner.id == local.id));
    let mut chosen = Chosen::default();
    for runner in told {
        match (known.0.get(&runner.id), local.filter(|local| local.id == runner.id)) {
            (_, Some(local)) if local.key != runner.key => {
                return Err(KeyTrouble::NotLocal { name: runner.name, found: runner.fingerprint });
            }
            (Some(accepted), None) if accepted.fingerprint != runner.fingerprint => {
                let Told { name, kid, fingerprint, .. } = runner;
                return Err(KeyTrouble::Changed { name, kid, found: fingerprint, known: accepted.fingerprint.clone() });
            }
            // Its own files say more than what was accepted once.
            (accepted, Some(_)) => {
                if accepted.is_none_or(|accepted| accepted.fingerprint != runner.fingerprint) {
                    chosen.compared.push(runner.clone());
                }
                chosen.allowed.push(runner);
            }
            (Some(_), None) => chosen.allowed.push(runner),
            (None, None) if is_first && !has_local => {
                chosen.first.push(runner.clone());
                chosen.allowed.push(runner);
            }
            (None, None) => chosen.strange.push(runner),
        }
    }
    if let Some(named) = named {
        chosen.allowed.retain(|runner| runner.name == named);
        chosen.strange.retain(|runner| runner.name == named);
        if chosen.allowed.is_empty() && chosen.strange.is_empty() {
            return Err(KeyTrouble::NoSuchRunner(named.to_owned()));
        }
    }
    if chosen.allowed.is_empty() { Err(KeyTrouble::NoneAccepted(chosen.strange)) } else { Ok(chosen) }
}

/// What is known of a key that a box was sealed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// A runner that is connected has it.
    Here,
    /// Of this runner, which is not connected.
    Away(String),
    /// No runner has it: its runner has another one now, or nobody accepted it as a runner's.
    Gone,
}

/// The states of the keys that a box was sealed for, without those of the deployer's `own`.
pub(crate) fn key_states(kids: &[String], own: &str, told: &[Told], known: &Runners) -> Vec<(String, KeyState)> {
    let state = |kid: &String| {
        if told.iter().any(|runner| runner.kid == *kid) {
            return KeyState::Here;
        }
        let whose = known.0.iter().find(|(_, accepted)| accepted.fingerprint.starts_with(kid.as_str()));
        match whose {
            Some((id, accepted)) if told.iter().all(|runner| runner.id != *id) => KeyState::Away(accepted.name.clone()),
            _ => KeyState::Gone,
        }
    };
    kids.iter().filter(|kid| *kid != own).map(|kid| (kid.clone(), state(kid))).collect()
}

/// What is kept of runners.
pub(crate) fn accepted<'a>(runners: impl IntoIterator<Item = &'a Told>) -> Runners {
    let entry = |runner: &Told| {
        let kept = Accepted { name: runner.name.clone(), fingerprint: runner.fingerprint.clone() };
        (runner.id.clone(), kept)
    };
    Runners(runners.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use protocol::identity::X25519Secret;

    use super::*;

    fn key(n: u8) -> X25519Public {
        X25519Secret::from_bytes(&[n; 32]).public()
    }

    fn runner(id: &str, n: u8) -> Told {
        let key = key(n);
        let (kid, fingerprint) = (kid(&key), fingerprint(&key));
        Told { id: id.to_owned(), name: format!("{id}-name"), kid, fingerprint, key }
    }

    fn ids(told: &[Told]) -> Vec<&str> {
        told.iter().map(|runner| runner.id.as_str()).collect()
    }

    #[test]
    fn the_first_runners_are_taken_and_later_ones_ask_a_person() {
        let none = Runners::default();
        let first = choose(vec![runner("a", 1), runner("b", 2)], None, &none, None).unwrap();
        assert_eq!((ids(&first.allowed), ids(&first.first)), (vec!["a", "b"], vec!["a", "b"]));
        let known = accepted(&first.first);
        let later = choose(vec![runner("a", 1), runner("evil", 6)], None, &known, None).unwrap();
        assert_eq!((ids(&later.allowed), ids(&later.first), ids(&later.strange)), (vec!["a"], vec![], vec!["evil"]));
        let only = choose(vec![runner("evil", 6)], None, &known, None).unwrap_err();
        assert_eq!(only, KeyTrouble::NoneAccepted(vec![runner("evil", 6)]));
    }

    #[test]
    fn a_changed_key_stops_everything() {
        let known = accepted(&[runner("a", 1), runner("b", 2)]);
        let trouble = choose(vec![runner("b", 2), runner("a", 3)], None, &known, None).unwrap_err();
        assert!(matches!(trouble, KeyTrouble::Changed { ref name, .. } if name == "a-name"), "{trouble:?}");
        // Also of a runner that this deploy does not go to: something is wrong here.
        assert!(choose(vec![runner("b", 2), runner("a", 3)], Some("b-name"), &known, None).is_err());
    }

    #[test]
    fn the_files_of_this_machine_say_more_than_the_broker() {
        let local = LocalRunner { id: "a".to_owned(), key: key(1) };
        let none = Runners::default();
        let chosen = choose(vec![runner("a", 1), runner("b", 2)], None, &none, Some(&local)).unwrap();
        assert_eq!(
            (ids(&chosen.allowed), ids(&chosen.compared), ids(&chosen.first), ids(&chosen.strange)),
            (vec!["a"], vec!["a"], vec![], vec!["b"]),
            "another one is not taken on its word beside it"
        );
        let lie = choose(vec![runner("a", 3)], None, &none, Some(&local)).unwrap_err();
        assert!(matches!(lie, KeyTrouble::NotLocal { .. }));
        // A runner that was made anew on this machine: its own file is enough.
        let known = accepted(&[runner("a", 9)]);
        let anew = choose(vec![runner("a", 1)], None, &known, Some(&local)).unwrap();
        assert_eq!(ids(&anew.compared), ["a"]);
    }

    #[test]
    fn the_named_runner_alone_gets_them() {
        let known = accepted(&[runner("a", 1), runner("b", 2)]);
        let chosen = choose(vec![runner("a", 1), runner("b", 2)], Some("b-name"), &known, None).unwrap();
        assert_eq!(ids(&chosen.allowed), ["b"]);
        assert!(choose(vec![runner("a", 1)], Some("c"), &known, None).is_err());
        assert_eq!(choose(Vec::new(), None, &known, None), Err(KeyTrouble::NoRunner));
    }

    #[test]
    fn a_key_is_here_away_or_gone() {
        let (a, b, c) = (runner("a", 1), runner("b", 2), runner("c", 3));
        let known = accepted(&[a.clone(), b.clone(), c.clone()]);
        let kids: Vec<String> = [&a, &b, &c, &runner("x", 8), &runner("me", 9)].map(|told| told.kid.clone()).into();
        // The second is not connected, the third has another key than it had, the fourth was never a runner's.
        let states = key_states(&kids, &runner("me", 9).kid, &[a, runner("c", 4)], &known);
        let states: Vec<_> = states.into_iter().map(|(_, state)| state).collect();
        assert_eq!(states, [KeyState::Here, KeyState::Away("b-name".to_owned()), KeyState::Gone, KeyState::Gone]);
    }

    #[test]
    fn a_key_that_is_none_is_not_sealed_for() {
        let entry = |pubkey: String| RunnerKey {
            id: "a".into(),
            name: "a".into(),
            kid: "0".into(),
            pubkey,
            fingerprint: "0".into(),
        };
        assert!(told(&[entry("zz".into()), entry("00".repeat(32)), entry("ab".into())]).is_empty());
        let read = told(&[entry(hex::encode(key(1).as_bytes()))]);
        assert_eq!(read.first().map(|runner| runner.fingerprint.clone()), Some(fingerprint(&key(1))));
    }
}
