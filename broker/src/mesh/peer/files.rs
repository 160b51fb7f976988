//! What a session asks about files: their list, a way to one, its end.
//!
//! Every member sees and fetches the files of its mesh; its uploader and admins delete one, and nobody one that a kept
//! deployment is built from.

use std::sync::Arc;

use protocol::wire::{Ack, ErrorCode, FileEntry, FileList, FileUrl, ServerMessage};

use super::deploy::Refusal;
use super::{Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::scope::Principal;
use crate::store::{FileId, FileRemoval, Role, StoreError, StoredFile, UtcMs};

/// What a client can want of files.
pub enum FileRequest {
    /// Where one can be fetched.
    Get(String),
    /// All of them.
    List,
    /// One goes.
    Delete(String),
}

/// Carries a request out; the text of its answer.
pub(super) async fn answer(
    mesh: &Arc<MeshContext>,
    presence: &Presence,
    wanted: FileRequest,
    req_id: Option<&str>,
) -> String {
    let done = match wanted {
        FileRequest::Get(id) => get(mesh, &id).await,
        FileRequest::List => list(mesh).await,
        FileRequest::Delete(id) => delete(mesh, &presence.principal(), &id).await,
    };
    match done {
        Ok(message) => reply::frame(message, req_id),
        Err((code, words)) => reply::error(code, words, req_id),
    }
}

/// The SHA-256 of a file that `who` wants to deploy.
pub(super) async fn to_deploy(mesh: &MeshContext, who: &Principal, id: &str) -> Result<String, Refusal> {
    let none = || (ErrorCode::DeployError, "`source.file_id` names no file of this mesh: upload it first".to_owned());
    let id: FileId = id.parse().map_err(|_| none())?;
    let file = mesh.store.file(&mesh.id, &id).await.map_err(|error| internal(&error))?.ok_or_else(none)?;
    if !is_theirs(&file, who) {
        let words = "`source.file_id` is another member's file: its uploader and admins deploy it";
        return Err((ErrorCode::Forbidden, words.to_owned()));
    }
    Ok(file.sha256)
}

async fn get(mesh: &MeshContext, id: &str) -> Result<ServerMessage<'static>, Refusal> {
    let file = found(mesh, id).await?;
    let token = mesh.files.tokens().make(&file, UtcMs::now());
    let url = format!("/files/{}?t={token}", file.id);
    let file_id = file.id.to_string();
    Ok(ServerMessage::FileUrl(FileUrl { file_id, url, name: file.name, encrypted: false, sealed_key: None }))
}

async fn list(mesh: &MeshContext) -> Result<ServerMessage<'static>, Refusal> {
    let members = mesh.members.now();
    let entry = |file: StoredFile| FileEntry {
        id: file.id.to_string(),
        name: file.name,
        size: u64::try_from(file.bytes).unwrap_or_default(),
        // What this program wrote can be read.
        tags: file.tags.read().unwrap_or_default(),
        persistent: file.persistent,
        uploaded_by: members.by_id(&file.member_id).map(|member| member.display_name.clone()).unwrap_or_default(),
        uploaded_at: file.created_at.to_string(),
    };
    let files = mesh.store.files(&mesh.id).await.map_err(|error| internal(&error))?;
    Ok(ServerMessage::FileList(FileList { files: files.into_iter().map(entry).collect() }))
}

async fn delete(mesh: &MeshContext, who: &Principal, id: &str) -> Result<ServerMessage<'static>, Refusal> {
    let file = found(mesh, id).await?;
    if !is_theirs(&file, who) {
        return Err((ErrorCode::Forbidden, "only its uploader and mesh admins may do this".to_owned()));
    }
    match mesh.store.remove_file(&mesh.id, &file.id).await.map_err(|error| internal(&error))? {
        FileRemoval::Named(service) => {
            let words = format!("the service \"{service}\" is built from it, or was and can be rolled back to it");
            return Err((ErrorCode::Forbidden, words));
        }
        FileRemoval::Removed | FileRemoval::Missing => mesh.files.remove(&mesh.id, &file.id).await,
    }
    Ok(ServerMessage::Ack(Box::new(Ack { queued: true, ..Ack::default() })))
}

async fn found(mesh: &MeshContext, id: &str) -> Result<StoredFile, Refusal> {
    let none = || (ErrorCode::NotFound, "`fileId` names no file of this mesh".to_owned());
    let id: FileId = id.parse().map_err(|_| none())?;
    mesh.store.file(&mesh.id, &id).await.map_err(|error| internal(&error))?.ok_or_else(none)
}

fn is_theirs(file: &StoredFile, who: &Principal) -> bool {
    who.role != Role::Member || file.member_id.as_str() == who.member_id
}

fn internal(error: &StoreError) -> Refusal {
    (ErrorCode::Internal, error.to_string())
}
