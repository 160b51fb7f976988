//! The settings, checked.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use protocol::SecretString;
use protocol::link::proof::MIN_TOKEN_BYTES;
use rand::RngCore as _;
use zeroize::Zeroizing;

use super::database_url::{DatabaseUrl, DatabaseUrlError};
use super::error::{ConfigError, Origin};
use super::layer::{Overrides, Said, Setting, from_environment, from_file};
use super::range::{Range, RangeError};
use super::runner_url::RunnerUrl;
use super::secret_file::{SecretFileError, secret_file};
use super::{OPERATOR_TOKEN_FILE, RUNNER_TOKEN_FILE};

const DEFAULT_PORT: u16 = 7900;
const DEFAULT_DATA_DIR: &str = ".local/share/claudemesh";
const MAX_CONNECTIONS_PER_MESH: u32 = 2_000;
const MAX_MESSAGE_BYTES: u32 = 1024 * 1024;
/// Services a mesh may have, unless the operator says otherwise.
pub const MAX_SERVICES_PER_MESH: u32 = 20;

/// The shortest interval of a watch, unless the operator says otherwise.
pub const WATCH_MIN_INTERVAL_MS: u32 = 5_000;

/// What the numbers may be: below, nothing works; above, a process cannot hold it.
const CONNECTIONS_RANGE: (u32, u32) = (1, 100_000);
const MESSAGE_BYTES_RANGE: (u32, u32) = (1_024, 64 * 1024 * 1024);
const SERVICES_RANGE: (u32, u32) = (1, 1_000);
/// The shortest interval of a watch may be shorter in tests only: other people's servers are looked at.
const WATCH_INTERVAL_RANGE: (u32, u32) = (20, 86_400_000);
const MAX_RUNNERS: usize = 64;
/// Ranges of addresses that the operator may allow to watches.
const MAX_WATCH_RANGES: usize = 256;
const TOKEN_CHARS: (usize, usize) = (MIN_TOKEN_BYTES, 512);
const ENCRYPTION_KEY_DIGITS: usize = 64;
/// Random bytes in a generated token.
const TOKEN_BYTES: usize = 32;

/// The broker's settings. `Debug` and [`Config::print`] show no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the embedded database, the lock and the generated secrets are. Absolute.
    pub data_dir: PathBuf,
    /// The PostgreSQL database to use in place of the embedded one.
    pub database_url: Option<DatabaseUrl>,
    /// The runners to dial.
    pub runner_urls: Vec<RunnerUrl>,
    /// What broker and runners know each other by.
    pub runner_token: Option<SecretString>,
    /// The at-rest key, 64 hexadecimal digits.
    pub encryption_key: Option<SecretString>,
    /// What operators show beyond liveness.
    pub operator_token: Option<SecretString>,
    /// Sockets a mesh may have.
    pub max_connections_per_mesh: u32,
    /// The largest frame that is taken in.
    pub max_message_bytes: u32,
    /// Services a mesh may have.
    pub max_services_per_mesh: u32,
    /// Addresses that watches may reach although they are not of the public internet.
    pub watch_allow: Vec<Range>,
    /// The shortest interval of a watch.
    pub watch_min_interval_ms: u32,
    /// A proxy ends TLS in front of the broker.
    pub behind_proxy: bool,
}

impl Config {
    /// Reads and checks the settings: defaults, then `file`, then `env`, then `flags`.
    ///
    /// # Errors
    /// When the file is given and cannot be read, a key is unknown, a value is not taken, or the
    /// whole would not be safe to serve.
    pub fn load(flags: &Overrides, env: &BTreeMap<String, String>, file: Option<&Path>) -> Result<Self, ConfigError> {
        let mut layers = Vec::new();
        if let Some(path) = file {
            layers.extend(from_file(path)?);
        }
        layers.extend(from_environment(env)?);
        layers.extend(flags.said()?);

        let mut config = Self::default_in(env);
        for said in &layers {
            config.take(said)?;
        }
        config.check()?;
        Ok(config)
    }

    /// Makes, or reads, the tokens that nobody configured, in the data directory: the operator's, and
    /// the runners' where all of them are on this machine. Call it once the directory is locked.
    ///
    /// # Errors
    /// When a secret file is unusable.
    pub fn fill_embedded_secrets(&mut self) -> Result<(), SecretFileError> {
        for (token, file) in
            [(&mut self.operator_token, OPERATOR_TOKEN_FILE), (&mut self.runner_token, RUNNER_TOKEN_FILE)]
        {
            if token.is_none() {
                *token = Some(secret_file(&self.data_dir.join(file), generate_token)?);
            }
        }
        Ok(())
    }

