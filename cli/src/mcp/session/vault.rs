//! The tools about the member's vault.
//!
//! Contract: a value goes from a file or a variable of this machine into a sealed entry, and none comes back. What a tool
//! answers is read by a model and kept wherever its conversation is; so is what it is asked with, which is why a value in
//! the call itself is taken and remarked on.

use std::path::{Path, PathBuf};

use protocol::wire::{EntryType, VaultAction, VaultKey, VaultListing};
use protocol::{SecretString, validate};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Session;
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::command::vault::{from_file, one_text};
use crate::error::CliError;
use crate::mcp::stdio::Say;
use crate::text;
use crate::vault::{New, keep};
use crate::wire::mesh::VaultList;

/// After a value that was said in the call.
const WAS_SAID: &str =
    "The value stands in this conversation: whoever has that has it. `path` or `variable` keep it out.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VaultSet {
    key: String,
    path: Option<PathBuf>,
    variable: Option<String>,
    value: Option<SecretString>,
    #[serde(rename = "type")]
    kind: Option<EntryType>,
    mount_path: Option<String>,
    description: Option<String>,
}

/// Where a value is.
enum Origin {
    File(PathBuf),
    Variable(String),
    Said(SecretString),
}

impl VaultSet {
    fn kind(&self) -> EntryType {
        self.kind.unwrap_or(EntryType::Env)
    }

    /// What can be said before anything is read, and where the value is.
    fn checked(&self) -> Result<Origin, CliError> {
        validate::vault_key(&self.key).map_err(|rule| CliError::usage(format!("`key`: {rule}")))?;
        let is_file = self.kind() == EntryType::File;
        if let Some(path) = &self.mount_path {
            validate::mount_path(path).map_err(|rule| CliError::usage(format!("`mount_path`: {rule}")))?;
            if !is_file {
                return Err(CliError::usage("`mount_path` is for files: say type file"));
            }
        }
        match (&self.path, &self.variable, &self.value) {
            (Some(path), None, None) => Ok(Origin::File(path.clone())),
            (None, Some(name), None) => Ok(Origin::Variable(name.clone())),
            // As clients of before have it.
            (None, None, Some(path)) if is_file => Ok(Origin::File(path.expose().into())),
            (None, None, Some(value)) => Ok(Origin::Said(value.clone())),
            _ => Err(CliError::usage("name where the value is, once: path, variable or value")),
        }
    }
}

impl Origin {
    /// The value.
    fn read(&self, kind: EntryType) -> Result<Zeroizing<Vec<u8>>, CliError> {
        match self {
            Self::File(path) => {
                is_a_file(path)?;
                let plain = from_file(path)?;
                Ok(if kind == EntryType::Env { one_text(plain) } else { plain })
            }
            Self::Variable(name) => match std::env::var(name) {
                Ok(value) => Ok(Zeroizing::new(value.into_bytes())),
                Err(_) => Err(CliError::failed(format!("this session has no variable {} of text", text::line(name)))
                    .hint("variables are those that the client was started with: set it before that, or use `path`")),
            },
            Self::Said(value) => Ok(Zeroizing::new(value.expose().as_bytes().to_vec())),
        }
    }
}

/// A pipe would be waited for, and one of them is the client's own.
fn is_a_file(path: &Path) -> Result<(), CliError> {
    let shown = text::line(&path.to_string_lossy());
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() => Ok(()),
        Ok(_) => Err(CliError::usage(format!("{shown} is no file"))),
        Err(error) => Err(CliError::failed(format!("cannot read {shown}: {error}"))),
    }
}

impl Session {
    pub(super) async fn vault_set(&self, wanted: VaultSet, say: &Say) -> Result<String, CliError> {
        let (origin, entry_type) = (wanted.checked()?, wanted.kind());
        let plain = origin.read(entry_type)?;
        self.mesh(say).await?;
        // Where the person's commands remember versions: an old entry that is brought back is seen by them and by deploys.
        let mesh = self.context().mesh(Pushes::Dropped).await?;
        let new = New {
            key: &wanted.key,
            entry_type,
            mount_path: wanted.mount_path.as_deref(),
            description: wanted.description.as_deref(),
            plain: &plain,
        };
        let kept = keep(&mesh, new).await;
        mesh.close().await;
        kept?;
        let key = text::line(&wanted.key);
        let said = if matches!(origin, Origin::Said(_)) { format!("\n{WAS_SAID}") } else { String::new() };
        Ok(format!("`{key}` is in the vault; services get it by env $vault:{key}.{said}"))
    }

    pub(super) async fn vault_list(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let entries = mesh.client.request(&VaultList {}, ANSWER_TIMEOUT).await?.entries;
        if entries.is_empty() {
            return Ok("The vault is empty.".to_owned());
        }
        Ok(entries.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn vault_delete(&self, wanted: VaultKey, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let shown = text::line(&wanted.key);
        let answer = mesh.client.request(&wanted, ANSWER_TIMEOUT).await?;
        match answer.action {
            VaultAction::NotFound => {
                Err(CliError::failed(format!("the vault has no `{shown}`")).hint("vault_list shows what it has"))
            }
            _ => Ok(format!("`{shown}` is gone.")),
        }
    }
}

fn line(entry: &VaultListing) -> String {
    let signed = if entry.version.is_some() { "signed" } else { "unsigned" };
    let updated = format!("updated {}", text::line(&entry.updated_at));
    let mut parts = vec![text::line(&entry.key), entry.entry_type.as_str().to_owned(), updated, signed.to_owned()];
    parts.extend(entry.mount_path.as_deref().map(text::line));
    parts.extend(entry.description.as_deref().map(|words| format!("\"{}\"", text::line(words))));
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn of(arguments: Value) -> VaultSet {
        serde_json::from_value(arguments).unwrap()
    }

    fn words(error: CliError) -> String {
        error.message
    }

    #[test]
    fn a_value_is_named_once_and_what_cannot_be_is_said_before_anything_is_read() {
        for (arguments, expected) in [
            (json!({"key": "k"}), "name where the value is"),
            (json!({"key": "k", "path": "/p", "value": "hunter2"}), "name where the value is"),
            (json!({"key": "a|b", "value": "hunter2"}), "`key`"),
            (json!({"key": "k", "value": "hunter2", "mount_path": "/etc/x"}), "`mount_path` is for files"),
        ] {
            let refused = of(arguments.clone()).checked().err().map(words).unwrap();
            assert!(refused.contains(expected) && !refused.contains("hunter2"), "{arguments}: {refused}");
        }
        let as_before = of(json!({"key": "k", "type": "file", "value": "/etc/hosts"})).checked().unwrap();
        assert!(matches!(as_before, Origin::File(path) if path == Path::new("/etc/hosts")));
    }

    #[test]
    fn a_value_is_read_from_a_file_and_never_from_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let read = |kind| Origin::File(path.clone()).read(kind).unwrap();
        assert_eq!(read(EntryType::Env).as_slice(), b"hunter2");
        assert_eq!(read(EntryType::File).as_slice(), b"hunter2\n");
        for no_file in ["/dev/zero", "/", "/no/such"] {
            assert!(is_a_file(Path::new(no_file)).is_err(), "{no_file}");
        }
        let missing = Origin::Variable("NOT_SET_ANYWHERE".to_owned()).read(EntryType::Env).err().unwrap();
        assert!(missing.message.contains("NOT_SET_ANYWHERE"), "{}", missing.message);
    }
}
