//! What can be wrong with a vault and with what uses it. Pure.

use protocol::sealed::SealedError;
use serde::Serialize;

use super::boxes::OwnBox;
use super::give_again;
use super::uses::{self, Held, Use};
use crate::sealing::KeyState;
use crate::text;

/// Whether an entry is what the person put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Signed, as of this version.
    Signed(u64),
    /// Nobody says so.
    Unsigned,
    /// It is not believed: why.
    Refused(String),
}

/// An entry that there is, and who uses it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) key: String,
    /// What of it is believed.
    pub(crate) standing: Standing,
    /// Who has it.
    pub(crate) uses: Vec<Use>,
}

/// Something that is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Which sort it is: a word for programs.
    pub(crate) kind: &'static str,
    /// The entry or the service.
    pub(crate) about: String,
    /// One clean line.
    pub(crate) found: String,
    /// The same.
    pub(crate) remedy: String,
}

/// All that is wrong. `states` are those of the keys of each box, in the order of the boxes.
pub(crate) fn all(entries: &[Entry], boxes: &[OwnBox], states: &[Vec<(String, KeyState)>]) -> Vec<Finding> {
    let mut found: Vec<Finding> = entries.iter().flat_map(of_entry).collect();
    found.extend(missing(entries, boxes));
    found.extend(boxes.iter().filter_map(|one| not_own(&one.service, one.opened.as_ref().err()?)));
    found.extend(boxes.iter().zip(states).flat_map(|(one, states)| gone(&one.service, states)));
    found
}

fn of_entry(entry: &Entry) -> Vec<Finding> {
    let key = text::line(&entry.key);
    let word = text::shell_word(&key);
    let mut found = Vec::new();
    let mut add = |kind, words: String, remedy: String| {
        found.push(Finding { kind, about: key.clone(), found: words, remedy });
    };
    match &entry.standing {
        Standing::Signed(_) => {}
        Standing::Unsigned => {
            let words = "it is unsigned: an old client stored it, or the broker made it up".to_owned();
            add("unsigned", words, format!("claudemesh vault rotate {word}"));
        }
        Standing::Refused(why) => add("refused", why.clone(), format!("claudemesh vault set {word} …")),
    }
    let mut older: Vec<String> = entry.uses.iter().filter(|one| one.held == Held::Older).map(Use::place).collect();
    older.dedup();
    if !older.is_empty() {
        add("older", format!("older than the vault: {}", older.join(", ")), give_again(&entry.key));
    }
    found
}

/// What a service was given and is no more.
fn missing<'a>(entries: &'a [Entry], boxes: &'a [OwnBox]) -> impl Iterator<Item = Finding> + 'a {
    let known = |key: &str| entries.iter().any(|entry| entry.key == key);
    let gone: Vec<&str> = uses::entries(boxes).into_iter().filter(|key| !known(key)).collect();
    gone.into_iter().map(|key| {
        let users: Vec<String> = uses::of(boxes, key, None).iter().map(Use::place).collect();
        let key = text::line(key);
        Finding {
            kind: "missing",
            found: format!("it is not in the vault, and it is used by {}", users.join(", ")),
            remedy: format!("claudemesh vault set {} …, or deploy them without it", text::shell_word(&key)),
            about: key,
        }
    })
}

fn not_own(service: &str, error: &SealedError) -> Option<Finding> {
    let service = text::line(service);
    Some(Finding {
        kind: "not_yours",
        found: format!("its secrets are not those that you sealed for it: {}", text::line(&error.to_string())),
        remedy: format!("claudemesh deploy {service} again: an admin, or the broker, put others in their place"),
        about: service,
    })
}

fn gone(service: &str, states: &[(String, KeyState)]) -> Vec<Finding> {
    let service = text::line(service);
    let lost = states.iter().filter(|(_, state)| *state == KeyState::Gone);
    let each = lost.map(|(kid, _)| Finding {
        kind: "key_gone",
        about: service.clone(),
        found: format!("sealed for a key that no runner has any more: {}", text::line(kid)),
        remedy: format!("claudemesh deploy {service} again, for the keys that there are"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::super::uses::tests::boxed;
    use super::*;

    fn kinds(findings: &[Finding]) -> Vec<(&str, &str)> {
        findings.iter().map(|finding| (finding.kind, finding.about.as_str())).collect()
    }

    fn entry(key: &str, standing: Standing, uses: Vec<Use>) -> Entry {
        Entry { key: key.to_owned(), standing, uses }
    }

    #[test]
    fn what_is_well_is_no_finding() {
        let boxes = [boxed("one", "t", b"k")];
        let here = vec![vec![("a".to_owned(), KeyState::Here), ("b".to_owned(), KeyState::Away("other".to_owned()))]];
        let entries = [
            entry("token", Standing::Signed(1), uses::of(&boxes, "token", Some(b"t"))),
            entry("pem", Standing::Signed(1), uses::of(&boxes, "pem", Some(b"k"))),
        ];
        assert_eq!(all(&entries, &boxes, &here), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found_by_its_kind() {
        let mut boxes = vec![boxed("one", "t", b"k")];
        boxes.push(OwnBox { service: "odd".to_owned(), kids: Vec::new(), opened: Err(SealedError::NotOpened) });
        let states = vec![vec![("00".to_owned(), KeyState::Gone)], Vec::new()];
        let entries = [
            entry("token", Standing::Signed(2), uses::of(&boxes, "token", Some(b"newer"))),
            entry("loose", Standing::Unsigned, Vec::new()),
            entry("back", Standing::Refused("why".to_owned()), Vec::new()),
        ];
        let found = all(&entries, &boxes, &states);
        let expected = [
            ("older", "token"),
            ("unsigned", "loose"),
            ("refused", "back"),
            ("missing", "pem"),
            ("not_yours", "odd"),
            ("key_gone", "one"),
        ];
        assert_eq!(kinds(&found), expected);
        assert!(found.iter().all(|finding| !finding.remedy.is_empty()));
    }
}