    /// The settings in the form of the settings file, secrets hidden.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::from("[broker]\n");
        for key in Setting::ALL {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{} = {}", key.name(), self.shown(key));
        }
        text
    }

    fn shown(&self, key: Setting) -> String {
        let hidden = |secret: &Option<SecretString>| match secret {
            Some(_) => quoted("(hidden)"),
            None => quoted("(not set)"),
        };
        match key {
            Setting::Listen => quoted(self.listen),
            Setting::DataDir => quoted(self.data_dir.display()),
            Setting::DatabaseUrl => match &self.database_url {
                Some(url) => quoted(url),
                None => quoted("(not set)"),
            },
            Setting::RunnerUrls => {
                let urls: Vec<String> = self.runner_urls.iter().map(quoted).collect();
                format!("[{}]", urls.join(", "))
            }
            Setting::RunnerToken => hidden(&self.runner_token),
            Setting::EncryptionKey => hidden(&self.encryption_key),
            Setting::OperatorToken => hidden(&self.operator_token),
            Setting::MaxConnectionsPerMesh => self.max_connections_per_mesh.to_string(),
            Setting::MaxMessageBytes => self.max_message_bytes.to_string(),
            Setting::MaxServicesPerMesh => self.max_services_per_mesh.to_string(),
            Setting::WatchAllow => {
                let ranges: Vec<String> = self.watch_allow.iter().map(quoted).collect();
                format!("[{}]", ranges.join(", "))
            }
            Setting::WatchMinIntervalMs => self.watch_min_interval_ms.to_string(),
            Setting::BehindProxy => self.behind_proxy.to_string(),
        }
    }

    fn default_in(env: &BTreeMap<String, String>) -> Self {
        let home = env.get("HOME").filter(|home| Path::new(home).is_absolute());
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            // Without a home there is no default; an empty path does not pass the check.
            data_dir: home.map(|home| Path::new(home).join(DEFAULT_DATA_DIR)).unwrap_or_default(),
            database_url: None,
            runner_urls: Vec::new(),
            runner_token: None,
            encryption_key: None,
            operator_token: None,
            max_connections_per_mesh: MAX_CONNECTIONS_PER_MESH,
            max_message_bytes: MAX_MESSAGE_BYTES,
            max_services_per_mesh: MAX_SERVICES_PER_MESH,
            watch_allow: Vec::new(),
            watch_min_interval_ms: WATCH_MIN_INTERVAL_MS,
            behind_proxy: false,
        }
    }

    fn take(&mut self, said: &Said) -> Result<(), ConfigError> {
        match said.key {
            Setting::Listen => self.listen = listen(said, self.listen)?,
            Setting::DataDir => self.data_dir = absolute(said)?,
            Setting::DatabaseUrl => self.database_url = Some(database_url(said)?),
            Setting::RunnerUrls => self.runner_urls = runner_urls(said)?,
            Setting::RunnerToken => self.runner_token = Some(token(said)?),
            Setting::EncryptionKey => self.encryption_key = Some(encryption_key(said)?),
            Setting::OperatorToken => self.operator_token = Some(token(said)?),
            Setting::MaxConnectionsPerMesh => {
                self.max_connections_per_mesh = number(said, CONNECTIONS_RANGE)?;
            }
            Setting::MaxMessageBytes => self.max_message_bytes = number(said, MESSAGE_BYTES_RANGE)?,
            Setting::MaxServicesPerMesh => self.max_services_per_mesh = number(said, SERVICES_RANGE)?,
            Setting::WatchAllow => self.watch_allow = watch_allow(said)?,
            Setting::WatchMinIntervalMs => self.watch_min_interval_ms = number(said, WATCH_INTERVAL_RANGE)?,
            Setting::BehindProxy => self.behind_proxy = parsed(said, "takes true or false")?,
        }
        Ok(())
    }

    /// What no setting can tell alone.
    fn check(&self) -> Result<(), ConfigError> {
        if self.data_dir.as_os_str().is_empty() {
            let reason = "HOME is not set, so there is no default for it".to_owned();
            return Err(ConfigError::Needed { key: Setting::DataDir.name(), reason });
        }
        if !self.behind_proxy && !self.listen.ip().to_canonical().is_loopback() {
            return Err(ConfigError::Exposed(self.listen));
        }
        let remote = self.runner_urls.iter().find(|url| matches!(url, RunnerUrl::Ws { .. }));
        match (remote, &self.runner_token) {
            (Some(url), None) => Err(ConfigError::Needed {
                key: Setting::RunnerToken.name(),
                reason: format!("the runner at {url} has to know it too"),
            }),
            _ => Ok(()),
        }
    }
}

