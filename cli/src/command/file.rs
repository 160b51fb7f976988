//! `file`: what members have uploaded to the mesh: its list, one of them on this machine, its end.
//!
//! `--json`: `list` `{"files": [...]}` as the broker describes them; `get` `{"id", "name", "path", "bytes"}`; `delete` `{"id"}`.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use protocol::wire::{FileId, FileUrl};
use serde_json::json;

use super::{Context, values};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::{age, table};
use crate::profile::Profile;
use crate::text;
use crate::wire::mesh::ListFiles;

/// Largest file that is fetched unless told otherwise: the largest that a broker takes.
const MAX_BYTES: &str = "64MiB";

/// The words of `file`.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    #[command(subcommand)]
    command: FileCommand,
    /// How long to wait, the way of the file included
    #[arg(long, global = true, value_name = "TIME", value_parser = values::duration, default_value = "10m")]
    timeout: Duration,
}

#[derive(Debug, Subcommand)]
enum FileCommand {
    /// List the files of the mesh
    List,
    /// Fetch a file
    Get {
        /// The file, by its id as the list shows it
        id: String,
        /// Where to put it; without it, or with -, it goes to standard output
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Write over what is there
        #[arg(long, requires = "output")]
        force: bool,
        /// Fetch no more than this, as in 1MiB
        #[arg(long, value_name = "SIZE", value_parser = values::bytes, default_value = MAX_BYTES)]
        max: u64,
    },
    /// Delete a file that nothing is built from
    Delete {
        /// The file, by its id as the list shows it
        id: String,
    },
}

/// Runs `file`.
pub(crate) async fn run(context: &Context, args: FileArgs) -> Result<(), CliError> {
    match args.command {
        FileCommand::List => list(context, args.timeout).await,
        FileCommand::Get { id, output, force, max } => {
            let place = output.filter(|path| path != Path::new("-"));
            get(context, Wanted { id, place, force, max }, args.timeout).await
        }
        FileCommand::Delete { id } => delete(context, id, args.timeout).await,
    }
}

async fn list(context: &Context, timeout: Duration) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.request(&ListFiles {}, timeout).await;
    client.close().await;
    let answer = answer?;
    context.printer.result(&answer, |style| {
        if answer.files.is_empty() {
            return "No files in the mesh.".to_owned();
        }
        let now_ms = age::now_ms();
        let rows = answer.files.iter().map(|file| {
            let since = age::parse_iso(&file.uploaded_at).map(|then| age::since(now_ms, then));
            let by = Some(text::line(&file.uploaded_by)).filter(|by| !by.is_empty());
            vec![
                text::line(&file.id),
                text::line(&file.name),
                file.size.to_string(),
                by.unwrap_or_else(|| table::NOTHING.to_owned()),
                since.unwrap_or_else(|| table::NOTHING.to_owned()),
                if file.persistent { "until deleted" } else { "for a while" }.to_owned(),
            ]
        });
        table::render(style, &["id", "name", "bytes", "by", "since", "kept"], rows.collect())
    })
}

struct Wanted {
    id: String,
    /// `None` for standard output.
    place: Option<PathBuf>,
    force: bool,
    max: u64,
}

async fn get(context: &Context, wanted: Wanted, timeout: Duration) -> Result<(), CliError> {
    let Wanted { id, place, force, max } = wanted;
    if place.is_none() && context.printer.is_json() {
        return Err(CliError::usage("--json and the file cannot share standard output").hint("say --output PATH"));
    }
    if let Some(path) = place.as_deref().filter(|path| !force && fs::symlink_metadata(path).is_ok()) {
        return Err(exists(path));
    }
    let client = context.client().await?;
    let told = client.request(&FileId { file_id: id.clone() }, timeout).await;
    client.close().await;
    let told: FileUrl = told.map_err(|error| explained(error.into()))?;
    let membership = Profile::from_environment()?.membership(context.mesh.as_deref())?;
    let broker = Operator::stranger(Endpoint::parse(&membership.mesh.broker_url)?)?;
    let token = token(&told, &id)?;
    let bytes = broker.fetch(&["files", &id], &[("t", token)], max, timeout).await?;
    let Some(path) = place else {
        context.printer.raw(&bytes);
        return Ok(());
    };
    write(&path, &bytes, force)?;
    let document = json!({ "id": id, "name": told.name, "path": path, "bytes": bytes.len() });
    context.printer.confirm(&document, |_| {
        let (name, path) = (text::line(&told.name), text::line(&path.display().to_string()));
        format!("{name} is in {path} ({} bytes).", bytes.len())
    })
}

/// The right to the file out of the way to it, which leads to the mesh's own broker and nowhere else.
fn token(told: &FileUrl, id: &str) -> Result<String, CliError> {
    let token = told.url.strip_prefix("/files/").and_then(|rest| rest.strip_prefix(id)?.strip_prefix("?t="));
    let plain = |token: &&str| token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let token = token
        .filter(plain)
        .ok_or_else(|| CliError::failed("the broker named a way to the file that is not its own"))?;
    Ok(token.to_owned())
}

/// Whole, or not at all, and for nobody else to read.
fn write(path: &Path, bytes: &[u8], force: bool) -> Result<(), CliError> {
    let shown = text::line(&path.display().to_string());
    let cannot = |error: std::io::Error| CliError::failed(format!("cannot write {shown}: {error}"));
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let first = if force { Path::new(&beside) } else { path };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(first)
        .map_err(|error| if error.kind() == ErrorKind::AlreadyExists { exists(first) } else { cannot(error) })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| if force { fs::rename(first, path) } else { Ok(()) });
    placed.map_err(|error| {
        // Half a file is none.
        let _ = fs::remove_file(first);
        cannot(error)
    })
}

fn exists(path: &Path) -> CliError {
    CliError::failed(format!("{} is there already", text::line(&path.display().to_string())))
        .hint("--force writes over it")
}

async fn delete(context: &Context, id: String, timeout: Duration) -> Result<(), CliError> {
    let client = context.client().await?;
    let gone = client.request(&crate::wire::mesh::DeleteFile(FileId { file_id: id.clone() }), timeout).await;
    client.close().await;
    gone.map_err(|error| explained(error.into()))?;
    context.printer.confirm(&json!({ "id": id }), |_| format!("{} is deleted.", text::line(&id)))
}

fn explained(error: CliError) -> CliError {
    match error.code.as_deref() {
        Some("not_found") => error.hint("claudemesh file list shows the files of the mesh"),
        Some("forbidden") => error.hint("its uploader and admins delete a file, once nothing is built from it"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_way_to_a_file_leads_to_the_broker_alone() {
        let way = |url: &str| {
            let told =
                FileUrl { file_id: "f".into(), url: url.into(), name: "n".into(), encrypted: false, sealed_key: None };
            token(&told, "f").ok()
        };
        assert_eq!(way("/files/f?t=1.a-b_C").as_deref(), Some("1.a-b_C"));
        for wrong in ["http://h/files/f?t=1", "/files/g?t=1", "/files/f", "/files/f?t=a&b=c", "/../files/f?t=1"] {
            assert_eq!(way(wrong), None, "{wrong}");
        }
    }
}
