//! `group`: who belongs to a group. An open one is joined by whoever says so; a restricted one has a signed list.
//!
//! `--json`: `members` `{"name", "open", "members": [...]}`; `restrict` and `open` `{"name", "members"?}`; `join` and
//! `leave` `{"name", "session"}`.

use clap::{Args, Subcommand};
use protocol::identity::PublicKey;
use protocol::trust::{GroupList, GroupStanding};
use protocol::wire::{Changed, Group, GroupName, GroupSet};
use serde_json::json;

use super::{Context, member, own_session};
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes, Trusted};
use crate::error::CliError;
use crate::mail::{find_member, label};
use crate::profile::Pin;
use crate::text;
use crate::wire::mesh::JoinGroup;

/// The words of `group`.
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Let only these members into a group
    Restrict {
        /// The group
        #[arg(value_parser = group_name)]
        name: String,
        /// Names or keys of members
        #[arg(long, value_name = "A,B", value_delimiter = ',', required = true)]
        members: Vec<String>,
    },
    /// Let everybody into a group again
    Open {
        /// The group
        #[arg(value_parser = group_name)]
        name: String,
    },
    /// Show who belongs to a group
    Members {
        /// The group
        #[arg(value_parser = group_name)]
        name: String,
    },
    /// Take your session into a group
    Join {
        /// The group
        #[arg(value_parser = group_name)]
        name: String,
        /// What it is in the group: free text
        #[arg(long)]
        role: Option<String>,
        /// The session, by its id or key
        #[arg(long, value_name = "S")]
        session: Option<String>,
    },
    /// Take your session out of a group
    Leave {
        /// The group
        #[arg(value_parser = group_name)]
        name: String,
        /// The session, by its id or key
        #[arg(long, value_name = "S")]
        session: Option<String>,
    },
}

/// A group's name; the `@` of a target may stand before it.
fn group_name(name: &str) -> Result<String, String> {
    let name = name.strip_prefix('@').unwrap_or(name);
    match name {
        "" => Err("a group's name is expected".to_owned()),
        "all" => Err("@all is everybody, and no group".to_owned()),
        _ if name.contains('|') => Err("a group's name has no |".to_owned()),
        _ => Ok(name.to_owned()),
    }
}

/// Runs `group`.
pub(crate) async fn run(context: &Context, args: GroupArgs) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let done = match args.command {
        GroupCommand::Restrict { name, members } => {
            let trusted = mesh.trusted().await?;
            let keys = members.iter().map(|word| find_member(word.trim(), &trusted).map(|entry| entry.pubkey));
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            declare(context, &mut mesh, &trusted, &name, Some(&keys)).await
        }
        GroupCommand::Open { name } => {
            let trusted = mesh.trusted().await?;
            declare(context, &mut mesh, &trusted, &name, None).await
        }
        GroupCommand::Members { name } => members(context, &mesh.trusted().await?, &name),
        GroupCommand::Join { name, role, session } => join(context, &mut mesh, name, role, session).await,
        GroupCommand::Leave { name, session } => leave(context, &mut mesh, name, session).await,
    };
    mesh.close().await;
    done
}

async fn declare(
    context: &Context,
    mesh: &mut Mesh,
    trusted: &Trusted,
    name: &str,
    members: Option<&[PublicKey]>,
) -> Result<(), CliError> {
    // Lists that do not count have serials too, and the broker compares with all.
    let told = trusted.list.groups.iter().filter(|list| list.name == name).map(|list| list.serial).max().unwrap_or(0);
    let serial = mesh.file.read()?.next_serial(&Pin::Group(name.to_owned()), told);
    let list = GroupList::sign(mesh.id(), name, serial, members, &mesh.issuer()?)
        .map_err(|error| CliError::failed(error.to_string()))?;
    trusted.roll.check_group(&list).map_err(|_| member::not_allowed("say who belongs to a group"))?;
    let document = json!({ "name": name, "members": list.members });
    mesh.client.request(&GroupSet { list }, ANSWER_TIMEOUT).await?;
    let shown = text::line(name);
    context.printer.confirm(&document, |_| match members {
        Some(members) => format!("@{shown} is for {} now.", names(members, trusted).join(", ")),
        None => format!("@{shown} is open to everybody now."),
    })
}

fn names(members: &[PublicKey], trusted: &Trusted) -> Vec<String> {
    members.iter().map(|key| label(&trusted.name(key).unwrap_or_default(), key)).collect()
}

fn members(context: &Context, trusted: &Trusted, name: &str) -> Result<(), CliError> {
    let shown = text::line(name);
    match trusted.group(name) {
        Some(GroupStanding::Open { .. }) => context.printer.result(&json!({ "name": name, "open": true }), |_| {
            format!("@{shown} is open to everybody: claudemesh peers shows who is in it.")
        }),
        Some(GroupStanding::Restricted { members, .. }) => {
            context.printer.result(&json!({ "name": name, "open": false, "members": members }), |_| {
                names(&members, trusted).join("\n")
            })
        }
        Some(GroupStanding::Unverified(doubt)) => {
            Err(CliError::failed(format!("the list of @{shown} does not hold: {doubt}"))
                .hint("an admin can sign a new one: claudemesh group restrict"))
        }
        None => Err(CliError::failed(format!("the list of @{shown} is older than one you have seen"))),
    }
}

async fn join(
    context: &Context,
    mesh: &mut Mesh,
    name: String,
    role: Option<String>,
    session: Option<String>,
) -> Result<(), CliError> {
    let session = own_session(mesh, session).await?;
    let to = Group { name: name.clone(), role };
    mesh.client.request(&JoinGroup(Changed { to, session: Some(session.clone()) }), ANSWER_TIMEOUT).await?;
    let shown = text::line(&name);
    context.printer.confirm(&json!({ "name": name, "session": session }), |_| format!("Your session is in @{shown}."))
}

async fn leave(context: &Context, mesh: &mut Mesh, name: String, session: Option<String>) -> Result<(), CliError> {
    let session = own_session(mesh, session).await?;
    let request = Changed { to: GroupName { name: name.clone() }, session: Some(session.clone()) };
    mesh.client.request(&request, ANSWER_TIMEOUT).await?;
    let shown = text::line(&name);
    context
        .printer
        .confirm(&json!({ "name": name, "session": session }), |_| format!("Your session is out of @{shown}."))
}
