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
    /// Processes that share its calls.
    #[serde(skip_serializing_if = "is_one")]
    pub instances: u32,
    /// Never two processes at a time, not even during an update: the old one ends before the new one starts.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Calls that its processes may have before them at once, over all instances; more wait.
    #[serde(skip_serializing_if = "is_all")]
    pub concurrency: u32,
    /// Calls in a row that ran out of time after which an instance is given no more for a while.
    #[serde(skip_serializing_if = "is_usual")]
    pub circuit_timeouts: u32,
}

/// Calls that a service may have before its processes at once.
pub const MAX_CONCURRENCY: u32 = 256;
/// Processes of one service.
pub const MAX_INSTANCES: u32 = 8;
const CIRCUIT_TIMEOUTS: u32 = 5;

// A runner of the version before does not know these members, and would refuse them: they are said when they matter.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(instances: &u32) -> bool {
    *instances == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_all(concurrency: &u32) -> bool {
    *concurrency == MAX_CONCURRENCY
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_usual(timeouts: &u32) -> bool {
    *timeouts == CIRCUIT_TIMEOUTS
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
            instances: 1,
            exclusive: false,
            concurrency: MAX_CONCURRENCY,
            circuit_timeouts: CIRCUIT_TIMEOUTS,
        }
    }
}

/// What is wrong with a policy.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A value outside its bounds.
    #[error("`policy.{field}` is {value}; it must be between {least} and {most}")]
    Bounds {
        /// Which member.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The smallest that is allowed.
        least: u64,
        /// The largest that is allowed.
        most: u64,
    },
    /// Several processes at a time of what must be alone.
    #[error("`policy.instances` is {instances}; with `policy.exclusive` it must be 1")]
    Exclusive {
        /// How many were asked for.
        instances: u32,
    },
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
            ("instances", u64::from(self.instances), 1, u64::from(MAX_INSTANCES)),
            ("concurrency", u64::from(self.concurrency), 1, u64::from(MAX_CONCURRENCY)),
            ("circuit_timeouts", u64::from(self.circuit_timeouts), 1, 1_000),
        ];
        match bounds.into_iter().find(|&(_, value, least, most)| !(least..=most).contains(&value)) {
            Some((field, value, least, most)) => Err(PolicyError::Bounds { field, value, least, most }),
            None if self.exclusive && self.instances > 1 => Err(PolicyError::Exclusive { instances: self.instances }),
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
        let cases: [Case; 9] = [
            (|p| p.within_ms = 0, "within_ms"),
            (|p| p.backoff_max_ms = 100, "backoff_max_ms"),
            (|p| p.max_restarts = 1_001, "max_restarts"),
            (|p| p.health_misses = 0, "health_misses"),
            (|p| p.call_timeout_ms = u64::MAX, "call_timeout_ms"),
            (|p| p.instances = 9, "instances"),
            (|p| p.concurrency = 257, "concurrency"),
            (|p| p.circuit_timeouts = 0, "circuit_timeouts"),
            (|p| (p.exclusive, p.instances) = (true, 2), "instances"),
        ];
        for (spoil, field) in cases {
            let mut policy = Policy::default();
            spoil(&mut policy);
            let words = policy.validate().unwrap_err().to_string();
            assert!(words.contains(&format!("`policy.{field}`")), "{words}");
        }
    }
}
