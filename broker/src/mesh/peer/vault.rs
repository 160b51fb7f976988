//! What a session asks about its member's own vault: set, list, get, delete.
//!
//! There is no way to another member's: whose vault it is, is who said hello. The broker checks what it can check of an
//! entry (its form, the member's signature) and opens none.

use protocol::identity::BOX_OVERHEAD_BYTES;
use protocol::vault::{self, Authenticity, VaultError};
use protocol::wire::{
    EntryType, ErrorCode, ServerMessage, VaultAck, VaultAction, VaultEntry, VaultGetResult, VaultListResult,
    VaultListing,
};
use serde::{Deserialize, Serialize};

use super::deploy::Refusal;
use super::{Presence, reply};
use crate::mesh::MeshContext;
use crate::metrics::Limit;
use crate::store::{EntryHead, MAX_VAULT_ENTRIES_PER_MEMBER, StoreError, StoredEntry, UtcMs};
use crate::vault::{EntryPlace, place};

/// Bytes of the values that one answer brings, sealed as they are: in base64 below the 16 MiB that a WebSocket library
/// commonly takes in one frame.
const MAX_ANSWER_BYTES: i64 = 8 * 1024 * 1024;

/// What a client can want of its vault.
pub enum VaultRequest {
    /// Keep an entry.
    Set(Box<VaultEntry>),
    /// What there is.
    List,
    /// Some entries.
    Get(Vec<String>),
    /// One goes.
    Delete(String),
}

/// What of an entry is sealed at rest.
#[derive(Serialize, Deserialize)]
struct Boxes {
    ciphertext: String,
    nonce: String,
    sealed_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sig: Option<protocol::identity::Signature>,
}

/// Carries a request out; the text of its answer.
pub(super) async fn answer(
    mesh: &MeshContext,
    presence: &Presence,
    wanted: VaultRequest,
    req_id: Option<&str>,
) -> String {
    let done = match wanted {
        VaultRequest::Set(entry) => set(mesh, presence, *entry).await,
        VaultRequest::List => list(mesh, presence).await,
        VaultRequest::Get(keys) => get(mesh, presence, &keys).await,
        VaultRequest::Delete(key) => delete(mesh, presence, key).await,
    };
    match done {
        Ok(message) => reply::frame(message, req_id),
        Err((code, words)) => reply::error(code, words, req_id),
    }
}

async fn set(mesh: &MeshContext, who: &Presence, entry: VaultEntry) -> Result<ServerMessage<'static>, Refusal> {
    let authenticity = vault::check(&entry, mesh.id.as_str(), who.about.member).map_err(|error| {
        if error == VaultError::TooLarge {
            mesh.metrics.limits.count(Limit::VaultEntryBytes);
        }
        (code_of(&error), error.to_string())
    })?;
    let version = match authenticity {
        Authenticity::Signed(version) => version,
        Authenticity::Unsigned => 0,
    };
    let row = sealed(mesh, who, entry, version)?;
    let key = row.key.clone();
    mesh.store.put_vault_entry(row).await.map_err(|error| refused(mesh, error))?;
    Ok(ServerMessage::VaultAck(VaultAck { key, action: VaultAction::Stored }))
}

async fn list(mesh: &MeshContext, who: &Presence) -> Result<ServerMessage<'static>, Refusal> {
    let heads = mesh.store.vault_entries(&mesh.id, &who.member).await.map_err(|error| refused(mesh, error))?;
    let entries = heads.into_iter().map(listing).collect::<Result<_, Refusal>>()?;
    Ok(ServerMessage::VaultListResult(VaultListResult { entries }))
}

fn listing(head: EntryHead) -> Result<VaultListing, Refusal> {
    Ok(VaultListing {
        entry_type: type_of(&head.entry_type)?,
        key: head.key,
        mount_path: head.mount_path,
        description: head.description,
        updated_at: head.updated_at.to_string(),
        version: u64::try_from(head.version).ok().filter(|version| *version > 0),
    })
}

async fn get(mesh: &MeshContext, who: &Presence, keys: &[String]) -> Result<ServerMessage<'static>, Refusal> {
    if keys.len() > MAX_VAULT_ENTRIES_PER_MEMBER {
        let words = format!("`keys` has more than {MAX_VAULT_ENTRIES_PER_MEMBER}, which is more than a vault has");
        return Err((ErrorCode::BadRequest, words));
    }
    let mut entries = Vec::new();
    let mut bytes: i64 = 0;
    for (at, key) in keys.iter().enumerate() {
        // What no key can be is not there.
        if keys.iter().take(at).any(|before| before == key) || protocol::validate::vault_key(key).is_err() {
            continue;
        }
        let found = mesh.store.vault_entry(&mesh.id, &who.member, key).await.map_err(|error| refused(mesh, error))?;
        let Some(row) = found else { continue };
        bytes = bytes.saturating_add(row.bytes);
        if bytes > MAX_ANSWER_BYTES {
            mesh.metrics.limits.count(Limit::VaultAnswerBytes);
            let words = format!("the entries have more than {MAX_ANSWER_BYTES} bytes: ask for fewer at a time");
            return Err((ErrorCode::TooLarge, words));
        }
        entries.push(opened(mesh, row)?);
    }
    Ok(ServerMessage::VaultGetResult(VaultGetResult { entries }))
}

