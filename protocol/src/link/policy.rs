//! How a service is supervised.
//!
//! Contract: a [`Policy`] that was read from outside is used only after [`Policy::validate`].

use serde::{Deserialize, Serialize};

/// When a service that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartKind {
    /// Always.
    #[default]
    Permanent,
    /// After an abnormal end only.
    Transient,
    /// Never.
    Temporary,
}

/// Which instances of a service share the fate of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// The one that ended.
    #[default]
    OneForOne,
    /// All of them.
    OneForAll,
    /// Those that started after it.
    RestForOne,
}

/// Whether a call may be sent again after a process died with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryKind {
    /// Once, if the tool is declared read-only or idempotent.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// How a service is supervised. Unknown members are errors: a misspelt limit must not become a default in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// When it is started again.
    pub restart: RestartKind,
    /// Which instances restart together.
    pub strategy: StrategyKind,
    /// Restarts within `within_ms` that are still borne.
    pub max_restarts: u32,
    /// The window in which restarts count.
    pub within_ms: u64,
    /// Delay before the second restart in a row; the first is immediate.
    pub backoff_first_ms: u64,
    /// The delay doubles up to this.
    pub backoff_max_ms: u64,
    /// Ready for so long, and the delays begin anew.
    pub stable_ms: u64,
    /// From the spawn to ready.
    pub start_timeout_ms: u64,
    /// For fetching and installing.
    pub build_timeout_ms: u64,
    /// For a call that names no limit of its own.
    pub call_timeout_ms: u64,
    /// Between the request to end and the kill.
    pub stop_timeout_ms: u64,
    /// Without traffic for so long, and the service is asked for a sign of life.
    pub health_idle_ms: u64,
    /// For that sign.
    pub health_timeout_ms: u64,
    /// Signs missed in a row that lead to a restart.
    pub health_misses: u32,
    /// Whether calls may be sent again.
    pub retry: RetryKind,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: RestartKind::Permanent,
            strategy: StrategyKind::OneForOne,
            max_restarts: 5,
            within_ms: 60_000,
            backoff_first_ms: 200,
            backoff_max_ms: 16_000,
            stable_ms: 30_000,
            start_timeout_ms: 60_000,
            build_timeout_ms: 600_000,
            call_timeout_ms: 60_000,
            stop_timeout_ms: 5_000,
            health_idle_ms: 30_000,
            health_timeout_ms: 5_000,
            health_misses: 3,
            retry: RetryKind::Auto,
        }
    }
}

/// A value outside its bounds.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`policy.{field}` is {value}; it must be between {least} and {most}")]
pub struct PolicyError {
    /// Which member.
    pub field: &'static str,
    /// What it is.
    pub value: u64,
    /// The smallest that is allowed.
    pub least: u64,
    /// The largest that is allowed.
    pub most: u64,
}

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

impl Policy {
    /// Checks each number against its bounds, and the two back-off delays against each other.
    ///
    /// # Errors
    /// The first member that is out of bounds.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let bounds = [
            ("max_restarts", u64::from(self.max_restarts), 0, 1_000),
            ("within_ms", self.within_ms, 1, 24 * HOUR_MS),
            ("backoff_first_ms", self.backoff_first_ms, 1, HOUR_MS),
            ("backoff_max_ms", self.backoff_max_ms, self.backoff_first_ms, HOUR_MS),
            ("stable_ms", self.stable_ms, 1, 24 * HOUR_MS),
            ("start_timeout_ms", self.start_timeout_ms, 1, HOUR_MS),
            ("build_timeout_ms", self.build_timeout_ms, 1, HOUR_MS),
            ("call_timeout_ms", self.call_timeout_ms, 1, 24 * HOUR_MS),
            ("stop_timeout_ms", self.stop_timeout_ms, 1, 10 * MINUTE_MS),
            ("health_idle_ms", self.health_idle_ms, 1, 24 * HOUR_MS),
            ("health_timeout_ms", self.health_timeout_ms, 1, HOUR_MS),
            ("health_misses", u64::from(self.health_misses), 1, 1_000),
        ];
        match bounds.into_iter().find(|&(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((field, value, least, most)) => Err(PolicyError { field, value, least, most }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_default_policy_is_valid_and_is_what_an_empty_object_means() {
        Policy::default().validate().unwrap();
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    }

    #[test]
    fn a_misspelt_member_is_an_error_with_its_name() {
        let error = serde_json::from_str::<Policy>(r#"{"max_restart":3}"#).unwrap_err();
        assert!(error.to_string().contains("max_restart"), "{error}");
    }

    #[test]
    fn bounds_name_the_member() {
        type Case = (fn(&mut Policy), &'static str);
        let cases: [Case; 5] = [
            (|p| p.within_ms = 0, "within_ms"),
            (|p| p.backoff_max_ms = 100, "backoff_max_ms"),
            (|p| p.max_restarts = 1_001, "max_restarts"),
            (|p| p.health_misses = 0, "health_misses"),
            (|p| p.call_timeout_ms = u64::MAX, "call_timeout_ms"),
        ];
        for (spoil, field) in cases {
            let mut policy = Policy::default();
            spoil(&mut policy);
            assert_eq!(policy.validate().unwrap_err().field, field);
        }
    }
}
