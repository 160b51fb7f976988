//! One file per command: its words, what it does, what it prints.

pub(crate) mod broker;
pub(crate) mod call;
pub(crate) mod catalog;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod health;
pub(crate) mod logs;
pub(crate) mod runner;
pub(crate) mod schema;
pub(crate) mod tree;
pub(crate) mod undeploy;
pub(crate) mod up;
pub(crate) mod values;
pub(crate) mod version;

use std::path::Path;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::endpoint::{DEFAULT_BROKER_URL, Endpoint};
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::Printer;
use crate::profile::Profile;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where results and remarks go.
    pub(crate) printer: Printer,
    mesh: Option<String>,
}

impl Context {
    /// A connection to the mesh's broker.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        let profile = Profile::from_environment()?;
        let membership = profile.membership(self.mesh.as_deref())?;
        if profile.is_open_to_others() {
            self.printer.warning(&format!(
                "{path} holds your keys and others can read it: chmod 600 {path}",
                path = profile.path().display()
            ));
        }
        Client::connect(&membership).await
    }

    /// The operator's view of the mesh's broker; without a mesh, of the broker that `claudemesh up` starts here.
    pub(crate) fn operator(&self, data_dir: Option<&Path>) -> Result<Operator, CliError> {
        let profile = Profile::from_environment()?;
        let knows_nothing = self.mesh.is_none() && !profile.path().exists();
        let url = if knows_nothing {
            DEFAULT_BROKER_URL.to_owned()
        } else {
            profile.membership(self.mesh.as_deref())?.mesh.broker_url
        };
        Operator::new(Endpoint::parse(&url)?, data_dir)
    }
}

/// A service's name, checked before anybody is asked.
fn service_name(name: &str) -> Result<String, String> {
    protocol::validate::service_name(name).map(|()| name.to_owned()).map_err(|rule| rule.to_string())
}

/// Runs the command to its end.
pub(crate) fn run(cli: Cli, printer: Printer) -> Result<(), CliError> {
    let context = Context { printer, mesh: cli.global.mesh };
    match cli.command {
        Command::Up(args) => up::run(&context, &args),
        Command::Broker(args) => broker::run(&context, &args),
        Command::Runner(args) => runner::run(&args),
        Command::Deploy(args) => block_on(deploy::run(&context, *args)),
        Command::Undeploy(args) => block_on(undeploy::run(&context, args)),
        Command::Catalog(args) => block_on(catalog::run(&context, args)),
        Command::Schema(args) => block_on(schema::run(&context, args)),
        Command::Call(args) => block_on(call::run(&context, args)),
        Command::Logs(args) => block_on(logs::run(&context, args)),
        Command::Tree(args) => block_on(tree::run(&context, args)),
        Command::Health(args) => block_on(health::run(&context, args)),
        Command::Completions(args) => {
            completions::run(&context, &args);
            Ok(())
        }
        Command::Version => version::run(&context),
    }
}

/// The person's commands wait more than they work: one thread is enough. `up`, `broker` and `runner` bring their own
/// runtimes.
fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::failed(format!("cannot start: {error}")))?
        .block_on(command)
}
