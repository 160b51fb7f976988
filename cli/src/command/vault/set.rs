//! `vault set`: a value goes into the vault.

use clap::{Args, ValueEnum};
use protocol::wire::EntryType;
use serde_json::json;

use super::{key, value};
use crate::client::Pushes;
use crate::command::Context;
use crate::error::CliError;
use crate::text;
use crate::vault::{New, keep};

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

fn mount_path(path: &str) -> Result<String, String> {
    protocol::validate::mount_path(path).map(|()| path.to_owned()).map_err(|rule| rule.to_string())
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
    let kept = keep(&mesh, new).await;
    drop(plain);
    mesh.close().await;
    let (action, version) = kept?;
    let document = json!({ "key": args.key, "action": action, "version": version });
    context.printer.confirm(&document, |_| format!("`{}` is in your vault.", text::line(&args.key)))
}
