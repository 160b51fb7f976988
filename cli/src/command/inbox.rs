//! `inbox`: the messages that were sent to you, each shown once.
//!
//! `--json`: one document a message, each on its line: `{"messageId", "from": {"pubkey", "name", "memberPubkey"}, "origin",
//! "reason"?, "target", "priority", "createdAt", "text"}`. `origin` is `verified`, `unverified`, `not_authenticated` (an old
//! client's clear text), `cannot_be_opened` (then `text` is null) or `system`.

use std::time::Duration;

use clap::Args;

use super::{Context, values};
use crate::client::Pushes;
use crate::error::CliError;
use crate::mail::{self, Reading};

/// The words of `inbox`.
#[derive(Debug, Args)]
pub(crate) struct InboxArgs {
    /// Wait until a message comes, if none is here
    #[arg(long, conflicts_with = "follow")]
    wait: bool,
    /// Show what comes until it is stopped
    #[arg(long)]
    follow: bool,
    /// How long to wait or follow
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    timeout: Option<Duration>,
}

/// Runs `inbox`.
pub(crate) async fn run(context: &Context, args: InboxArgs) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Kept).await?;
    let reading = Reading { wait: args.wait, follow: args.follow, timeout: args.timeout };
    let shown = match mail::resend(&mesh, context.printer).await {
        Ok(()) => mail::read(&mut mesh, context.printer, reading).await,
        Err(error) => Err(error),
    };
    mesh.close().await;
    match shown? {
        0 if args.wait => Err(CliError::timed_out("no message came in time")),
        0 if !args.follow => {
            context.printer.note("no messages");
            Ok(())
        }
        _ => Ok(()),
    }
}
