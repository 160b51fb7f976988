//! What a `targetSpec` says.

use std::fmt;

use protocol::identity::PublicKey;
use protocol::validate;

/// To whom a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A session's key or a member's.
    Key(PublicKey),
    /// Everybody.
    All,
    /// A group, without `@`.
    Group(String),
}

/// What is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Neither of the forms; perhaps somebody's name.
    #[error("`targetSpec` is a key in 64 hex digits, `*`, `@all` or `@group`")]
    Form(String),
    /// A group's name that cannot be one.
    #[error("`targetSpec`: {0}")]
    Group(validate::NameError),
}

/// Reads a target.
///
/// # Errors
/// [`BadTarget`].
pub fn parse(spec: &str) -> Result<Target, BadTarget> {
    match spec {
        "*" | "@all" => Ok(Target::All),
        _ => match spec.strip_prefix('@') {
            Some(name) => {
                validate::group_name(name).map_err(BadTarget::Group)?;
                Ok(Target::Group(name.to_owned()))
            }
            None => spec.parse().map(Target::Key).map_err(|_| BadTarget::Form(spec.to_owned())),
        },
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key}"),
            Self::All => f.write_str("*"),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

/// Names that are shown when none is the one that was meant.
const SHOWN: usize = 3;
/// Names that are compared at most: a mesh may have thousands.
const COMPARED: usize = 2_000;

/// Those of `names` that are most like `wanted`, the most alike first.
#[must_use]
pub fn closest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let alike = |name: &str| strsim::jaro_winkler(&wanted, &name.to_lowercase());
    let mut found: Vec<(f64, &str)> = names.take(COMPARED).map(|name| (alike(name), name)).collect();
    found.retain(|(alike, _)| *alike > 0.6);
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    found.dedup_by(|a, b| a.1 == b.1);
    found.into_iter().take(SHOWN).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::string_slice, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn h30_the_forms_of_a_target() {
        let key = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
        assert_eq!(parse(key), Ok(Target::Key(key.parse().unwrap())));
        assert_eq!((parse("*"), parse("@all")), (Ok(Target::All), Ok(Target::All)));
        assert_eq!(parse("@eng"), Ok(Target::Group("eng".to_owned())));
        let hostile = "@a'; DROP TABLE message; --";
        assert_eq!(parse(hostile), Ok(Target::Group(hostile[1..].to_owned())), "a name like another");
        for bad in ["", "ana", "@", "@ a", "@@x", "@a|b", "@a\u{202e}b", &key.to_uppercase(), "**"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn h30_the_closest_names_are_shown() {
        let names = ["Anastasia", "Ben", "ana", "Anna", "ana"];
        assert_eq!(closest("anna", names.into_iter()), ["Anna", "ana", "Anastasia"]);
        assert!(closest("zzz", names.into_iter()).is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_and_a_target_is_written_as_it_is_read(spec in "\\PC{0,80}|@[a-z_. @-]{0,70}|[0-9a-f]{64}") {
            if let Ok(target) = parse(&spec) {
                prop_assert_eq!(parse(&target.to_string()), Ok(target));
            }
        }
    }
}
