//! The words of the command line.

use clap::{Args, Parser, Subcommand};

use crate::command;
use crate::error::EXIT_CODES_HELP;

/// A mesh of coding-agent sessions: services that are deployed once and called from everywhere.
#[derive(Debug, Parser)]
#[command(
    name = "claudemesh",
    version,
    about,
    after_help = EXIT_CODES_HELP,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) json: bool,
    /// The mesh to work on; without it the only one, or the one called `default`
    #[arg(long, global = true, value_name = "SLUG", help_heading = "Everywhere")]
    pub(crate) mesh: Option<String>,
    /// Leave out progress, notes and confirmations
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub(crate) quiet: bool,
}

/// The commands, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a broker and a runner on this machine
    Up(command::up::UpArgs),
    /// Run a broker alone
    Broker(command::broker::BrokerArgs),
    /// Run a runner alone
    Runner(command::runner::RunnerArgs),
    /// Install and start a service
    Deploy(Box<command::deploy::DeployArgs>),
    /// Stop a service and take it out of the mesh
    Undeploy(command::undeploy::UndeployArgs),
    /// Replace a service by the newest that its source has
    Update(command::deploy::BringUpArgs),
    /// Bring an earlier deployment of a service back
    Rollback(command::rollback::RollbackArgs),
    /// End a service's processes and start them again
    Restart(command::deploy::BringUpArgs),
    /// Stop a service and keep it
    Stop(command::stop::StopArgs),
    /// Start a service that was stopped, failed or crashed
    Start(command::deploy::BringUpArgs),
    /// Show or change with whom a service is shared
    Scope(command::scope::ScopeArgs),
    /// List the services you may use
    Catalog(command::catalog::CatalogArgs),
    /// Show a service's tools and what they take
    Schema(command::schema::SchemaArgs),
    /// Call a tool
    Call(command::call::CallArgs),
    /// Show what a service wrote
    Logs(command::logs::LogsArgs),
    /// Show what happened to a service
    Events(command::events::EventsArgs),
    /// See, fetch and delete the files of the mesh
    File(command::file::FileArgs),
    /// Let the mesh call an MCP server that runs here
    Share(command::share::ShareArgs),
    /// Serve the mesh to a model's client: an MCP server on standard input and output
    Mcp(command::mcp::McpArgs),
    /// Make a mesh, and look at those you belong to
    Mesh(command::mesh::MeshArgs),
    /// Invite others into the mesh
    Invite(command::invite::InviteArgs),
    /// Join a mesh by a link
    Join(command::join::JoinArgs),
    /// Leave the mesh
    Leave(command::leave::LeaveArgs),
    /// See and change who belongs to the mesh
    Member(command::member::MemberArgs),
    /// See, join and restrict groups
    Group(command::group::GroupArgs),
    /// List the sessions that are here
    Peers(command::peers::PeersArgs),
    /// Send a message
    Send(command::send::SendArgs),
    /// Read the messages that were sent to you
    Inbox(command::inbox::InboxArgs),
    /// Say what your session is doing: idle, working or dnd
    Status(command::status::StatusArgs),
    /// Say what your session is about
    Summary(command::summary::SummaryArgs),
    /// Keep secrets that only you can open
    Vault(command::vault::VaultArgs),
    /// Watch URLs, and be told when they change
    Watch(Box<command::watch::WatchArgs>),
    /// Start a Claude Code session in a mesh
    Launch(Box<command::launch::LaunchArgs>),
    /// Make claudemesh known to the Claude Code client
    Install(command::install::InstallArgs),
    /// Take claudemesh out of the Claude Code client
    Uninstall(command::install::InstallArgs),
    /// Look at everything that can be wrong here
    Doctor(command::doctor::DoctorArgs),
    /// Tell the mesh what a session is doing; for the client to call
    #[command(hide = true)]
    Hook(command::hook::HookArgs),
    /// Show the supervision tree
    Tree(command::tree::TreeArgs),
    /// Say whether the broker, or one node of its tree, is well
    Health(command::health::HealthArgs),
    /// Print a completion script for a shell
    Completions(command::completions::CompletionsArgs),
    /// Print this program's version
    Version,
}
