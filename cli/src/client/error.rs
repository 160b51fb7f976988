//! Why there is no answer, and what that means to whoever typed the command.

use std::time::Duration;

use crate::error::CliError;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ClientError {
    /// No connection came about.
    #[error("cannot reach the broker at {endpoint}: {reason}")]
    Connect { endpoint: String, reason: String },
    /// Something listens there, and it does not speak this wire.
    #[error("{endpoint} does not answer like a claudemesh broker: {reason}")]
    NotABroker { endpoint: String, reason: String },
    /// The broker said no.
    #[error("{message}")]
    Refused { code: String, message: String },
    /// The connection ended while an answer was due.
    #[error("the connection to the broker was lost: {0}")]
    Lost(String),
    /// An answer was due, and the connection stands.
    #[error("no answer to {what} within {}", seconds(*after))]
    TimedOut { what: &'static str, after: Duration },
    /// An answer came that cannot be understood.
    #[error("the broker's answer to {what} cannot be understood: {reason}")]
    Unexpected { what: &'static str, reason: String },
    /// The request cannot be written.
    #[error("cannot write the request: {0}")]
    Request(String),
}

impl ClientError {
    /// Whether what was asked about is not there, or must not be seen.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "not_found")
    }
}

/// A limit in words.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let message = error.to_string();
        match error {
            ClientError::Connect { .. } => Self::unreachable(message).hint("is the broker running? claudemesh up"),
            ClientError::NotABroker { .. } => Self::unreachable(message)
                .hint("compare the mesh's brokerUrl in config.json with where the broker listens"),
            ClientError::Refused { code, .. } => Self::from_code(&code, message),
            ClientError::Lost(_) => {
                Self::unreachable(message).hint("see whether the broker is well: claudemesh health")
            }
            ClientError::TimedOut { .. } => Self::timed_out(message)
                .hint("what was asked may still happen; see whether the broker is well: claudemesh health"),
            ClientError::Unexpected { .. } => {
                Self::failed(message).hint("broker and client may be of different versions: claudemesh version")
            }
            ClientError::Request(_) => Self::failed(message),
        }
    }
}
