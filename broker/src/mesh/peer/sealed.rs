//! Boxes: for whom they can be sealed, and whose they are. What is in them is not the broker's to know.

use protocol::sealed;
use protocol::wire::{
    ErrorCode, McpSealed, McpSealedResult, RunnerKey, RunnerKeysResult, SealedService, ServerMessage,
};

use super::deploy::Refusal;
use super::reply;
use crate::mesh::MeshContext;
use crate::mesh::scope::Principal;
use crate::mesh::service::{Change, boxed};
use crate::runners::Link;

/// Whether the box of an update, where there is one, has the form of one.
pub(super) fn well_formed(change: &Change) -> Result<(), Refusal> {
    match change {
        Change::Update(Some(sealed)) => sealed.validate().map_err(|error| (ErrorCode::DeployError, error.to_string())),
        _ => Ok(()),
    }
}

/// `runner_keys`, for every member: any of them may deploy.
pub(super) fn keys(mesh: &MeshContext, req_id: Option<&str>) -> String {
    let entry = |link: &Link| {
        let (id, key) = link.box_key()?;
        Some(RunnerKey {
            id,
            name: link.name().to_owned(),
            kid: sealed::kid(&key),
            pubkey: hex::encode(key.as_bytes()),
            fingerprint: sealed::fingerprint(&key),
        })
    };
    let runners = mesh.runners.all().filter_map(entry).collect();
    reply::frame(ServerMessage::RunnerKeysResult(RunnerKeysResult { runners }), req_id)
}

/// `mcp_sealed`: of whoever deployed, and of nobody else, admins included.
pub(super) async fn boxes(mesh: &MeshContext, who: &Principal, wanted: &McpSealed, req_id: Option<&str>) -> String {
    let rows = match mesh.store.services_with_deployments(&mesh.id).await {
        Ok(rows) => rows,
        Err(error) => return reply::error(ErrorCode::Internal, error.to_string(), req_id),
    };
    let own = rows.iter().filter(|row| row.service.deployed_by.as_str() == who.member_id);
    let asked = own.filter(|row| wanted.server_name.as_ref().is_none_or(|name| *name == row.service.name));
    let services: Vec<_> = asked
        .filter_map(|row| {
            let deployment = row.pending.as_ref().or(row.active.as_ref())?;
            let (sealed, vault_refs) = boxed(mesh, deployment)?;
            let server_name = row.service.name.clone();
            Some(SealedService { server_name, deployment: deployment.id.to_string(), sealed, vault_refs })
        })
        .collect();
    match (&wanted.server_name, services.is_empty()) {
        (Some(name), true) => {
            let words = format!("no service \"{name}\" of yours has sealed secrets");
            reply::error(ErrorCode::NotFound, words, req_id)
        }
        _ => reply::frame(ServerMessage::McpSealedResult(McpSealedResult { services }), req_id),
    }
}
