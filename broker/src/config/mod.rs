//! What the broker is told: the one place that reads the environment.
//!
//! **Contract.** Later wins: defaults, `claudemesh.toml`, environment, flags. A key that is not known
//! is an error that names it, and every value is checked here, before a port is bound or a file is
//! made: a [`Config`] that exists is one that can be served. Secrets are never printed, in errors
//! neither.
//!
//! | key in `[broker]` | environment | flag | default |
//! |---|---|---|---|
//! | `listen` | `BROKER_PORT` (the port only) | `--listen` | `127.0.0.1:7900` |
//! | `data_dir` | `CLAUDEMESH_DATA_DIR` | `--data-dir` | `~/.local/share/claudemesh` |
//! | `database_url` | `DATABASE_URL` | `--database-url` | none: SQLite in `data_dir` |
//! | `runner_urls` | `RUNNER_URL` (comma between) | `--runner-url` | none |
//! | `runner_token` | `RUNNER_TOKEN` | | a generated file where the runners are on this machine |
//! | `encryption_key` | `BROKER_ENCRYPTION_KEY` | | a generated file |
//! | `operator_token` | `CLAUDEMESH_OPERATOR_TOKEN` | | a generated file |
//! | `max_connections_per_mesh` | `MAX_CONNECTIONS_PER_MESH` | | 2000 |
//! | `max_message_bytes` | `MAX_MESSAGE_BYTES` | | 1 MiB |
//! | `max_services_per_mesh` | `MAX_SERVICES_PER_MESH` | | 20 |
//! | `watch_allow` | `CLAUDEMESH_WATCH_ALLOW` (comma between) | | none |
//! | `watch_min_interval_ms` | `CLAUDEMESH_WATCH_MIN_INTERVAL_MS` | | 5000 |
//! | `behind_proxy` | | `--behind-proxy` | false |
//!
//! Secrets have no flag: flags are visible to every user of the machine. `--database-url` is there for addresses
//! without a password. The file may hold a
//! `[runner]` table too, which is the runner's to check. Of the environment, names that begin with
//! `BROKER_` must be known, since a misspelt key would otherwise be replaced by a generated one in
//! silence.

mod database_url;
mod error;
mod layer;
mod range;
mod runner_url;
mod secret_file;
mod settings;

pub use database_url::{DatabaseTls, DatabaseUrl, DatabaseUrlError};
pub use error::{ConfigError, Origin};
pub use layer::Overrides;
pub use range::{Range, RangeError};
pub use runner_url::{RunnerUrl, RunnerUrlError};
pub use secret_file::{MAX_SECRET_FILE_BYTES, SecretFileError, read_secret_file, secret_file};
pub use settings::{Config, MAX_SERVICES_PER_MESH, WATCH_MIN_INTERVAL_MS};

use std::collections::BTreeMap;

/// The at-rest key's file in the data directory.
pub const AT_REST_KEY_FILE: &str = "at-rest.key";
/// The operator token's file in the data directory.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// The file in the data directory with the token that broker and runner know each other by.
pub const RUNNER_TOKEN_FILE: &str = "runner.token";

/// The environment of this process. What is not UTF-8 cannot be a setting and is left out.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
