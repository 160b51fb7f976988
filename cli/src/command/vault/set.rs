//! `vault set`: a value goes into the vault.

use clap::{Args, ValueEnum};
use protocol::vault::{Drawn, Value, VaultError};
use protocol::wire::{EntryType, VaultAction};
use serde_json::json;
use zeroize::Zeroizing;

use super::{key, value};
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::command::Context;
use crate::error::CliError;
use crate::text;

/// The words of `vault set`.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The entry's key
    #[arg(value_parser = key)]
    key: String,
    /// The value; `-` reads standard input, nothing asks for it. With --type file: the file's path, or `-`
    #[arg(value_name = "VALUE-OR-FILE")]
    value: Option<value::Given>,
    /// What a service gets: a variable's text, or a file
    #[arg(long, value_enum, default_value = "env")]
    r#type: Kind,
    /// With --type file: where a service finds it
    #[arg(long, value_name = "PATH", value_parser = mount_path)]
    mount_path: Option<String>,
    /// A remark for the list; the broker reads it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// What an entry becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A variable's text
    Env,
    /// A file
    File,
}

/// All of an entry but its version.
pub(super) struct New<'a> {
    pub(super) key: &'a str,
    pub(super) entry_type: EntryType,
    pub(super) mount_path: Option<&'a str>,
    pub(super) description: Option<&'a str>,
    pub(super) plain: &'a [u8],
}

/// What became of a value that was stored.
pub(super) struct Stored {
    pub(super) action: VaultAction,
    pub(super) version: u64,
}

fn mount_path(path: &str) -> Result<String, String> {
    protocol::validate::mount_path(path).map(|()| path.to_owned()).map_err(|rule| rule.to_string())
}

/// Random bytes for one entry.
fn drawn() -> Drawn {
    Drawn {
        file_key: Zeroizing::new(rand::random()),
        nonce: rand::random(),
        one_time_seed: Zeroizing::new(rand::random()),
    }
}

/// Runs `vault set`.
pub(super) async fn run(context: &Context, args: SetArgs) -> Result<(), CliError> {
    if args.mount_path.is_some() && args.r#type == Kind::Env {
        return Err(CliError::usage("--mount-path is for files").hint("add --type file"));
    }
    // Before anybody is asked for a secret, and before the broker is.
    let plain = value::read(args.value, args.r#type == Kind::File, &context.printer)?;
    let mesh = context.mesh(Pushes::Dropped).await?;
    let new = New {
        key: &args.key,
        entry_type: if args.r#type == Kind::File { EntryType::File } else { EntryType::Env },
        mount_path: args.mount_path.as_deref(),
        description: args.description.as_deref(),
        plain: &plain,
    };
    let stored = store(&mesh, &new).await;
    drop(plain);
    mesh.close().await;
    let Stored { action, version } = stored?;
    let document = json!({ "key": args.key, "action": action, "version": version });
    context.printer.confirm(&document, |_| format!("`{}` is in your vault.", text::line(&args.key)))
}

/// Seals and signs a value under a version that is above all that were seen, and remembers that.
pub(super) async fn store(mesh: &Mesh, new: &New<'_>) -> Result<Stored, CliError> {
    let known = mesh.file.read()?.vault_version(new.key);
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    // The clock makes it rise on all machines of a member alike; one that is behind counts on from what it has seen.
    let version = now_ms.max(known.saturating_add(1));
    let value = Value {
        mesh_id: mesh.id(),
        key: new.key,
        entry_type: new.entry_type,
        mount_path: new.mount_path,
        description: new.description,
        version,
        plain: new.plain,
    };
    let entry = value.seal(&mesh.member, &drawn()).map_err(|error| unusable(&error))?;
    let answer = mesh.client.request(&entry, ANSWER_TIMEOUT).await?;
    mesh.file.update(|memory| memory.saw_vault(new.key, version))?;
    Ok(Stored { action: answer.action, version })
}

fn unusable(error: &VaultError) -> CliError {
    let failed = CliError::usage(error.to_string());
    if *error == VaultError::NotText { failed.hint("add --type file") } else { failed }
}
