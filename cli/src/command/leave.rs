//! `leave`: ends one's own membership, with a statement that one signs oneself, and forgets the mesh here.
//!
//! `--json`: `{"meshId", "slug", "stopped": [...]}`.

use clap::Args;
use protocol::trust::Removal;
use protocol::wire::MemberRemove;
use serde_json::json;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::error::CliError;
use crate::profile::{Pin, Profile};
use crate::text;

/// The words of `leave`.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Only forget the mesh on this machine, and tell nobody
    #[arg(long)]
    forget: bool,
}

/// Runs `leave`.
pub(crate) async fn run(context: &Context, args: LeaveArgs) -> Result<(), CliError> {
    let profile = Profile::from_environment()?;
    let entry = profile.membership(context.mesh.as_deref())?.mesh;
    let stopped = if args.forget {
        Vec::new()
    } else {
        let mut mesh = context.mesh(Pushes::Dropped).await.map_err(|error| match error.code.as_deref() {
            Some("unauthorized") => error.hint("you are no member any more: claudemesh leave --forget"),
            _ => error,
        })?;
        let stopped = tell(&mut mesh).await;
        mesh.close().await;
        stopped?
    };
    profile.forget(&entry)?;
    let document = json!({ "meshId": entry.mesh_id, "slug": entry.slug, "stopped": stopped });
    context.printer.confirm(&document, |_| {
        let services: Vec<_> = stopped.iter().map(|name| text::line(name)).collect();
        match services.is_empty() {
            true => format!("You have left the mesh `{}`.", entry.slug),
            false => format!("You have left the mesh `{}`. Stopped: {}.", entry.slug, services.join(", ")),
        }
    })
}

async fn tell(mesh: &mut Mesh) -> Result<Vec<String>, CliError> {
    let trusted = mesh.trusted().await?;
    let me = mesh.member.public();
    let told = super::member::told_serial(&trusted, me);
    let serial = mesh.file.read()?.next_serial(&Pin::Member(me), told);
    let removal =
        Removal::sign(mesh.id(), me, serial, &mesh.member).map_err(|error| CliError::failed(error.to_string()))?;
    let request = MemberRemove { member_id: mesh.membership.mesh.member_id.clone(), removal };
    Ok(mesh.client.request(&request, ANSWER_TIMEOUT).await?.stopped)
}
