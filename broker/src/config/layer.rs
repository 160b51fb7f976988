//! Where settings are said: file, environment, flags, each brought into one form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use protocol::SecretString;

use super::error::{ConfigError, Origin};

/// A setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Listen,
    DataDir,
    DatabaseUrl,
    RunnerUrls,
    RunnerToken,
    EncryptionKey,
    OperatorToken,
    MaxConnectionsPerMesh,
    MaxMessageBytes,
    MaxServicesPerMesh,
    WatchAllow,
    WatchMinIntervalMs,
    BehindProxy,
}

impl Setting {
    pub(super) const ALL: [Self; 13] = [
        Self::Listen,
        Self::DataDir,
        Self::DatabaseUrl,
        Self::RunnerUrls,
        Self::RunnerToken,
        Self::EncryptionKey,
        Self::OperatorToken,
        Self::MaxConnectionsPerMesh,
        Self::MaxMessageBytes,
        Self::MaxServicesPerMesh,
        Self::WatchAllow,
        Self::WatchMinIntervalMs,
        Self::BehindProxy,
    ];

    /// Its name in the settings file, in errors and in print.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::DataDir => "data_dir",
            Self::DatabaseUrl => "database_url",
            Self::RunnerUrls => "runner_urls",
            Self::RunnerToken => "runner_token",
            Self::EncryptionKey => "encryption_key",
            Self::OperatorToken => "operator_token",
            Self::MaxConnectionsPerMesh => "max_connections_per_mesh",
            Self::MaxMessageBytes => "max_message_bytes",
            Self::MaxServicesPerMesh => "max_services_per_mesh",
            Self::WatchAllow => "watch_allow",
            Self::WatchMinIntervalMs => "watch_min_interval_ms",
            Self::BehindProxy => "behind_proxy",
        }
    }

    /// Its environment variable.
    const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Listen => Some("BROKER_PORT"),
            Self::DataDir => Some("CLAUDEMESH_DATA_DIR"),
            Self::DatabaseUrl => Some("DATABASE_URL"),
            Self::RunnerUrls => Some("RUNNER_URL"),
            Self::RunnerToken => Some("RUNNER_TOKEN"),
            Self::EncryptionKey => Some("BROKER_ENCRYPTION_KEY"),
            Self::OperatorToken => Some("CLAUDEMESH_OPERATOR_TOKEN"),
            Self::MaxConnectionsPerMesh => Some("MAX_CONNECTIONS_PER_MESH"),
            Self::MaxMessageBytes => Some("MAX_MESSAGE_BYTES"),
            Self::MaxServicesPerMesh => Some("MAX_SERVICES_PER_MESH"),
            Self::WatchAllow => Some("CLAUDEMESH_WATCH_ALLOW"),
            Self::WatchMinIntervalMs => Some("CLAUDEMESH_WATCH_MIN_INTERVAL_MS"),
            Self::BehindProxy => None,
        }
    }
}

/// A setting as it was said: a list where the setting takes one, else a single text.
pub(super) struct Said {
    pub(super) key: Setting,
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

/// What the command line says over everything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`: address and port.
    pub listen: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--database-url`.
    pub database_url: Option<SecretString>,
    /// `--runner-url`, once for each runner; empty says nothing.
    pub runner_urls: Vec<String>,
    /// `--behind-proxy`; false says nothing.
    pub behind_proxy: bool,
}

impl Overrides {
    pub(super) fn said(&self) -> Result<Vec<Said>, ConfigError> {
        let mut all = Vec::new();
        let mut say = |key, values, flag| {
            all.push(Said { key, values, origin: Origin::Flag(flag) });
        };
        if let Some(listen) = &self.listen {
            say(Setting::Listen, vec![listen.clone()], "--listen");
        }
        if let Some(dir) = &self.data_dir {
            let text = dir.to_str().ok_or_else(|| ConfigError::Invalid {
                key: Setting::DataDir.name(),
                origin: Origin::Flag("--data-dir"),
                reason: "the path is not UTF-8".to_owned(),
            })?;
            say(Setting::DataDir, vec![text.to_owned()], "--data-dir");
        }
        if let Some(url) = &self.database_url {
            say(Setting::DatabaseUrl, vec![url.expose().to_owned()], "--database-url");
        }
        if !self.runner_urls.is_empty() {
            say(Setting::RunnerUrls, self.runner_urls.clone(), "--runner-url");
        }
        if self.behind_proxy {
            say(Setting::BehindProxy, vec!["true".to_owned()], "--behind-proxy");
        }
        Ok(all)
    }
}

/// What the environment says. An empty variable says nothing.
pub(super) fn from_environment(env: &BTreeMap<String, String>) -> Result<Vec<Said>, ConfigError> {
    const OURS: &str = "BROKER_";
    let known = |name: &str| Setting::ALL.iter().any(|key| key.variable() == Some(name));
    if let Some(name) = env.keys().find(|name| name.starts_with(OURS) && !known(name)) {
        let origin = Origin::Environment(name.clone());
        return Err(ConfigError::UnknownKey { key: name.clone(), origin });
    }
    let said = Setting::ALL.iter().filter_map(|&key| {
        let name = key.variable()?;
        let text = env.get(name).filter(|text| !text.is_empty())?;
        let values = match key {
            Setting::RunnerUrls | Setting::WatchAllow => text.split(',').map(|url| url.trim().to_owned()).collect(),
            _ => vec![text.clone()],
        };
        Some(Said { key, values, origin: Origin::Environment(name.to_owned()) })
    });
    Ok(said.collect())
}

/// What the settings file says.
pub(super) fn from_file(path: &Path) -> Result<Vec<Said>, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
    let tables: toml::Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_path_buf(),
        line: error.span().map_or(1, |span| line_of(&text, span.start)),
        message: error.message().to_owned(),
    })?;
    let origin = Origin::File(path.to_path_buf());
    let mut all = Vec::new();
    for (name, value) in tables {
        match (name.as_str(), value) {
            ("broker", toml::Value::Table(table)) => {
                for (name, value) in table {
                    all.push(said_in_file(&name, value, &origin)?);
                }
            }
            ("runner", toml::Value::Table(_)) => {}
            _ => return Err(ConfigError::UnknownKey { key: name, origin }),
        }
    }
    Ok(all)
}

fn said_in_file(name: &str, value: toml::Value, origin: &Origin) -> Result<Said, ConfigError> {
    let Some(&key) = Setting::ALL.iter().find(|key| key.name() == name) else {
        let key = format!("broker.{name}");
        return Err(ConfigError::UnknownKey { key, origin: origin.clone() });
    };
    let values = match value {
        toml::Value::Array(items) => items.into_iter().map(scalar).collect(),
        single => scalar(single).map(|text| vec![text]),
    };
    let values = values.ok_or_else(|| ConfigError::Invalid {
        key: key.name(),
        origin: origin.clone(),
        reason: "takes text, a number, true or false, or a list of these".to_owned(),
    })?;
    Ok(Said { key, values, origin: origin.clone() })
}

fn scalar(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => None,
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
