//! Frames for a client.

use protocol::wire::{Envelope, ErrorCode, ErrorMessage, ServerMessage};

use supervision::CallError;

use crate::mesh::actor::SpeakError;
use crate::mesh::roster::SayError;
use crate::mesh::service::Refused;

/// The text of a message.
#[must_use]
pub fn frame(message: ServerMessage<'_>, req_id: Option<&str>) -> String {
    Envelope::new(message, req_id).to_json().unwrap_or_else(|error| {
        // Only a number without a JSON form could do this, and no message of ours has one.
        tracing::error!(%error, "a message has no JSON form");
        r#"{"type":"error","code":"internal","message":"the answer has no JSON form"}"#.to_owned()
    })
}

/// The text of an `error`.
#[must_use]
pub fn error(code: ErrorCode, message: impl Into<String>, req_id: Option<&str>) -> String {
    frame(ServerMessage::Error(ErrorMessage { code, message: message.into(), id: None }), req_id)
}

/// The text of the `error` for a refused request about a service.
#[must_use]
pub fn refused(refused: &Refused, req_id: Option<&str>) -> String {
    let (code, words) = refusal(refused);
    error(code, words, req_id)
}

/// The code and the words of a refused request about a service.
#[must_use]
pub fn refusal(refused: &Refused) -> (ErrorCode, String) {
    let code = match refused {
        Refused::NotFound(_) => ErrorCode::NotFound,
        Refused::Forbidden => ErrorCode::Forbidden,
        Refused::Limit(_) => ErrorCode::Limit,
        Refused::NoRunner | Refused::Cannot(_) => ErrorCode::DeployError,
        Refused::Internal(_) => ErrorCode::Internal,
    };
    (code, refused.to_string())
}

/// The text of the `error` for a request that the mesh's actor did not answer.
#[must_use]
pub fn mesh_down(error: &CallError, req_id: Option<&str>) -> String {
    self::error(ErrorCode::Internal, format!("the mesh does not answer: {error}"), req_id)
}

/// The code of words that are not taken.
#[must_use]
pub const fn code_of(error: &SpeakError) -> ErrorCode {
    match error {
        SpeakError::Say(SayError::TooLong { .. } | SayError::Name(_)) => ErrorCode::BadRequest,
        SpeakError::Say(SayError::Groups) => ErrorCode::Limit,
        SpeakError::Say(SayError::Restricted(_)) => ErrorCode::Forbidden,
        SpeakError::NoSession(_) => ErrorCode::NotFound,
        SpeakError::NotHere => ErrorCode::Internal,
    }
}
