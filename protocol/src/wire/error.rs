//! Refusals, in words that clients know.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ErrorMessage;
use crate::link::FailCode;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $word:literal),+ $(,)?) => {
        /// The `code` of an `error`, and the word of `errorCode`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])+ $variant,)+
            /// A word of a later version.
            Unrecognised,
        }

        impl ErrorCode {
            /// Every code that is ever sent.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unrecognised => "unrecognised",
                }
            }

            /// The code of a word.
            #[must_use]
            pub fn of(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    _ => Self::Unrecognised,
                }
            }
        }
    };
}

error_codes! {
    /// Something other than a hello came first.
    NoHello = "no_hello",
    /// No message has this type.
    UnknownType = "unknown_type",
    /// Not one JSON object.
    BadJson = "bad_json",
    /// A field is missing or wrong; the message names it.
    BadRequest = "bad_request",
    /// The frame, or what it asks for, is over the limit.
    TooLarge = "too_large",
    /// Not a member of the mesh, or the key is another member's.
    Unauthorized = "unauthorized",
    /// A signature does not hold.
    BadSignature = "bad_signature",
    /// The clocks differ too much.
    TimestampSkew = "timestamp_skew",
    /// This hello was seen before.
    Replayed = "replayed",
    /// The session key belongs to another member.
    SessionTaken = "session_taken",
    /// The hello cannot be read.
    Malformed = "malformed",
    /// No more connections are taken.
    Capacity = "capacity",
    /// A name breaks its rule; the message is the rule.
    InvalidName = "invalid_name",
    /// A limit is reached; the message names it.
    Limit = "limit",
    /// The member may not do this.
    Forbidden = "forbidden",
    /// The deployment cannot be made.
    DeployError = "deploy_error",

    // What this project adds.
    /// No such thing, or none that the peer may see.
    NotFound = "not_found",
    /// The service is crashed, failed or stopped.
    NotRunning = "not_running",
    /// A process took the call and died.
    OutcomeUnknown = "outcome_unknown",
    /// The call was in flight at two process deaths.
    Poison = "poison",
    /// Too many calls of the member were poison: cut off from the service for a while.
    Poisoned = "poisoned",
    /// The service answers no calls in time: left alone for a while.
    CircuitOpen = "circuit_open",
    /// Not answered in time.
    Timeout = "timeout",
    /// A queue is full; try again later.
    Overloaded = "overloaded",
    /// The caller gave it up.
    Cancelled = "cancelled",
    /// The service's runner cannot be reached.
    Unreachable = "unreachable",
    /// The service or the broker is on its way out.
    Draining = "draining",
    /// The link to the runner broke during the call.
    LinkLost = "link_lost",
    /// No disk is left for new work.
    StorageFull = "storage_full",
    /// A newer operation on the same thing has replaced this one.
    Superseded = "superseded",
    /// A fault of the broker; its log says more.
    Internal = "internal",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&<Cow<'de, str>>::deserialize(deserializer)?))
    }
}

impl From<FailCode> for ErrorCode {
    fn from(code: FailCode) -> Self {
        match code {
            FailCode::NotFound => Self::NotFound,
            FailCode::NotRunning => Self::NotRunning,
            FailCode::OutcomeUnknown => Self::OutcomeUnknown,
            FailCode::Poison => Self::Poison,
            FailCode::Poisoned => Self::Poisoned,
            FailCode::CircuitOpen => Self::CircuitOpen,
            FailCode::Timeout => Self::Timeout,
            FailCode::Overloaded => Self::Overloaded,
            FailCode::Cancelled => Self::Cancelled,
            FailCode::Unreachable => Self::Unreachable,
            FailCode::TooLarge => Self::TooLarge,
            FailCode::Draining => Self::Draining,
            FailCode::LinkLost => Self::LinkLost,
        }
    }
}

/// Why a frame was not read, with what is needed to answer it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// For a program.
    pub code: ErrorCode,
    /// For a person; names the field.
    pub message: String,
    /// The request's id, if one could be found.
    pub req_id: Option<String>,
    /// The limit that it is over, if that is why.
    pub limit: Option<WireLimit>,
}

/// A limit that is judged while a frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireLimit {
    /// Levels of nesting.
    Depth,
    /// Bytes of a `_reqId`.
    ReqIdBytes,
}

impl WireError {
    /// The `error` that answers the frame.
    #[must_use]
    pub fn to_message(&self) -> ErrorMessage {
        ErrorMessage { code: self.code, message: self.message.clone(), id: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_own_word_and_is_read_back() {
        let words: std::collections::BTreeSet<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::of(code.as_str()), code);
        }
        assert_eq!(ErrorCode::of("a word of tomorrow"), ErrorCode::Unrecognised);
    }
}
