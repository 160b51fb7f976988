//! One file per command: its words, what it does, what it prints.

pub(crate) mod broker;
pub(crate) mod call;
pub(crate) mod catalog;
pub(crate) mod completions;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod file;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod hook;
pub(crate) mod inbox;
pub(crate) mod install;
pub(crate) mod invite;
pub(crate) mod join;
pub(crate) mod launch;
pub(crate) mod leave;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod member;
pub(crate) mod mesh;
pub(crate) mod peers;
pub(crate) mod restart;
pub(crate) mod rollback;
pub(crate) mod runner;
pub(crate) mod schema;
pub(crate) mod scope;
pub(crate) mod send;
pub(crate) mod share;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod summary;
pub(crate) mod tree;
pub(crate) mod undeploy;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod values;
pub(crate) mod vault;
pub(crate) mod version;
pub(crate) mod watch;

use std::path::Path;

use protocol::wire::Peer;

use crate::args::{Cli, Command};
use crate::client::{ANSWER_TIMEOUT, Client, Mesh, Pushes};
use crate::endpoint::{DEFAULT_BROKER_URL, Endpoint};
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::Printer;
use crate::profile::Profile;
use crate::text;
use crate::wire::mesh::ListPeers;

/// What every command is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where results and remarks go.
    pub(crate) printer: Printer,
    /// `--mesh`.
    pub(crate) mesh: Option<String>,
}

impl Context {
    /// A connection to the mesh's broker.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        Ok(self.mesh(Pushes::Dropped).await?.client)
    }

    /// The same, with all that a member needs to send, read and manage.
    pub(crate) async fn mesh(&self, mode: Pushes) -> Result<Mesh, CliError> {
        let profile = Profile::from_environment()?;
        let membership = profile.membership(self.mesh.as_deref())?;
        if profile.is_open_to_others() {
            self.printer.warning(&format!(
                "{path} holds your keys and others can read it: chmod 600 {path}",
                path = profile.path().display()
            ));
        }
        Mesh::connect(profile, membership, self.printer, mode).await
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

/// Which of the member's sessions a command speaks for: the one that was named, the one that the command runs in, or the
/// only one that is here.
async fn own_session(mesh: &mut Mesh, named: Option<String>) -> Result<String, CliError> {
    let around = || std::env::var("CLAUDEMESH_SESSION_ID").ok().filter(|id| !id.is_empty());
    if let Some(session) = named.or_else(around) {
        return Ok(session);
    }
    let peers = mesh.client.request(&ListPeers {}, ANSWER_TIMEOUT).await?.peers;
    let ours = |peer: &&Peer| peer.member_pubkey == Some(mesh.member.public()) && peer.online != Some(false);
    let live: Vec<_> = peers.iter().filter(ours).collect();
    match live.as_slice() {
        [only] => Ok(only.pubkey.to_string()),
        [] => Err(CliError::failed("you have no session here").hint("name one of yours: --session ID")),
        several => {
            let listed = several.iter().map(|peer| {
                let (id, cwd) = (text::line(&peer.session_id), peer.cwd.as_deref().map(text::line).unwrap_or_default());
                format!("{id} ({cwd})")
            });
            Err(CliError::usage("you have several sessions here")
                .hint(format!("say which with --session: {}", listed.collect::<Vec<_>>().join(", "))))
        }
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
        Command::Runner(args) => runner::run(&context, &args),
        Command::Deploy(args) => block_on(deploy::run(&context, *args)),
        Command::Undeploy(args) => block_on(undeploy::run(&context, args)),
        Command::Update(args) => block_on(update::run(&context, args)),
        Command::Rollback(args) => block_on(rollback::run(&context, args)),
        Command::Restart(args) => block_on(restart::run(&context, args)),
        Command::Stop(args) => block_on(stop::run(&context, args)),
        Command::Start(args) => block_on(start::run(&context, args)),
        Command::Scope(args) => block_on(scope::run(&context, args)),
        Command::Catalog(args) => block_on(catalog::run(&context, args)),
        Command::Schema(args) => block_on(schema::run(&context, args)),
        Command::Call(args) => block_on(call::run(&context, args)),
        Command::Logs(args) => block_on(logs::run(&context, args)),
        Command::Events(args) => block_on(events::run(&context, args)),
        Command::File(args) => block_on(file::run(&context, args)),
        Command::Share(args) => block_on(share::run(&context, args)),
        Command::Mcp(args) => mcp::run(&context, args),
        Command::Mesh(args) => block_on(mesh::run(&context, args)),
        Command::Invite(args) => block_on(invite::run(&context, args)),
        Command::Join(args) => block_on(join::run(&context, args)),
        Command::Leave(args) => block_on(leave::run(&context, args)),
        Command::Member(args) => block_on(member::run(&context, args)),
        Command::Group(args) => block_on(group::run(&context, args)),
        Command::Peers(args) => block_on(peers::run(&context, args)),
        Command::Send(args) => block_on(send::run(&context, args)),
        Command::Inbox(args) => block_on(inbox::run(&context, args)),
        Command::Status(args) => block_on(status::run(&context, args)),
        Command::Summary(args) => block_on(summary::run(&context, args)),
        Command::Launch(args) => launch::run(&context, *args),
        Command::Install(args) => install::run(&context, &args),
        Command::Uninstall(args) => install::uninstall(&context, &args),
        Command::Doctor(args) => block_on(doctor::run(&context, args)),
        Command::Hook(args) => {
            hook::run(&context, &args);
            Ok(())
        }
        Command::Watch(args) => block_on(watch::run(&context, *args)),
        Command::Vault(args) => block_on(vault::run(&context, args)),
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
