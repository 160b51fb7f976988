//! `broker`: a broker whose runners are elsewhere.

use broker::Options;
use broker::config::{Config, Overrides};
use broker::runners::RunnerConfig;
use broker::store::first_start::{self, DirState};
use broker::store::{DirLock, OpenError};

use super::{BUILD, environment, explained, log, private_dir, settings_file};
use crate::command::broker::BrokerArgs;
use crate::error::CliError;
use crate::output::Printer;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn start(printer: Printer, args: &BrokerArgs) -> Result<(), CliError> {
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
    let mut config = Config::load(&overrides, &env, file.as_deref()).map_err(|error| usage(&error))?;
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