async fn delete(mesh: &MeshContext, who: &Presence, key: String) -> Result<ServerMessage<'static>, Refusal> {
    let removed = match protocol::validate::vault_key(&key) {
        Ok(()) => {
            let removed = mesh.store.remove_vault_entry(&mesh.id, &who.member, &key).await;
            removed.map_err(|error| refused(mesh, error))?
        }
        Err(_) => false,
    };
    let action = if removed { VaultAction::Deleted } else { VaultAction::NotFound };
    Ok(ServerMessage::VaultAck(VaultAck { key, action }))
}

/// The row for an entry that was checked.
fn sealed(mesh: &MeshContext, who: &Presence, entry: VaultEntry, version: u64) -> Result<StoredEntry, Refusal> {
    let VaultEntry { key, ciphertext, nonce, sealed_key, entry_type, mount_path, description, sig, .. } = entry;
    let padding = ciphertext.bytes().rev().take_while(|byte| *byte == b'=').count();
    let bytes = (ciphertext.len() / 4 * 3).saturating_sub(padding + BOX_OVERHEAD_BYTES);
    let boxes = Boxes { ciphertext, nonce, sealed_key, sig };
    let clear = serde_json::to_vec(&boxes).map_err(|error| (ErrorCode::Internal, error.to_string()))?;
    let here = EntryPlace::new(who.member.as_str(), &key);
    Ok(StoredEntry {
        sealed: mesh.at_rest.seal(&place::vault_entry(mesh.id.as_str(), &here, version), &clear),
        mesh_id: mesh.id.clone(),
        member_id: who.member.clone(),
        key,
        entry_type: entry_type.as_str().to_owned(),
        mount_path,
        description,
        version: i64::try_from(version).map_err(|error| (ErrorCode::BadRequest, error.to_string()))?,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        updated_at: UtcMs::now(),
    })
}

/// The entry of a row, as its member sealed it.
fn opened(mesh: &MeshContext, row: StoredEntry) -> Result<VaultEntry, Refusal> {
    let broken = |error: &dyn std::fmt::Display| {
        tracing::error!(mesh = mesh.slug, member = %row.member_id, %error, "an entry of a vault cannot be read");
        (ErrorCode::Internal, format!("the stored entry \"{}\" cannot be read: {error}", row.key))
    };
    let version = u64::try_from(row.version).map_err(|error| broken(&error))?;
    let here = EntryPlace::new(row.member_id.as_str(), &row.key);
    let clear = mesh.at_rest.open(&place::vault_entry(mesh.id.as_str(), &here, version), &row.sealed);
    let clear = clear.map_err(|error| broken(&error))?;
    let Boxes { ciphertext, nonce, sealed_key, sig } =
        serde_json::from_slice(&clear).map_err(|error| broken(&error))?;
    Ok(VaultEntry {
        entry_type: type_of(&row.entry_type)?,
        key: row.key,
        ciphertext,
        nonce,
        sealed_key,
        mount_path: row.mount_path,
        description: row.description,
        version: sig.is_some().then_some(version),
        sig,
    })
}

fn type_of(word: &str) -> Result<EntryType, Refusal> {
    EntryType::of(word).ok_or_else(|| (ErrorCode::Internal, "a stored entry has no known type".to_owned()))
}

const fn code_of(error: &VaultError) -> ErrorCode {
    match error {
        VaultError::TooLarge => ErrorCode::TooLarge,
        VaultError::Trust(_) => ErrorCode::BadSignature,
        _ => ErrorCode::BadRequest,
    }
}

fn refused(mesh: &MeshContext, error: StoreError) -> Refusal {
    match &error {
        StoreError::Limit { .. } => {
            mesh.metrics.limits.count(Limit::VaultEntries);
            (ErrorCode::Limit, error.to_string())
        }
        StoreError::Superseded { .. } => {
            (ErrorCode::Superseded, "`version` is not above that of the entry's last value".to_owned())
        }
        StoreError::NotFound { .. } => (ErrorCode::Unauthorized, "no such member".to_owned()),
        _ => (ErrorCode::Internal, error.to_string()),
    }
}
