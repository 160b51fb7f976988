//! Entries of the person's own vault, as they go to a broker and come back, and the boxes that have their values.

pub(crate) mod boxes;
pub(crate) mod findings;
mod keep;
pub(crate) mod uses;

pub(crate) use keep::{New, keep};

use protocol::vault::{Authenticity, Expected, Opened, open};
use protocol::wire::VaultEntry;

use crate::client::Mesh;
use crate::error::CliError;
use crate::text;

/// The command that gives services what an entry has: its key as a person types it.
pub(crate) fn give_again(key: &str) -> String {
    let word = text::shell_word(&text::line(key));
    format!("claudemesh vault get {word} | claudemesh vault rotate {word} - --restart")
}

/// Opens an entry: what was altered, and what is older than one that the session has seen, is refused. A newer one is
/// remembered.
pub(crate) fn opened(mesh: &Mesh, key: &str, entry: &VaultEntry) -> Result<Opened, CliError> {
    let known = mesh.file.read()?.vault_version(key);
    let expected = Expected { mesh_id: mesh.id(), key, known };
    let opened = open(entry, &expected, &mesh.member).map_err(|error| {
        CliError::refused(format!("`{}` is not opened: {error}", text::line(key)))
            .hint("somebody altered it or brought an old one back; set it again with a new value")
    })?;
    if let Authenticity::Signed(version) = opened.authenticity {
        mesh.file.update(|memory| memory.saw_vault(key, version))?;
    }
    Ok(opened)
}
