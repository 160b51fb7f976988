//! What a server says of a call's progress.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::service::brief;

/// Of the words that go with it.
const MESSAGE_BYTES_MAX: usize = 1_024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    progress_token: u64,
    #[serde(flatten)]
    word: Word,
}

#[derive(Deserialize, Serialize)]
struct Word {
    progress: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// The call that is meant, by its request id, and what is said without the token. `None` when it cannot be understood.
pub(super) fn read(params: &[u8]) -> Option<(u64, Bytes)> {
    let Said { progress_token, mut word } = serde_json::from_slice(params).ok()?;
    word.message = word.message.map(|message| brief(&message, MESSAGE_BYTES_MAX));
    Some((progress_token, serde_json::to_vec(&word).ok()?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h20_progress_passes_without_its_token_and_with_short_words() {
        let read =
            |text: &str| read(text.as_bytes()).map(|(rpc, word)| (rpc, String::from_utf8_lossy(&word).into_owned()));
        assert_eq!(
            read(r#"{"progressToken":7,"progress":1,"total":2.5,"message":"a\nb","more":1}"#),
            Some((7, r#"{"progress":1,"total":2.5,"message":"a b"}"#.to_owned()))
        );
        assert_eq!(read(r#"{"progress":0.5,"progressToken":7}"#), Some((7, r#"{"progress":0.5}"#.to_owned())));
        assert!(
            ["", "[]", r#"{"progress":1}"#, r#"{"progressToken":"x","progress":1}"#, r#"{"progressToken":1}"#]
                .iter()
                .all(|text| read(text).is_none())
        );
        let long = format!(r#"{{"progressToken":7,"progress":1,"message":"{}"}}"#, "x".repeat(9_000));
        assert!(read(&long).is_some_and(|(_, word)| word.len() < 1_200));
    }
}
