//! Which broker may command: the highest epoch of one store.
//!
//! Contract: pure; the caller makes a raise durable before it acts on it. A runner serves one store at a time. A lower
//! epoch of it is refused for good, so that a broker that was replaced can change nothing; another store is refused
//! while anything of the present one is loaded.

use serde::{Deserialize, Serialize};

/// The highest epoch seen, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fences {
    highest: Option<Highest>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Highest {
    store: String,
    epoch: u64,
}

/// What becomes of a hello or a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may; nothing changes.
    Current,
    /// It may, and becomes the highest: make it durable first.
    Raise(Fences),
    /// A newer broker of the same store was here.
    Lower {
        /// The highest epoch.
        epoch: u64,
    },
    /// Services of another store are loaded.
    Other {
        /// That store.
        store: String,
        /// Its highest epoch.
        epoch: u64,
    },
}

impl Fences {
    /// Judges one who speaks for `store` in `epoch`; `occupied` says whether any service is loaded.
    #[must_use]
    pub fn judge(&self, store: &str, epoch: u64, occupied: bool) -> Verdict {
        let raised = || Verdict::Raise(Self { highest: Some(Highest { store: store.to_owned(), epoch }) });
        match &self.highest {
            None => raised(),
            Some(highest) if highest.store == store => match epoch.cmp(&highest.epoch) {
                std::cmp::Ordering::Less => Verdict::Lower { epoch: highest.epoch },
                std::cmp::Ordering::Equal => Verdict::Current,
                std::cmp::Ordering::Greater => raised(),
            },
            Some(highest) if occupied => Verdict::Other { store: highest.store.clone(), epoch: highest.epoch },
            Some(_) => raised(),
        }
    }

    /// The highest epoch that was seen, 0 before any.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.highest.as_ref().map_or(0, |highest| highest.epoch)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn at(store: &str, epoch: u64) -> Fences {
        let Verdict::Raise(fences) = Fences::default().judge(store, epoch, false) else { panic!() };
        fences
    }

    #[test]
    fn h14_verdicts() {
        let lower = Verdict::Lower { epoch: 5 };
        let other = Verdict::Other { store: "a".to_owned(), epoch: 5 };
        for (store, epoch, occupied, expected) in [
            ("a", 5, true, Verdict::Current),
            ("a", 4, true, lower.clone()),
            ("a", 4, false, lower),
            ("a", 6, true, Verdict::Raise(at("a", 6))),
            ("b", 9, true, other.clone()),
            ("b", 1, true, other),
            ("b", 1, false, Verdict::Raise(at("b", 1))),
        ] {
            assert_eq!(at("a", 5).judge(store, epoch, occupied), expected, "{store} {epoch} {occupied}");
        }
    }

    #[test]
    fn what_is_stored_is_what_was_seen() {
        let text = serde_json::to_string(&at("a", 7)).unwrap();
        assert_eq!(serde_json::from_str::<Fences>(&text).unwrap(), at("a", 7));
        assert_eq!(serde_json::from_str::<Fences>(r#"{"highest":null}"#).unwrap().epoch(), 0);
    }
}
