//! `send`: a message to a session, a member, a group or everybody.
//!
//! `--json`: `{"id", "messageId", "target", "to", "recipients", "verified", "skipped": [...]}`.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use protocol::wire::Priority;
use serde_json::json;

use super::Context;
use crate::client::Pushes;
use crate::error::CliError;
use crate::mail::{self, Order, Sent, label};

/// The longest text that is sent: sealed and in base64 it stays below what a broker takes in one frame.
const MAX_TEXT_BYTES: u64 = 512 * 1024;

/// The name of a file that stands for stdin.
const STDIN: &str = "-";

/// The words of `send`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["text", "file"])))]
pub(crate) struct SendArgs {
    /// A name, a name with its key as `peers` shows it, a key, @group, or * for everybody
    target: String,
    /// What to say
    text: Option<String>,
    /// The file that has the text; - for stdin
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,
    /// When the recipient is shown it: at once, when idle, or behind the others
    #[arg(long, default_value = "next")]
    priority: PriorityWord,
    /// Send nothing when somebody would read it for whom nobody vouches
    #[arg(long)]
    strict: bool,
}

/// A priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PriorityWord {
    /// Whatever the recipient does
    Now,
    /// When the recipient is idle
    Next,
    /// The same, behind the others
    Low,
}

/// Runs `send`.
pub(crate) async fn run(context: &Context, args: SendArgs) -> Result<(), CliError> {
    let text = match (args.text, args.file) {
        (Some(text), _) => text,
        (None, Some(path)) => read(&path)?,
        (None, None) => return Err(CliError::usage("there is nothing to send")),
    };
    check(&text)?;
    let priority = match args.priority {
        PriorityWord::Now => Priority::Now,
        PriorityWord::Next => Priority::Next,
        PriorityWord::Low => Priority::Low,
    };
    let mesh = context.mesh(Pushes::Dropped).await?;
    mail::resend(&mesh, context.printer).await?;
    let order = Order { to: &args.target, text: &text, priority, strict: args.strict };
    let sent = mail::send(&mesh, context.printer, &order).await;
    mesh.close().await;
    report(context, sent?)
}

fn read(path: &std::path::Path) -> Result<String, CliError> {
    let unreadable = |error: std::io::Error| CliError::failed(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    let most = MAX_TEXT_BYTES + 1;
    match path.as_os_str() == STDIN {
        true => std::io::stdin().lock().take(most).read_to_string(&mut text),
        false => std::fs::File::open(path).map_err(unreadable)?.take(most).read_to_string(&mut text),
    }
    .map_err(unreadable)?;
    Ok(text)
}

fn check(text: &str) -> Result<(), CliError> {
    if text.trim().is_empty() {
        return Err(CliError::usage("there is nothing to send"));
    }
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_TEXT_BYTES {
        return Err(CliError::usage(format!("a message has at most {MAX_TEXT_BYTES} bytes")));
    }
    Ok(())
}

fn report(context: &Context, sent: Sent) -> Result<(), CliError> {
    let Sent { label: to, spec, ack, verified } = sent;
    for skipped in &ack.skipped {
        let who = label(&skipped.name, &skipped.pubkey);
        context.printer.warning(&format!("{who} does not get it: {}", crate::text::line(&skipped.reason)));
    }
    let document = json!({
        "id": ack.id, "messageId": ack.message_id, "target": spec, "to": to, "recipients": ack.recipients,
        "verified": verified, "skipped": ack.skipped,
    });
    context.printer.confirm(&document, |_| match ack.recipients {
        Some(count) if count != 1 => format!("Sent to {to}: {count} recipients."),
        _ => format!("Sent to {to}."),
    })
}
