//! How a service is to be supervised: the flags of `deploy`, and what they say on the wire.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::command::values::wire_milliseconds as time;

/// `mcp_deploy.config.policy`: only what was asked for, the broker knows the defaults.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Args)]
#[command(next_help_heading = "Supervision")]
pub(crate) struct Policy {
    /// When to start it again after it ended
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<Restart>,
    /// Give up after this many restarts within --within
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_restarts: Option<u32>,
    /// The window of --max-restarts
    #[arg(long = "within", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    within_ms: Option<u64>,
    /// Pause before the second restart in a row; it doubles with each further one
    #[arg(long = "backoff", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_first_ms: Option<u64>,
    /// The longest such pause
    #[arg(long = "backoff-max", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_max_ms: Option<u64>,
    /// Running for so long, and the pauses begin anew
    #[arg(long = "stable", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    stable_ms: Option<u64>,
    /// How many processes share its calls, 1 to 8
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    instances: Option<u32>,
    /// Which of several instances are restarted when one ends
    #[arg(long, value_name = "WHICH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<Strategy>,
    /// Never two processes at a time: an update stops the old one before it starts the new one
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    exclusive: bool,
    /// How long a build may take
    #[arg(long = "build-timeout", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    build_timeout_ms: Option<u64>,
    /// How long a start may take
    #[arg(long = "start-timeout", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    start_timeout_ms: Option<u64>,
    /// How long a call may take whose caller sets no limit
    #[arg(long = "call-timeout", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    call_timeout_ms: Option<u64>,
    /// How long it may take to end before it is killed
    #[arg(long = "stop-timeout", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_timeout_ms: Option<u64>,
    /// Calls that it works on at once, 1 to 256; more wait
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    /// Whether a call may be repeated when the process dies during it
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry: Option<Retry>,
    /// After this many calls in a row that ran out of time it gets none for a while
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    circuit_timeouts: Option<u32>,
    /// Silent for so long, it is asked for a sign of life
    #[arg(long = "health-idle", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    health_idle_ms: Option<u64>,
    /// How long that sign may take
    #[arg(long = "health-timeout", value_name = "TIME", value_parser = time)]
    #[serde(skip_serializing_if = "Option::is_none")]
    health_timeout_ms: Option<u64>,
    /// After this many signs missed in a row it is restarted
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    health_misses: Option<u32>,
}

impl Policy {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a broker of this version would take it.
    ///
    /// # Errors
    /// What is wrong, with the name of the member.
    pub(crate) fn check(&self) -> Result<(), String> {
        let told = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let policy: protocol::link::Policy = serde_json::from_value(told).map_err(|error| error.to_string())?;
        policy.validate().map_err(|error| error.to_string())
    }
}

/// When a service is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Restart {
    /// Whenever it ends
    Permanent,
    /// When it ends badly
    Transient,
    /// Never
    Temporary,
}

/// Which instances restart together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Strategy {
    /// The one that ended
    OneForOne,
    /// All of them
    OneForAll,
    /// It and those that were started after it
    RestForOne,
}

/// Whether a call may be repeated after its process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Retry {
    /// Once, when the tool says that repeating is harmless
    Auto,
    /// Never
    Never,
}
