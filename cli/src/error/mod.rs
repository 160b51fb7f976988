//! What a command can end with, and what the shell sees of it.
//!
//! Contract: every failure is one [`CliError`]: a kind (which alone decides the exit code), one line that says what is
//! wrong, and, where something can be done about it, one line that says what. The exit codes are a promise to scripts.

mod codes;

use std::fmt;

use serde_json::{Value, json};

/// The kinds of failure a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It was tried, and it did not work.
    Failed,
    /// The words of the command line make no sense; nothing was tried.
    Usage,
    /// Nobody answers where the broker (or the runner behind it) should be.
    Unreachable,
    /// Somebody answered, and said no.
    Refused,
    /// It was started, and no outcome is known within the time given.
    TimedOut,
}

/// Kind, its name in `--json`, its exit code. Success is 0.
const KINDS: [(Kind, &str, u8); 5] = [
    (Kind::Failed, "failed", 1),
    (Kind::Usage, "usage", 2),
    (Kind::Unreachable, "unreachable", 3),
    (Kind::Refused, "refused", 4),
    (Kind::TimedOut, "timed_out", 5),
];

/// The exit codes as `--help` explains them.
pub(crate) const EXIT_CODES_HELP: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong words, 3 not reachable, 4 refused, 5 timed out.";

/// Used for a kind that is missing from [`KINDS`]; a test keeps that from happening.
const GENERAL_FAILURE: (&str, u8) = ("failed", 1);

impl Kind {
    fn entry(self) -> (&'static str, u8) {
        KINDS.iter().find(|(kind, _, _)| *kind == self).map_or(GENERAL_FAILURE, |(_, name, code)| (name, *code))
    }

    /// The stable name that `--json` shows.
    pub(crate) fn name(self) -> &'static str {
        self.entry().0
    }

    /// The process exit code.
    pub(crate) fn exit_code(self) -> u8 {
        self.entry().1
    }
}

/// A failed command.
#[derive(Debug, Clone)]
pub(crate) struct CliError {
    /// Decides the exit code.
    pub(crate) kind: Kind,
    /// One line, already free of control characters: what is wrong.
    pub(crate) message: String,
    /// One line: what to do about it.
    pub(crate) hint: Option<String>,
    /// The code the broker gave, where it gave one.
    pub(crate) code: Option<String>,
    document: Document,
}

/// What `--json` prints for a failure.
#[derive(Debug, Clone)]
enum Document {
    /// The plain error object.
    Plain,
    /// A document of the command's own.
    Own(Box<Value>),
    /// Nothing: the command has printed its result, which is complete although it is a failure.
    Printed,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, code: None, document: Document::Plain }
    }

    /// Of a kind that was found out.
    pub(crate) fn of_kind(kind: Kind, message: impl Into<String>) -> Self {
        Self::new(kind, message)
    }

    /// Tried, did not work (exit 1).
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Wrong words (exit 2).
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Nobody answers (exit 3).
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }

    /// Refused (exit 4).
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// No outcome in time (exit 5).
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(Kind::TimedOut, message)
    }

    /// The error for a code that the broker gave: kind and hint come from [`codes`].
    pub(crate) fn from_code(code: &str, message: impl Into<String>) -> Self {
        let (kind, hint) = codes::CODES
            .iter()
            .find(|(known, _, _)| *known == code)
            .map_or((Kind::Failed, ""), |(_, kind, hint)| (*kind, *hint));
        let mut error = Self::new(kind, message);
        error.code = Some(code.to_owned());
        if !hint.is_empty() {
            error.hint = Some(hint.to_owned());
        }
        error
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what `--json` prints for this failure.
    pub(crate) fn document(mut self, document: Value) -> Self {
        self.document = Document::Own(Box::new(document));
        self
    }

    /// Says that the command has printed its document already.
    pub(crate) fn already_documented(mut self) -> Self {
        self.document = Document::Printed;
        self
    }

    /// The JSON document that is still to be printed for this failure:
    /// `{"error": {"kind", "exit_code", "message", "hint"?, "code"?}}` unless the command gave its own.
    pub(crate) fn to_json(&self) -> Option<Value> {
        match &self.document {
            Document::Plain => Some(self.plain()),
            Document::Own(document) => Some((**document).clone()),
            Document::Printed => None,
        }
    }

    /// The plain error object.
    pub(crate) fn plain(&self) -> Value {
        let mut error = json!({
            "kind": self.kind.name(),
            "exit_code": self.kind.exit_code(),
            "message": self.message,
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(hint) = &self.hint {
                fields.insert("hint".into(), hint.as_str().into());
            }
            if let Some(code) = &self.code {
                fields.insert("code".into(), code.as_str().into());
            }
        }
        json!({ "error": error })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    const ALL: [Kind; 5] = [Kind::Failed, Kind::Usage, Kind::Unreachable, Kind::Refused, Kind::TimedOut];

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let table: Vec<_> = ALL.map(|kind| (kind.name(), kind.exit_code())).to_vec();
        assert_eq!(table, [("failed", 1), ("usage", 2), ("unreachable", 3), ("refused", 4), ("timed_out", 5)]);
        for kind in ALL {
            assert!(KINDS.iter().any(|(listed, _, _)| *listed == kind), "{kind:?} is not in the table");
        }
    }

    #[test]
    fn the_error_document_names_what_it_has_and_nothing_else() {
        assert_eq!(CliError::usage("no").plain(), json!({"error": {"kind": "usage", "exit_code": 2, "message": "no"}}));
        assert_eq!(
            CliError::from_code("replayed", "seen").plain(),
            json!({"error": {"kind": "refused", "exit_code": 4, "message": "seen", "hint": "run the command again", "code": "replayed"}})
        );
        let own = CliError::failed("x").document(json!({"name": "n"}));
        assert_eq!(own.to_json(), Some(json!({"name": "n"})));
        assert_eq!(CliError::failed("x").already_documented().to_json(), None);
    }
}
