//! `broker`: a broker whose runners are elsewhere.

use broker::Options;
use broker::config::{Config, Overrides};
use broker::runners::RunnerConfig;
use broker::store::DirLock;
use broker::store::first_start::{self, DirState};

use super::{BUILD, environment, explained, log, private_dir, settings_file};
use crate::command::broker::BrokerArgs;
use crate::error::CliError;
use crate::output::Printer;

/// Runs until SIGINT or SIGTERM.
pub(crate) fn start(printer: Printer, args: &BrokerArgs) -> Result<(), CliError> {
    let overrides = Overrides {
        listen: args.listen.clone(),
        data_dir: args.data_dir.clone(),
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
    if env.get("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        return Err(CliError::usage("DATABASE_URL is not supported yet: this build has the embedded database only"));
    }
    log::start("info");
    private_dir(&config.data_dir)?;
    let lock = DirLock::acquire(&config.data_dir).map_err(|error| explained(&error))?;
    if first_start::inspect(&lock).map_err(|error| explained(&error))? == DirState::Empty {
        let made = actix_rt::System::new().block_on(first_start::create(&lock, None));
        made.map_err(|error| explained(&error))?;
    }
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
