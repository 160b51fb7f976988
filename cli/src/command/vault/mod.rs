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
//! "updatedAt", "version"?}]}`; `get` `{"key", "type", "mountPath"?, "signed", "version"?, "value" | "valueBase64"}`;
//! `delete` `{"key", "action"}`.

mod value;

use clap::{Args, Subcommand, ValueEnum};
use protocol::vault::{Authenticity, Drawn, Opened, Value, VaultError};
use protocol::wire::{EntryType, VaultAction, VaultEntry, VaultKey, VaultKeys, VaultListing};
use serde_json::json;
use zeroize::Zeroizing;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::error::CliError;
use crate::output::table;
use crate::text;
use crate::wire::mesh::VaultList;

/// The words of `vault`.
#[derive(Debug, Args)]
pub(crate) struct VaultArgs {
    #[command(subcommand)]
    command: VaultCommand,
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    /// Keep a value
    Set(SetArgs),
    /// List what you keep, without the values
    List,
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

#[derive(Debug, Args)]
struct SetArgs {
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

fn key(key: &str) -> Result<String, String> {
    protocol::validate::vault_key(key).map(|()| key.to_owned()).map_err(|rule| rule.to_string())
}

fn mount_path(path: &str) -> Result<String, String> {
    protocol::validate::mount_path(path).map(|()| path.to_owned()).map_err(|rule| rule.to_string())
}

/// Runs `vault`.
pub(crate) async fn run(context: &Context, args: VaultArgs) -> Result<(), CliError> {
    match args.command {
        VaultCommand::Set(args) => set(context, args).await,
        VaultCommand::List => list(context).await,
        VaultCommand::Get { key, show } => get(context, &key, show).await,
        VaultCommand::Delete { key } => delete(context, key).await,
    }
}

/// Random bytes for one entry.
pub(crate) fn drawn() -> Drawn {
    Drawn {
        file_key: Zeroizing::new(rand::random()),
        nonce: rand::random(),
        one_time_seed: Zeroizing::new(rand::random()),
    }
}

async fn set(context: &Context, args: SetArgs) -> Result<(), CliError> {
    if args.mount_path.is_some() && args.r#type == Kind::Env {
        return Err(CliError::usage("--mount-path is for files").hint("add --type file"));
    }
    // Before anybody is asked for a secret, and before the broker is.
    let plain = value::read(args.value, args.r#type == Kind::File, &context.printer)?;
    let mesh = context.mesh(Pushes::Dropped).await?;
    let known = mesh.file.read()?.vault_version(&args.key);
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    // The clock makes it rise on all machines of a member alike; one that is behind counts on from what it has seen.
    let version = now_ms.max(known.saturating_add(1));
    let value = Value {
        mesh_id: mesh.id(),
        key: &args.key,
        entry_type: if args.r#type == Kind::File { EntryType::File } else { EntryType::Env },
        mount_path: args.mount_path.as_deref(),
        description: args.description.as_deref(),
        version,
        plain: &plain,
    };
    let entry = value.seal(&mesh.member, &drawn()).map_err(|error| unusable(&error))?;
    drop(plain);
    let answer = mesh.client.request(&entry, ANSWER_TIMEOUT).await;
    let noted = if answer.is_ok() { mesh.file.update(|memory| memory.saw_vault(&args.key, version)) } else { Ok(()) };
    mesh.close().await;
    let answer = answer?;
    noted?;
    let document = json!({ "key": args.key, "action": answer.action, "version": version });
    context.printer.confirm(&document, |_| format!("`{}` is in your vault.", text::line(&args.key)))
}

async fn list(context: &Context) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&VaultList {}, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let entries = answer?.entries;
    let documents: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut document = json!({ "key": entry.key, "type": entry.entry_type, "updatedAt": entry.updated_at });
            let mut put = |name: &str, value: Option<serde_json::Value>| {
                if let (Some(value), Some(fields)) = (value, document.as_object_mut()) {
                    fields.insert(name.to_owned(), value);
                }
            };
            put("mountPath", entry.mount_path.as_deref().map(Into::into));
            put("description", entry.description.as_deref().map(Into::into));
            put("version", entry.version.map(Into::into));
            document
        })
        .collect();
    context.printer.result(&json!({ "entries": documents }), |style| {
        if entries.is_empty() {
            return "Your vault is empty.".to_owned();
        }
        let headings = ["key", "type", "path", "updated", "signed", "description"];
        table::render(style, &headings, entries.iter().map(row).collect())
    })
}

fn row(entry: &VaultListing) -> Vec<String> {
    let or_nothing = |text: &Option<String>| text.as_deref().map_or_else(|| table::NOTHING.to_owned(), text::line);
    vec![
        text::line(&entry.key),
        entry.entry_type.as_str().to_owned(),
        or_nothing(&entry.mount_path),
        text::line(&entry.updated_at),
        if entry.version.is_some() { "yes" } else { "unsigned" }.to_owned(),
        or_nothing(&entry.description),
    ]
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

fn unusable(error: &VaultError) -> CliError {
    let failed = CliError::usage(error.to_string());
    if *error == VaultError::NotText { failed.hint("add --type file") } else { failed }
}
