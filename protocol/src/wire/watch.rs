//! Watches: addresses that the broker looks at for a member, which is told when what is there changes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{Priority, null_is_default};
use crate::secret::{self, SecretString};

/// What of an address is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchMode {
    /// The bytes of the body.
    #[default]
    Hash,
    /// A part of its JSON.
    Json,
    /// The status code.
    Status,
}

impl WatchMode {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Hash, Self::Json, Self::Status];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Json => "json",
            Self::Status => "status",
        }
    }
}

impl fmt::Display for WatchMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A time in seconds, whole ones as an integer: what clients write and read. Kept in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds {
    /// The same in milliseconds.
    pub ms: u64,
}

/// More than this is no time that anybody waits.
const MAX_SECONDS: f64 = 1e9;

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.ms.is_multiple_of(1_000) {
            return serializer.serialize_u64(self.ms / 1_000);
        }
        // Below the bound of what is read, and so exact.
        #[expect(clippy::as_conversions, reason = "at most 1e12")]
        let seconds = self.ms as f64 / 1_000.0;
        serializer.serialize_f64(seconds)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            return Err(D::Error::custom("a time is a number of seconds, not negative"));
        }
        #[expect(clippy::as_conversions, reason = "checked above")]
        let ms = (seconds * 1_000.0).round() as u64;
        Ok(Self { ms })
    }
}

/// `watch`, and `watch_test`, which looks once and keeps nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// `http` or `https`.
    pub url: String,
    /// What of it; none = `json` where there is `extract`, else `hash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<WatchMode>,
    /// For `json`: which part, a plain path (`data.items[0].status`) or a JSONPath (RFC 9535, from `$`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// `change`, `match:<value>` or `not_match:<value>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_on: Option<String>,
    /// Sent along. The broker sees them.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        serialize_with = "secret::reveal",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub headers: BTreeMap<String, SecretString>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How urgent what it says is; none = `next` (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Failures in a row after which its owner is told (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_after: Option<u32>,
    /// Looks in a row at which a new value has to be there before its owner is told: damps what flaps (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<u32>,
}

/// `unwatch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchId {
    /// `w_` and eight hex digits.
    pub watch_id: String,
}

/// `watch_history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchHistory {
    /// Which watch.
    pub watch_id: String,
    /// At most so many, the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// `watch_ack`: answers `watch` and `unwatch`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchAck {
    /// `w_` and eight hex digits.
    pub watch_id: String,
    /// What is looked at.
    pub url: String,
    /// What of it.
    pub mode: WatchMode,
    /// How often.
    pub interval: Seconds,
}

/// `watch_list_result`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchListResult {
    /// The caller's own, in the order of their making.
    pub watches: Vec<WatchEntry>,
}

/// A watch as its owner is shown it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchEntry {
    /// `w_` and eight hex digits.
    pub id: String,
    /// What is looked at.
    pub url: String,
    /// What of it.
    pub mode: WatchMode,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How often.
    pub interval: Seconds,
    /// Of the last value, 16 hex digits.
    pub last_hash: Option<String>,
    /// The last value.
    pub last_value: Option<String>,
    /// When it was looked at last by this broker, ISO 8601.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<String>,
    /// ISO 8601.
    pub created_at: String,
    /// Which part of the JSON (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<String>,
    /// When its owner is told (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify_on: Option<String>,
    /// The names of the headers that are sent (ours).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// How urgent what it says is (ours).
    #[serde(default)]
    pub priority: Priority,
    /// Failures in a row (ours).
    #[serde(default)]
    pub failures: u32,
    /// Its owner was told that it fails, and not yet that it is well again (ours).
    #[serde(default)]
    pub failing: bool,
    /// What the last failure was (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// `watch_history_result` (ours).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchHistoryResult {
    /// Which watch.
    pub watch_id: String,
    /// The oldest first.
    pub changes: Vec<WatchChange>,
}

/// Something that happened to a watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchChange {
    /// Its number within the watch.
    pub number: i64,
    /// `first`, `changed`, `failed` or `recovered`.
    pub kind: String,
    /// What it was before.
    pub old_value: Option<String>,
    /// What it is from then on; of a failure the reason.
    pub new_value: Option<String>,
    /// ISO 8601.
    pub at: String,
    /// The message that said so, if its owner was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
}

/// `watch_test_result` (ours): what one look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchTestResult {
    /// The value that would be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The status code, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the body.
    #[serde(default)]
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn seconds_are_integers_where_they_are_whole() {
        for (ms, text) in [(30_000, "30"), (0, "0"), (200, "0.2"), (1_500, "1.5")] {
            assert_eq!(serde_json::to_string(&Seconds { ms }).unwrap(), text);
            assert_eq!(serde_json::from_str::<Seconds>(text).unwrap(), Seconds { ms });
        }
        assert_eq!(serde_json::from_str::<Seconds>("30.0").unwrap(), Seconds { ms: 30_000 });
        for bad in ["-1", "1e10", "\"30\"", "null"] {
            assert!(serde_json::from_str::<Seconds>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_not_printed() {
        let watch: Watch = serde_json::from_str(r#"{"url":"http://a","headers":{"X-Key":"hunter2"}}"#).unwrap();
        assert!(!format!("{watch:?}").contains("hunter2"));
    }
}
