//! `join`: becomes a member of a mesh by a link, with a key that is made here.
//!
//! `--json`: `{"meshId", "slug", "memberId", "brokerUrl", "verified", …}`.

use clap::Args;
use protocol::config::MeshEntry;
use protocol::trust::{Invite, InviteError, InviteLink, MemberCert};
use serde_json::json;

use super::{Context, mesh};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::age;
use crate::profile::Profile;
use crate::text;

/// The words of `join`.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// The link, or the token alone
    link: String,
    /// The name that others see; without it the one in config.json, or your login
    #[arg(long)]
    name: Option<String>,
}

/// Runs `join`.
pub(crate) async fn run(context: &Context, args: JoinArgs) -> Result<(), CliError> {
    let Joined { entry, name, verified } = by_link(&args.link, args.name).await?;
    let mut document = mesh::document(&entry);
    if let Some(fields) = document.as_object_mut() {
        fields.insert("verified".to_owned(), json!(verified));
    }
    context.printer.confirm(&document, |_| {
        let slug = text::line(&entry.slug);
        if verified {
            format!("You belong to the mesh `{slug}` as {name}.")
        } else {
            format!("You belong to the mesh `{slug}` as {name}. Others see you as unverified until an admin vouches for you.")
        }
    })
}

/// A mesh that was joined.
pub(super) struct Joined {
    /// As it is in `config.json` now.
    pub(super) entry: MeshEntry,
    /// The member's name.
    name: String,
    /// Whether the link vouches for the member.
    verified: bool,
}

/// Joins by a link.
pub(super) async fn by_link(link: &str, name: Option<String>) -> Result<Joined, CliError> {
    let InviteLink { invite, token, key } = Invite::from_link(link).map_err(|error| refused(&error))?;
    invite.verify(age::now_ms()).map_err(|error| refused(&error.into()))?;
    let profile = Profile::from_environment()?;
    let (meshes, display) = profile.meshes()?;
    if let Some(known) = meshes.iter().find(|known| known.mesh_id == invite.mesh_id) {
        return Err(CliError::failed(format!("you belong to the mesh `{}` already", known.slug)));
    }
    mesh::slug_is_free(&meshes, &invite.mesh_slug, &invite.mesh_id)?;
    let name = mesh::display_name(name.or(display))?;
    let member = mesh::new_member_key();
    let certificate = key
        .map(|key| MemberCert::by_invite(invite.clone(), &invite.mesh_id, member.public(), &key))
        .transpose()
        .map_err(|error| refused(&error.into()))?;
    let verified = certificate.is_some();
    let mut request = json!({
        "invite_token": token, "invite_payload": invite, "peer_pubkey": member.public(), "display_name": name,
    });
    if let (Some(certificate), Some(fields)) = (certificate, request.as_object_mut()) {
        fields.insert("certificate".to_owned(), json!(certificate));
    }
    let broker = Operator::stranger(Endpoint::parse(&invite.broker_url)?)?;
    let answer = broker.post("join", &request).await.map_err(explained)?;
    let entry = MeshEntry {
        member_id: mesh::member_id(&answer)?,
        mesh_id: invite.mesh_id,
        name: invite.mesh_slug.clone(),
        slug: invite.mesh_slug,
        pubkey: member.public().to_string(),
        secret_key: member.to_hex(),
        broker_url: invite.broker_url,
        joined_at: jiff::Timestamp::now().to_string(),
        owner_pubkey: Some(invite.owner_pubkey),
        extra: serde_json::Map::new(),
    };
    profile.remember(&entry)?;
    Ok(Joined { entry, name, verified })
}

fn refused(error: &InviteError) -> CliError {
    let hint = match error {
        InviteError::Form | InviteError::Key => "copy the whole link, as it was printed",
        InviteError::Version(_) => "update this program",
        InviteError::Trust(protocol::identity::TrustError::Expired { .. }) => "ask for another invite",
        InviteError::Trust(_) => "it was changed on its way: ask for another, on a safer way",
    };
    CliError::usage(error.to_string()).hint(hint)
}

/// What the broker says about an invite, with what to do.
fn explained(error: CliError) -> CliError {
    if error.hint.is_none() { error.hint("ask whoever invited you for another invite") } else { error }
}
