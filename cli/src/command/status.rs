//! `status`: says what a session of yours is doing, which decides when it is shown messages.
//!
//! `--json`: `{"status", "session"}`.

use clap::{Args, ValueEnum};
use protocol::wire::{Changed, PeerStatus, Status};
use serde_json::json;

use super::{Context, own_session};
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::error::CliError;

/// The words of `status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// What it is doing
    status: StatusWord,
    /// The session, by its id or key; without it CLAUDEMESH_SESSION_ID, or your only one
    #[arg(long, value_name = "S")]
    session: Option<String>,
}

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusWord {
    /// Takes everything
    Idle,
    /// Takes what is urgent; becomes idle by itself after a while
    Working,
    /// Takes what is urgent, until it says otherwise
    Dnd,
}

/// Runs `status`.
pub(crate) async fn run(context: &Context, args: StatusArgs) -> Result<(), CliError> {
    let status = match args.status {
        StatusWord::Idle => PeerStatus::Idle,
        StatusWord::Working => PeerStatus::Working,
        StatusWord::Dnd => PeerStatus::Dnd,
    };
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let session = own_session(&mut mesh, args.session).await?;
    let request = Changed { to: Status { status }, session: Some(session.clone()) };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    answer?;
    context.printer.confirm(&json!({ "status": status, "session": session }), |_| format!("Your session is {status}."))
}
