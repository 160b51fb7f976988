//! `broker`: a broker whose runners are elsewhere.

use std::path::Path;

use broker::config::{Config, Overrides, read_secret_file};
use broker::runners::RunnerConfig;
use broker::store::first_start::{self, DirState};
use broker::store::{DirLock, OpenError, Store};
use broker::{Options, vault};
use serde_json::json;

use super::{BUILD, environment, explained, log, private_dir, settings_file};
use crate::command::broker::BrokerArgs;
use crate::error::CliError;
use crate::output::Printer;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn start(printer: Printer, args: &BrokerArgs) -> Result<(), CliError> {
    let mut config = configuration(args)?;
    if args.print_config {
        printer.raw(config.print().as_bytes());
        return Ok(());
    }
    log::start("info");
    private_dir(&config.data_dir)?;
    let lock = DirLock::acquire(&config.data_dir).map_err(|error| explained(&error))?;
    let made = actix_rt::System::new().block_on(async {
        let url = config.database_url.as_ref();
        match first_start::inspect(&lock, url).await? {
            DirState::Database => Ok(()),
            DirState::Empty => first_start::create(&lock, url, None).await.map(drop),
        }
    });
    made.map_err(|error: OpenError| explained(&error))?;
    config.fill_embedded_secrets().map_err(|error| explained(&error))?;
    let token = config.runner_token.clone().ok_or_else(|| CliError::usage("RUNNER_TOKEN is not set"))?;
    let named = |(index, address): (usize, &broker::config::RunnerUrl)| RunnerConfig {
        name: format!("runner-{}", index + 1),
        address: address.clone(),
        token: token.clone(),
        program: None,
    };
    let runners = config.runner_urls.iter().enumerate().map(named).collect();
    let options =
        Options { lock, runners, take_runner_along: None, build: BUILD.to_owned(), on_ready: Box::new(|_| {}), config };
    broker::run(options).map_err(|error| explained(&error))
}

fn configuration(args: &BrokerArgs) -> Result<Config, CliError> {
    let overrides = Overrides {
        listen: args.listen.clone(),
        data_dir: args.data_dir.clone(),
        database_url: args.database_url.clone(),
        runner_urls: args.runner_urls.clone(),
        behind_proxy: args.behind_proxy,
    };
    let env = environment();
    let usage = |error: &dyn std::error::Error| CliError::usage(explained(error).to_string());
    let data_dir = Config::load(&overrides, &env, None).map_err(|error| usage(&error))?.data_dir;
    let file = settings_file(args.config.as_deref(), &data_dir);
    Config::load(&overrides, &env, file.as_deref()).map_err(|error| usage(&error))
}

/// Seals everything under another at-rest key. The directory's lock, and with PostgreSQL the lease, say that no broker runs.
pub(crate) fn rotate_key(printer: Printer, args: &BrokerArgs, next_key_file: Option<&Path>) -> Result<(), CliError> {
    let config = configuration(args)?;
    let next = match next_key_file {
        None => None,
        Some(path) => Some(
            read_secret_file(path)
                .map_err(|error| explained(&error))?
                .ok_or_else(|| CliError::usage(format!("there is no {}", path.display())))?,
        ),
    };
    let lock = DirLock::acquire(&config.data_dir).map_err(|error| explained(&error))?;
    let url = config.database_url.as_ref();
    let rotated = actix_rt::System::new().block_on(async {
        let store = Store::open(&lock, url).await.map_err(|error| explained(&error))?;
        let rotated = vault::rotate(config.encryption_key.as_ref(), next.as_ref(), lock.dir(), &store).await;
        store.close().await.map_err(|error| explained(&error))?;
        rotated.map_err(|error| explained(&error))
    })?;
    let document = json!({ "values": rotated.values, "keyVersion": rotated.key_version });
    printer.result(&document, |_| {
        let configured = if config.encryption_key.is_some() {
            "\nStart the broker with the new BROKER_ENCRYPTION_KEY from now on."
        } else {
            ""
        };
        format!(
            "{} values are sealed under key {} now. A copy of the database from before needs the key from before.{configured}",
            rotated.values, rotated.key_version
        )
    })
}
