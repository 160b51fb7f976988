//! One message from the broker, before anybody has looked into it.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::ClientError;
use crate::text::Foreign;

/// One message from the broker: what is needed to route it, and the text.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    kind: String,
    pub(super) request_id: Option<String>,
    text: String,
    has_place: bool,
}

#[derive(Deserialize)]
struct FrameHead {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "_reqId", default)]
    request_id: Option<String>,
    #[serde(default)]
    seq: Option<serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    #[serde(default)]
    code: Foreign,
    #[serde(default)]
    message: Foreign,
}

impl Frame {
    /// `None` for text that is no message at all.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let head: FrameHead = serde_json::from_str(text).ok()?;
        Some(Self {
            kind: head.kind,
            request_id: head.request_id,
            text: text.to_owned(),
            has_place: head.seq.is_some(),
        })
    }

    /// The message's `type`.
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether it is a message that has its place in the order of messages, and will come again if it is not taken.
    pub(super) fn is_mail(&self) -> bool {
        self.kind == "push" && self.has_place
    }

    /// The message as a `T`.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text)
    }

    /// The refusal that this frame is, if it is one.
    pub(super) fn refusal(&self) -> Option<ClientError> {
        if self.kind != "error" {
            return None;
        }
        let body: ErrorBody = self.read().unwrap_or_default();
        let (code, mut message) = (body.code.line(), body.message.line());
        if message.is_empty() {
            message = format!("the broker refused: {code}");
        }
        Some(ClientError::Refused { code, message })
    }
}
