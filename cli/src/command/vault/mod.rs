//! `vault`: values that only you can open, kept by the broker.
//!
//! A value is sealed and signed here; the broker gets ciphertext. What comes back is opened here too, after its signature
//! was checked and its version compared with the last that this session has seen.
//!
//! `set` takes a value from the prompt (it is not shown while it is typed), from standard input (`-`), from a file
//! (`--type file`), or from the command line, with a warning. A line break at the end of an `env` value from standard
//! input is not part of it. `get` writes exactly the value, and nothing after it, to a pipe or a file; to a terminal only
//! with `--show`.
//!
//! `--json`: `set` `{"key", "action", "version"}`; `list` `{"entries": [{"key", "type", "mountPath"?, "description"?,
//! "updatedAt", "version"?, "uses"?: [{"service", "variable", "held": "current"|"older"|"unknown"}]}]}`; `get` `{"key", "type",
//! "mountPath"?, "signed", "version"?, "value" | "valueBase64"}`; `delete` `{"key", "action"}`. `rotate` and `doctor` say
//! theirs themselves.

mod doctor;
mod list;
mod look;
mod rotate;
mod set;
mod value;

pub(crate) use value::{from_file, one_text};

use clap::{Args, Subcommand};
use protocol::vault::{Authenticity, Opened};
use protocol::wire::{VaultAction, VaultEntry, VaultKey, VaultKeys};
use serde_json::json;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::error::CliError;
use crate::text;

/// The words of `vault`.
#[derive(Debug, Args)]
pub(crate) struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    /// Keep a value
    Set(set::SetArgs),
    /// Give an entry a new value, and the services that use it
    Rotate(rotate::RotateArgs),
    /// List what you keep, without the values, and which services use it
    List,
    /// Find what is missing, old, or sealed for a key that no runner has any more
    Doctor,
    /// Write a value to a pipe or a file
    Get {
        /// The entry's key
        #[arg(value_parser = key)]
        key: String,
        /// Show it on a terminal as well
        #[arg(long)]
        show: bool,
    },
    /// Take an entry out
    Delete {
        /// The entry's key
        #[arg(value_parser = key)]
        key: String,
    },
}

fn key(key: &str) -> Result<String, String> {
    protocol::validate::vault_key(key).map(|()| key.to_owned()).map_err(|rule| rule.to_string())
}

/// Runs `vault`.
pub(crate) async fn run(context: &Context, args: VaultArgs) -> Result<(), CliError> {
    match args.command {
        VaultCommand::Set(args) => set::run(context, args).await,
        VaultCommand::Rotate(args) => rotate::run(context, args).await,
        VaultCommand::List => list::run(context).await,
        VaultCommand::Doctor => doctor::run(context).await,
        VaultCommand::Get { key, show } => get(context, &key, show).await,
        VaultCommand::Delete { key } => delete(context, key).await,
    }
}

async fn get(context: &Context, key: &str, show: bool) -> Result<(), CliError> {
    if context.printer.out_is_terminal() && !show {
        return Err(CliError::usage("the value would be shown on this screen")
            .hint("add --show, or send it to a program or a file"));
    }
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let opened = fetch(&mut mesh, key).await;
    mesh.close().await;
    let (entry, opened) = opened?;
    if opened.authenticity == Authenticity::Unsigned {
        context.printer.warning(&format!(
            "`{}` is unsigned: an old client stored it, or the broker made it up; set it again to sign it",
            text::line(key)
        ));
    }
    value::write(context, &entry, &opened)
}

/// An entry of the member's own vault, opened; its version is remembered.
pub(crate) async fn fetch(mesh: &mut Mesh, key: &str) -> Result<(VaultEntry, Opened), CliError> {
    let answer = mesh.client.request(&VaultKeys { keys: vec![key.to_owned()] }, ANSWER_TIMEOUT).await?;
    let Some(entry) = answer.entries.into_iter().find(|entry| entry.key == key) else {
        return Err(CliError::failed(format!("your vault has no `{}`", text::line(key)))
            .hint("claudemesh vault list shows what it has"));
    };
    let opened = crate::vault::opened(mesh, key, &entry)?;
    Ok((entry, opened))
}

async fn delete(context: &Context, key: String) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&VaultKey { key: key.clone() }, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer?;
    let shown = text::line(&key);
    if answer.action == VaultAction::NotFound {
        return Err(
            CliError::failed(format!("your vault has no `{shown}`")).hint("claudemesh vault list shows what it has")
        );
    }
    context.printer.confirm(&json!({ "key": key, "action": answer.action }), |_| format!("`{shown}` is gone."))
}
