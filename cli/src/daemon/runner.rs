//! `runner`: a process of its own, on this machine or another.

use std::path::{Path, PathBuf};

use broker::config::read_secret_file;
use protocol::SecretString;
use runner::config::DEFAULT_ORPHAN_TIMEOUT;
use runner::prepare::SourceSettings;
use runner::{Listen, RunnerConfig};

use super::{BUILD, OWN_PROGRAM, explained, log};
use crate::command::runner::RunnerArgs;
use crate::error::CliError;
use crate::profile;

/// Where a runner listens unless told otherwise; `RUNNER_PORT` changes the port.
const DEFAULT_LISTEN: &str = "127.0.0.1:7901";

/// Runs until SIGINT or SIGTERM, or until a broker asks it to end.
pub(crate) fn start(args: &RunnerArgs) -> Result<(), CliError> {
    let config = configured(args)?;
    if args.detach {
        // A session of its own: what ends the terminal, or the broker, does not end the services.
        nix::unistd::setsid().map_err(|errno| CliError::failed(format!("cannot begin a session: {errno}")))?;
    }
    log::start("info");
    runner::run(config).map_err(|error| explained(&error))
}

fn configured(args: &RunnerArgs) -> Result<RunnerConfig, CliError> {
    Ok(RunnerConfig {
        name: args.name.clone().unwrap_or_else(|| "runner".to_owned()),
        listen: listen(args.listen.as_deref())?,
        token: token(args.token_file.as_deref())?,
        data_dir: data_dir(args.data_dir.as_deref())?,
        hidden: args.hide.clone(),
        isolation_maximum: args.isolation_maximum.map(Into::into),
        exe: OWN_PROGRAM.into(),
        orphan_timeout: args.orphan_timeout.unwrap_or(DEFAULT_ORPHAN_TIMEOUT),
        env: std::env::vars_os().collect(),
        sources: sources(args),
        build: BUILD.to_owned(),
    })
}

fn sources(args: &RunnerArgs) -> SourceSettings {
    let defaults = SourceSettings::default();
    SourceSettings {
        git_protocols: args.git_protocols.clone().unwrap_or(defaults.git_protocols),
        cache_bytes: args.cache_limit.unwrap_or(defaults.cache_bytes),
        ..defaults
    }
}

fn listen(said: Option<&str>) -> Result<Listen, CliError> {
    if let Some(path) = said.and_then(|said| said.strip_prefix("unix:")) {
        return Ok(Listen::Unix(PathBuf::from(path)));
    }
    let text = match (said, std::env::var("RUNNER_PORT")) {
        (Some(said), _) => said.to_owned(),
        (None, Ok(port)) if !port.is_empty() => format!("127.0.0.1:{port}"),
        (None, _) => DEFAULT_LISTEN.to_owned(),
    };
    let wrong = |_| CliError::usage(format!("--listen: `{text}` is neither address:port nor unix:/path"));
    text.parse().map(Listen::Tcp).map_err(wrong)
}

fn token(file: Option<&Path>) -> Result<SecretString, CliError> {
    let missing =
        || CliError::usage("a runner needs the token that it shares with its broker: RUNNER_TOKEN or --token-file");
    match file {
        Some(path) => read_secret_file(path).map_err(|error| explained(&error))?.ok_or_else(missing),
        None => std::env::var("RUNNER_TOKEN")
            .ok()
            .filter(|token| !token.is_empty())
            .map(SecretString::from)
            .ok_or_else(missing),
    }
}

/// Where a runner lives unless told otherwise: where `up` has its own.
pub(crate) fn data_dir(said: Option<&Path>) -> Result<PathBuf, CliError> {
    match said {
        Some(dir) => std::path::absolute(dir).map_err(|error| CliError::usage(format!("--data-dir: {error}"))),
        None => Ok(profile::home()?.join(".local/share/claudemesh/runner")),
    }
}
