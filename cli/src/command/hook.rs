//! `hook`: the client says that a session works or has stopped working, and the mesh is told.
//!
//! Contract: it never stands in the session's way. Whatever goes wrong, it says nothing, which the client would show to
//! the model, takes a short while at most, and ends with 0.

use std::io::Read as _;
use std::time::Duration;

use clap::{Args, ValueEnum};
use protocol::wire::{Changed, PeerStatus, Status};
use serde::Deserialize;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::error::CliError;
use crate::profile::Profile;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(3);
/// How much of the client's words is read.
const MAX_INPUT: u64 = 1024 * 1024;

/// The words of `hook`.
#[derive(Debug, Args)]
pub(crate) struct HookArgs {
    /// What the session is doing
    status: HookStatus,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HookStatus {
    /// It has an answer ready
    Idle,
    /// It was asked something
    Working,
}

/// What the client says, as far as it matters.
#[derive(Deserialize)]
struct Input {
    session_id: Option<String>,
}

/// Runs `hook`. Its runtime is its own: one that waits for its input at the end might wait for long.
pub(crate) fn run(context: &Context, args: &HookArgs) {
    let status = match args.status {
        HookStatus::Idle => PeerStatus::Idle,
        HookStatus::Working => PeerStatus::Working,
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    let told = runtime.block_on(async { tokio::time::timeout(LIMIT, tell(context, status)).await });
    if let Ok(Err(error)) = told {
        tracing::debug!(why = error.message, "the mesh was not told");
    }
    runtime.shutdown_background();
}

async fn tell(context: &Context, status: PeerStatus) -> Result<(), CliError> {
    let input = tokio::task::spawn_blocking(input).await.ok().flatten();
    // A session that was launched has its id in the mesh from there.
    let launched = std::env::var("CLAUDEMESH_SESSION_ID").ok().filter(|id| !id.is_empty());
    let Some(session) = launched.or(input.and_then(|input| input.session_id)) else { return Ok(()) };
    let profile = Profile::from_environment()?;
    if !profile.path().exists() {
        return Ok(());
    }
    let membership = profile.membership(context.mesh.as_deref())?;
    let mesh = Mesh::connect(profile, membership, context.printer, Pushes::Dropped).await?;
    let request = Changed { to: Status { status }, session: Some(session) };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    answer?;
    Ok(())
}

fn input() -> Option<Input> {
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
