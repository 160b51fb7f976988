//! `invite`: `create` makes a link, `list` shows what became of those made, `revoke` takes one back.
//!
//! The broker is told an invite's digest and terms, never the invite. The second form of the link holds the invite's own
//! key: it is printed once and kept nowhere.
//!
//! `--json`: `create` `{"inviteId", "link", "verifiedLink", "role", "uses", "expiresAt"}`; `list` `{"invites": [...]}`;
//! `revoke` `{"inviteId"}`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use protocol::trust::{Invite, InviteTerms, Role};
use protocol::wire::{InviteCreate, InviteEntry, InviteRevoke};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Context, values};
use crate::client::{ANSWER_TIMEOUT, ClientError, Pushes};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::output::{age, table};
use crate::text;
use crate::wire::mesh::InviteList;

/// The words of `invite`.
#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    #[command(subcommand)]
    command: InviteCommand,
}

#[derive(Debug, Subcommand)]
enum InviteCommand {
    /// Make a link to join by; needs the owner's key
    Create(CreateArgs),
    /// List the invites and what became of them
    List,
    /// Take an invite back
    Revoke {
        /// Its id, as the list shows it
        id: String,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What the joiner becomes
    #[arg(long, default_value = "member")]
    role: InviteRole,
    /// How many may join by it; an admin's invite is for one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    uses: u32,
    /// How long it can be joined by
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "1d")]
    expires: Duration,
    /// The broker's address as joiners reach it; without it as you do
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
}

/// A role that an invite can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InviteRole {
    /// Uses and deploys services
    Member,
    /// Also manages members, groups and services
    Admin,
}

/// Runs `invite`.
pub(crate) async fn run(context: &Context, args: InviteArgs) -> Result<(), CliError> {
    match args.command {
        InviteCommand::Create(args) => create(context, args).await,
        InviteCommand::List => list(context).await,
        InviteCommand::Revoke { id } => revoke(context, id).await,
    }
}

async fn create(context: &Context, args: CreateArgs) -> Result<(), CliError> {
    let role = match args.role {
        InviteRole::Member => Role::Member,
        InviteRole::Admin => Role::Admin,
    };
    if role == Role::Admin && args.uses > 1 {
        return Err(CliError::usage("an admin's invite is for one").hint("make one for each: without --uses"));
    }
    if let Some(url) = &args.broker {
        Endpoint::parse(url)?;
    }
    let mesh = context.mesh(Pushes::Dropped).await?;
    let trusted = mesh.trusted().await?;
    let owner = mesh.owner_key(&trusted)?;
    let expires_at = (age::now_ms() + values::milliseconds(args.expires)) / 1_000;
    let seed = Zeroizing::new(rand::random());
    let entry = &mesh.membership.mesh;
    let terms = InviteTerms {
        mesh_id: &entry.mesh_id,
        mesh_slug: &entry.slug,
        broker_url: args.broker.as_deref().unwrap_or(&entry.broker_url),
        expires_at,
        role,
    };
    let key = protocol::identity::SigningKey::from_seed(&seed);
    let invite = Invite::sign(&terms, key.public(), &owner).map_err(|error| CliError::failed(error.to_string()))?;
    let digest = Sha256::digest(invite.token().as_bytes());
    let request = InviteCreate {
        token_sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        role: role.as_str().to_owned(),
        uses: args.uses,
        expires_at,
    };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer =
        answer.map_err(|error| explained(error, "claudemesh invite revoke takes one back that is not used"))?;
    let verified = invite.link_with(&seed);
    let document = json!({
        "inviteId": answer.invite_id, "link": invite.link(), "verifiedLink": verified.expose(),
        "role": role, "uses": args.uses, "expiresAt": expires_at,
    });
    context.printer.result(&document, |style| {
        let lasts = age::duration(values::milliseconds(args.expires));
        format!(
            "{}\n{}\n\n{}\n{}",
            style.dim(&format!(
                "Whoever joins by this is a verified {role} ({} in {lasts}; shown once):",
                times(args.uses)
            )),
            verified.expose(),
            style.dim("The same without its key, for an old client; an admin has to vouch for who joins by it:"),
            invite.link(),
        )
    })
}

fn times(uses: u32) -> String {
    if uses == 1 { "one use".to_owned() } else { format!("{uses} uses") }
}

async fn list(context: &Context) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&InviteList {}, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer?;
    context.printer.result(&answer, |style| {
        if answer.invites.is_empty() {
            return "No invites.".to_owned();
        }
        let headings = ["id", "state", "role", "used", "expires", "by"];
        table::render(style, &headings, answer.invites.iter().map(row).collect())
    })
}

fn row(invite: &InviteEntry) -> Vec<String> {
    vec![
        text::line(&invite.invite_id),
        text::line(&invite.state),
        text::line(&invite.role),
        format!("{} of {}", invite.used, invite.uses),
        text::line(&invite.expires_at),
        text::line(&invite.created_by),
    ]
}

/// What to do about a limit, or an id that is none; the broker's codes know of services only.
fn explained(error: ClientError, hint: &str) -> CliError {
    let concerns_invites =
        matches!(&error, ClientError::Refused { code, .. } if code == "limit" || code == "not_found");
    let error = CliError::from(error);
    if concerns_invites { error.hint(hint) } else { error }
}

async fn revoke(context: &Context, id: String) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&InviteRevoke { invite_id: id }, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer.map_err(|error| explained(error, "claudemesh invite list shows their ids"))?;
    context.printer.confirm(&answer, |_| "Nobody can join by this invite any more.".to_owned())
}
