//! From what an address answers to a value, or to the reason why there is none.

use protocol::validate::cleaned;
use protocol::wire::WatchMode;
use serde_json::Value;

use super::extract::{Extract, text_of};
use super::fetch::{Answer, FetchError, Fetcher, Target, Validator, host_and_port};
use super::state::{Look, Seen, hash_of};

/// Characters of a value that are shown; a longer one is cut, and told apart by its whole.
pub const MAX_VALUE_CHARS: usize = 1_024;
/// Characters of a reason.
const MAX_REASON_CHARS: usize = 300;
/// Bodies that are larger are not read on the thread that everybody shares.
const ASIDE_ABOVE_BYTES: usize = 16 * 1024;

/// What is looked at, and what of it.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// What is fetched.
    pub target: Target,
    /// What of it.
    pub mode: WatchMode,
    /// Which part of its JSON.
    pub extract: Option<Extract>,
}

/// A look with what surrounds it.
#[derive(Debug)]
pub(super) struct Looked {
    /// What it came to.
    pub look: Look,
    /// For the next time.
    pub validator: Option<Validator>,
    /// The server asks to be left alone for so long.
    pub hold_ms: Option<i64>,
    /// The status code, if there was an answer.
    pub status: Option<u16>,
    /// Bytes of the body.
    pub bytes: usize,
}

impl Plan {
    /// What looks at the same host share.
    pub(super) fn host(&self) -> String {
        host_and_port(&self.target.url)
    }

    /// Looks once.
    pub(super) async fn look(&self, fetcher: &Fetcher, known: Option<&Validator>) -> Looked {
        match fetcher.fetch(&self.target, known).await {
            Ok(answer) => self.read(answer, known.is_some()).await,
            Err(error) => {
                // Our own doing, and no failure of the address.
                let look = if error == FetchError::Busy { Look::Skipped } else { failure(error.to_string()) };
                Looked { look, validator: None, hold_ms: None, status: None, bytes: 0 }
            }
        }
    }

    async fn read(&self, answer: Answer, asked: bool) -> Looked {
        let Answer { status, body, validator, retry_after_ms } = answer;
        let (status_of, bytes) = (Some(status), body.len());
        let hold_ms = retry_after_ms.filter(|_| matches!(status, 429 | 503));
        let looked = |look, validator| Looked { look, validator, hold_ms, status: status_of, bytes };
        if self.mode == WatchMode::Status {
            let value = status.to_string();
            let look = Look::Seen(Seen::of(value.as_bytes(), value.clone()));
            return looked(look, None);
        }
        if status == 304 && asked && validator.is_some() {
            return looked(Look::Unchanged, validator);
        }
        if !(200..300).contains(&status) {
            return looked(failure(format!("the answer was {status}")), None);
        }
        let look = self.value_aside(body).await;
        // Of a body that says nothing the server must not say "as before".
        let validator = validator.filter(|_| matches!(look, Look::Seen(_)));
        looked(look, validator)
    }

    async fn value_aside(&self, body: Vec<u8>) -> Look {
        if body.len() <= ASIDE_ABOVE_BYTES {
            return value(self.mode, self.extract.as_ref(), &body);
        }
        let (mode, extract) = (self.mode, self.extract.clone());
        let read = tokio::task::spawn_blocking(move || value(mode, extract.as_ref(), &body)).await;
        read.unwrap_or_else(|_| failure("the body could not be read".to_owned()))
    }
}

/// The value of a body.
fn value(mode: WatchMode, extract: Option<&Extract>, body: &[u8]) -> Look {
    match mode {
        WatchMode::Hash | WatchMode::Status => {
            let hash = hash_of(body);
            Look::Seen(Seen { text: hash.clone(), hash })
        }
        WatchMode::Json => {
            let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
            let Ok(document) = serde_json::from_slice::<Value>(body) else {
                return failure("the body is not JSON".to_owned());
            };
            match extract.map_or_else(|| Ok(text_of(&document)), |extract| extract.of(&document)) {
                Ok(value) => Look::Seen(Seen::of(value.as_bytes(), shown(&value))),
                Err(error) => failure(error.to_string()),
            }
        }
    }
}

/// A value as it is kept and shown.
fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(MAX_VALUE_CHARS).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text
}

fn failure(reason: String) -> Look {
    let reason = cleaned(&reason).chars().take(MAX_REASON_CHARS).collect();
    Look::Failed { reason }
}
