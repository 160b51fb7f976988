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
use crate::metrics::Limit;
use crate::runners::Link;
use crate::store::ServiceWithDeployments;

/// Bytes of the boxes that one answer brings, in their JSON: below the 16 MiB that a WebSocket library commonly takes in
/// one frame, with room for what is around them. One box is always less.
const MAX_ANSWER_BYTES: usize = 15 * 1024 * 1024;

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
    let services = match bounded(asked.filter_map(|row| boxed_service(mesh, row))) {
        Ok(services) => services,
        Err(words) => {
            mesh.metrics.limits.count(Limit::SealedAnswerBytes);
            return reply::error(ErrorCode::TooLarge, words, req_id);
        }
    };
    match (&wanted.server_name, services.is_empty()) {
        (Some(name), true) => {
            let words = format!("no service \"{name}\" of yours has sealed secrets");
            reply::error(ErrorCode::NotFound, words, req_id)
        }
        _ => reply::frame(ServerMessage::McpSealedResult(McpSealedResult { services }), req_id),
    }
}

fn boxed_service(mesh: &MeshContext, row: &ServiceWithDeployments) -> Option<SealedService> {
    let deployment = row.pending.as_ref().or(row.active.as_ref())?;
    let (sealed, vault_refs) = boxed(mesh, deployment)?;
    let server_name = row.service.name.clone();
    Some(SealedService { server_name, deployment: deployment.id.to_string(), sealed, vault_refs })
}

/// All of them, if they are not too much for one answer; no more are opened than that.
fn bounded(services: impl Iterator<Item = SealedService>) -> Result<Vec<SealedService>, String> {
    let mut bytes: usize = 0;
    let mut taken = Vec::new();
    for service in services {
        bytes = bytes.saturating_add(serde_json::to_vec(&service).map_or(0, |json| json.len()));
        if bytes > MAX_ANSWER_BYTES {
            return Err(format!("the boxes have more than {MAX_ANSWER_BYTES} bytes: ask for one service at a time"));
        }
        taken.push(service);
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeMap;

    use protocol::sealed::{MAX_PLAIN_BYTES, SealedConfig};

    use super::*;

    fn service(at: usize) -> SealedService {
        let ciphertext = "A".repeat(MAX_PLAIN_BYTES / 3 * 4);
        let sealed = SealedConfig { v: 1, to: Vec::new(), nonce: String::new(), ciphertext };
        let server_name = format!("s{at}");
        SealedService { server_name, deployment: String::new(), sealed: Box::new(sealed), vault_refs: BTreeMap::new() }
    }

    #[test]
    fn h46_an_answer_brings_so_many_boxes_and_no_more() {
        let fits = bounded((0..22).map(service)).unwrap();
        assert_eq!(fits.len(), 22);
        let frame = reply::frame(ServerMessage::McpSealedResult(McpSealedResult { services: fits }), Some("r-1"));
        assert!(frame.len() < 16 * 1024 * 1024, "{}", frame.len());
        let mut opened = 0;
        let words = bounded((0..100).inspect(|at| opened = *at).map(service)).unwrap_err();
        assert!(words.contains("ask for one service"), "{words}");
        assert_eq!(opened, 22, "the rest is not opened");
    }
}
