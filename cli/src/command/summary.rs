//! `summary`: says in a line what a session of yours is about.
//!
//! `--json`: `{"summary", "session"}`.

use clap::Args;
use protocol::wire::{Changed, Summary};
use serde_json::json;

use super::{Context, own_session};
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::error::CliError;

/// The words of `summary`.
#[derive(Debug, Args)]
pub(crate) struct SummaryArgs {
    /// The line; an empty one takes it back
    text: String,
    /// The session, by its id or key; without it CLAUDEMESH_SESSION_ID, or your only one
    #[arg(long, value_name = "S")]
    session: Option<String>,
}

/// Runs `summary`.
pub(crate) async fn run(context: &Context, args: SummaryArgs) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let session = own_session(&mut mesh, args.session).await?;
    let request = Changed { to: Summary { summary: args.text.clone() }, session: Some(session.clone()) };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    answer?;
    context.printer.confirm(&json!({ "summary": args.text, "session": session }), |_| "Others see it now.".to_owned())
}
