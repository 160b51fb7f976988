//! What a person has chosen for the sessions of their clients, in `config.json` and, over it, in the environment.

use protocol::config::MessageMode;
use protocol::wire::Group;
use serde_json::Value;

use super::Profile;
use crate::error::CliError;

/// `name` or `name:role`, with commas between them.
const GROUPS: &str = "CLAUDEMESH_GROUPS";
/// The role in groups that are named without one.
const ROLE: &str = "CLAUDEMESH_ROLE";
/// `push`, `inbox` or `off`.
const MESSAGE_MODE: &str = "CLAUDEMESH_MESSAGE_MODE";

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionSettings {
    /// The groups that a session is in from its first moment.
    pub(crate) groups: Vec<Group>,
    /// How messages reach it, where that was chosen.
    pub(crate) message_mode: Option<MessageMode>,
}

/// What was chosen for one session alone; it goes before all else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chosen {
    /// As in the environment: `name` or `name:role`, with commas between them.
    pub(crate) groups: Option<String>,
    /// The role.
    pub(crate) role: Option<String>,
    /// How messages reach it.
    pub(crate) message_mode: Option<MessageMode>,
}

impl Profile {
    /// What was chosen for sessions.
    pub(crate) fn session_settings(&self) -> Result<SessionSettings, CliError> {
        self.settings_with(Chosen::default()).map(|(settings, _)| settings)
    }

    /// What was chosen for sessions and for this one, and its role.
    pub(crate) fn settings_with(&self, chosen: Chosen) -> Result<(SessionSettings, Option<String>), CliError> {
        let config = self.read()?;
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let role = chosen.role.or_else(|| variable(ROLE)).or(config.role);
        let groups = match chosen.groups.or_else(|| variable(GROUPS)) {
            Some(words) => listed(&words, role.as_deref()),
            None => config.groups.iter().flatten().filter_map(|found| group(found, role.as_deref())).collect(),
        };
        let message_mode = match variable(MESSAGE_MODE).filter(|_| chosen.message_mode.is_none()) {
            None => chosen.message_mode.or(config.message_mode),
            Some(word) => Some(
                serde_json::from_value(Value::from(word))
                    .map_err(|_| CliError::usage(format!("{MESSAGE_MODE} is none of push, inbox, off")))?,
            ),
        };
        Ok((SessionSettings { groups, message_mode }, role))
    }
}

/// As clients have written it: a word, or an object.
fn group(found: &Value, role: Option<&str>) -> Option<Group> {
    match found {
        Value::String(word) => named(word, role),
        other => {
            let mut group: Group = serde_json::from_value(other.clone()).ok()?;
            group.role = group.role.or_else(|| role.map(str::to_owned));
            Some(group)
        }
    }
}

/// Groups as the variable has them, beside this role; `None` where there are none, or that cannot say them.
pub(crate) fn groups_variable(groups: &[Group], role: Option<&str>) -> Option<String> {
    let word = |group: &Group| match (&group.role, role) {
        (Some(own), _) => format!("{}:{own}", group.name),
        // It has none, whatever the others have.
        (None, Some(_)) => format!("{}:", group.name),
        (None, None) => group.name.clone(),
    };
    let words = groups.iter().map(word).collect::<Vec<_>>().join(",");
    let is_understood = listed(&words, role) == groups;
    (!groups.is_empty() && is_understood).then_some(words)
}

fn listed(words: &str, role: Option<&str>) -> Vec<Group> {
    words.split(',').filter_map(|word| named(word.trim(), role)).collect()
}

fn named(word: &str, role: Option<&str>) -> Option<Group> {
    let (name, own) = word.split_once(':').map_or((word, None), |(name, role)| (name, Some(role)));
    let name = name.strip_prefix('@').unwrap_or(name);
    let role = own.or(role).filter(|role| !role.is_empty()).map(str::to_owned);
    (!name.is_empty()).then(|| Group { name: name.to_owned(), role })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn groups_as_clients_have_written_them() {
        let of = |name: &str, role: Option<&str>| Some(Group { name: name.into(), role: role.map(str::to_owned) });
        for (found, role, expected) in [
            (json!("eng"), None, of("eng", None)),
            (json!("@eng:lead"), Some("dev"), of("eng", Some("lead"))),
            (json!("eng"), Some("dev"), of("eng", Some("dev"))),
            (json!({"name": "eng"}), Some("dev"), of("eng", Some("dev"))),
            (json!({"name": "eng", "role": "lead"}), Some("dev"), of("eng", Some("lead"))),
            (json!(""), None, None),
            (json!(3), None, None),
        ] {
            assert_eq!(group(&found, role), expected, "{found}");
        }
    }

    #[test]
    fn h43_groups_that_the_variable_says_are_those_that_were_meant() {
        let of = |name: &str, role: Option<&str>| Group { name: name.into(), role: role.map(str::to_owned) };
        for (groups, role, words) in [
            (vec![of("eng", None), of("ops", Some("lead"))], None, Some("eng,ops:lead")),
            (vec![of("eng", None), of("ops", Some("dev"))], Some("dev"), Some("eng:,ops:dev")),
            (vec![of("a:b", None)], None, None),
            (vec![of("a,b", None)], None, None),
            (vec![], None, None),
        ] {
            assert_eq!(groups_variable(&groups, role).as_deref(), words, "{groups:?}");
        }
    }
}