fn generate_token() -> SecretString {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    rand::rng().fill_bytes(bytes.as_mut());
    SecretString::new(hex::encode(bytes.as_ref()))
}

fn quoted(value: impl Display) -> String {
    // JSON text is TOML text too, and is escaped alike.
    serde_json::Value::String(value.to_string()).to_string()
}

/// `reason` says what is taken; it never repeats the value, which may be a secret in the wrong place.
fn invalid(said: &Said, reason: impl Into<String>) -> ConfigError {
    let (key, origin) = (said.key.name(), said.origin.clone());
    ConfigError::Invalid { key, origin, reason: reason.into() }
}

fn single(said: &Said) -> Result<&str, ConfigError> {
    match said.values.as_slice() {
        [value] => Ok(value),
        _ => Err(invalid(said, "takes one value, not a list")),
    }
}

fn parsed<T: FromStr>(said: &Said, takes: &str) -> Result<T, ConfigError> {
    single(said)?.parse().map_err(|_| invalid(said, takes))
}

fn number(said: &Said, (least, most): (u32, u32)) -> Result<u32, ConfigError> {
    let takes = format!("takes a number from {least} to {most}");
    match parsed(said, &takes)? {
        number if (least..=most).contains(&number) => Ok(number),
        _ => Err(invalid(said, takes)),
    }
}

fn listen(said: &Said, before: SocketAddr) -> Result<SocketAddr, ConfigError> {
    match said.origin {
        // The variable names a port alone; the address stays what a lower layer said.
        Origin::Environment(_) => Ok(SocketAddr::new(before.ip(), parsed(said, "takes a port, 0 to 65535")?)),
        _ => parsed(said, "takes an address and a port, such as 127.0.0.1:7900"),
    }
}

fn absolute(said: &Said) -> Result<PathBuf, ConfigError> {
    std::path::absolute(single(said)?).map_err(|error| invalid(said, error.to_string()))
}

fn database_url(said: &Said) -> Result<DatabaseUrl, ConfigError> {
    single(said)?.parse().map_err(|error: DatabaseUrlError| invalid(said, error.to_string()))
}

fn runner_urls(said: &Said) -> Result<Vec<RunnerUrl>, ConfigError> {
    if said.values.len() > MAX_RUNNERS {
        return Err(invalid(said, format!("takes at most {MAX_RUNNERS} runners")));
    }
    let mut urls: Vec<RunnerUrl> = Vec::with_capacity(said.values.len());
    for value in &said.values {
        let url = value.parse().map_err(|error: super::RunnerUrlError| invalid(said, format!("{value:?}: {error}")))?;
        if urls.contains(&url) {
            return Err(invalid(said, format!("names the runner {url} twice")));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn watch_allow(said: &Said) -> Result<Vec<Range>, ConfigError> {
    if said.values.len() > MAX_WATCH_RANGES {
        return Err(invalid(said, format!("takes at most {MAX_WATCH_RANGES} ranges of addresses")));
    }
    let range = |text: &String| text.parse().map_err(|error: RangeError| invalid(said, error.to_string()));
    said.values.iter().map(range).collect()
}

fn token(said: &Said) -> Result<SecretString, ConfigError> {
    let (least, most) = TOKEN_CHARS;
    let token = single(said)?;
    let fits = (least..=most).contains(&token.len());
    if fits && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(SecretString::from(token));
    }
    Err(invalid(said, format!("takes {least} to {most} visible ASCII characters, no spaces")))
}

fn encryption_key(said: &Said) -> Result<SecretString, ConfigError> {
    let key = single(said)?;
    if key.len() == ENCRYPTION_KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(SecretString::from(key));
    }
    Err(invalid(said, format!("takes exactly {ENCRYPTION_KEY_DIGITS} hexadecimal digits")))
}

#[cfg(test)]
mod tests;
