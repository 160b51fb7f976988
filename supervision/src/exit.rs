//! Why an incarnation ended, in words that a supervisor can act on and a person can read.

use std::{any::Any, fmt};

use crate::ChildId;

/// The longest panic or error text kept from a child, in bytes.
const MAX_TEXT_BYTES: usize = 2_000;

/// Why one incarnation of a child ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitReason {
    /// It had nothing more to do.
    Normal,
    /// It ended because it was asked to.
    Shutdown,
    /// It gave up, and says why.
    Error(String),
    /// It panicked, with this message.
    Panic(String),
    /// It was ended from outside: it did not stop in time, or its thread went away.
    Killed,
    /// It was not ready within its start timeout.
    StartTimeout,
    /// A supervisor could not bring up its children: this one failed for this reason.
    StartFailed {
        /// The child that failed.
        child: ChildId,
        /// Why it failed.
        reason: Box<ExitReason>,
    },
    /// A supervisor saw more restarts than its intensity allows.
    Intensity {
        /// The child whose end was one too many.
        child: ChildId,
        /// How that child ended.
        last: Box<ExitReason>,
    },
    /// It holds its thread and could not even be killed.
    Stuck,
}

impl ExitReason {
    /// An error with its chain of sources, as one line.
    #[must_use]
    pub fn error(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Error(cut(text))
    }

    /// Whether a transient child is restarted after it: everything but `Normal` and `Shutdown`.
    #[must_use]
    pub fn is_abnormal(&self) -> bool {
        !matches!(self, Self::Normal | Self::Shutdown)
    }

    /// The reason without what is particular to this end: one of nine words, to count by.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::Error(_) => "error",
            Self::Panic(_) => "panic",
            Self::Killed => "killed",
            Self::StartTimeout => "start_timeout",
            Self::StartFailed { .. } => "start_failed",
            Self::Intensity { .. } => "intensity",
            Self::Stuck => "stuck",
        }
    }

    pub(crate) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a panic without a text".to_owned());
        Self::Panic(cut(text))
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let end = (0..=MAX_TEXT_BYTES).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::Error(text) => line(f, "error: ", text),
            Self::Panic(text) => line(f, "panic: ", text),
            Self::Killed => f.write_str("killed"),
            Self::StartTimeout => f.write_str("not ready within the start timeout"),
            Self::StartFailed { child, reason } => write!(f, "{child} did not start: {reason}"),
            Self::Intensity { child, last } => {
                write!(f, "too many restarts, the last of {child}: {last}")
            }
            Self::Stuck => f.write_str("stuck: it blocks its thread and cannot be killed"),
        }
    }
}

/// Writes `text` on one line, whatever it contains.
fn line(f: &mut fmt::Formatter<'_>, prefix: &str, text: &str) -> fmt::Result {
    use fmt::Write;
    f.write_str(prefix)?;
    text.chars().try_for_each(|c| f.write_char(if c.is_control() { ' ' } else { c }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_reason_is_one_line() {
        let child = ChildId::try_from("store").unwrap();
        let reason = ExitReason::StartFailed { child, reason: Box::new(ExitReason::Panic("first\nsecond".into())) };
        assert_eq!(reason.to_string(), "store did not start: panic: first second");
    }

    #[test]
    fn a_long_panic_is_cut_on_a_character() {
        let payload: Box<dyn Any + Send> = Box::new("é".repeat(MAX_TEXT_BYTES) + "x");
        let ExitReason::Panic(text) = ExitReason::from_panic(&*payload) else {
            panic!("not a panic");
        };
        assert_eq!(text.len(), MAX_TEXT_BYTES + "…".len());
    }

    #[test]
    fn an_error_keeps_its_sources() {
        let inner = std::io::Error::other("disk full");
        let outer = std::io::Error::other(Wrapped(inner));
        assert_eq!(ExitReason::error(&outer), ExitReason::Error("cannot save: disk full".into()));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot save")]
    struct Wrapped(#[source] std::io::Error);

    #[test]
    fn only_a_wanted_end_is_normal() {
        assert!(!ExitReason::Normal.is_abnormal() && !ExitReason::Shutdown.is_abnormal());
        assert!(ExitReason::Killed.is_abnormal() && ExitReason::Stuck.is_abnormal());
    }
}
