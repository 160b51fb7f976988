//! How a value gets into the vault.

use protocol::vault::{Drawn, Value, VaultError};
use protocol::wire::{EntryType, VaultAction};
use zeroize::Zeroizing;

use crate::client::{ANSWER_TIMEOUT, Mesh};
use crate::error::CliError;

/// All of an entry but its version.
pub(crate) struct New<'a> {
    /// Its name in the vault.
    pub(crate) key: &'a str,
    /// What it becomes.
    pub(crate) entry_type: EntryType,
    /// Of a file: where a service finds it.
    pub(crate) mount_path: Option<&'a str>,
    /// A remark; the broker reads it.
    pub(crate) description: Option<&'a str>,
    /// The value.
    pub(crate) plain: &'a [u8],
}

/// Seals and signs a value under a version that is above all that were seen, has the broker keep it, and remembers the
/// version. With what was done, and that version.
pub(crate) async fn keep(mesh: &Mesh, new: New<'_>) -> Result<(VaultAction, u64), CliError> {
    let New { key, entry_type, mount_path, description, plain } = new;
    let known = mesh.file.read()?.vault_version(key);
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    // The clock makes it rise on all machines of a member alike; one that is behind counts on from what it has seen.
    let version = now_ms.max(known.saturating_add(1));
    let value = Value { mesh_id: mesh.id(), key, entry_type, mount_path, description, version, plain };
    let entry = value.seal(&mesh.member, &drawn()).map_err(|error| unusable(&error))?;
    let answer = mesh.client.request(&entry, ANSWER_TIMEOUT).await?;
    mesh.file.update(|memory| memory.saw_vault(key, version))?;
    Ok((answer.action, version))
}

/// Random bytes for one entry.
fn drawn() -> Drawn {
    Drawn {
        file_key: Zeroizing::new(rand::random()),
        nonce: rand::random(),
        one_time_seed: Zeroizing::new(rand::random()),
    }
}

fn unusable(error: &VaultError) -> CliError {
    let failed = CliError::usage(error.to_string());
    if *error == VaultError::NotText {
        failed.hint("make it a file: --type file, or `type` in the tool")
    } else {
        failed
    }
}
