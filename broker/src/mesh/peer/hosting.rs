//! What a session says about the servers that it hosts.

use std::sync::Arc;

use protocol::validate;
use protocol::wire::{Ack, ErrorCode, McpListResult, McpRegister, McpRegisterAck, ServerMessage};

use super::{Outlet, Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::hosted::state::{MAX_DESCRIPTION_BYTES, MAX_TOOLS, MAX_TOOLS_BYTES, Offer, RegisterError};
use crate::mesh::pace::REGISTRATIONS_PER_MINUTE;
use crate::metrics::Limit;
use crate::store::UtcMs;

type Refusal = (ErrorCode, String);

/// `mcp_register`.
pub(super) fn register(
    mesh: &MeshContext,
    host: &Presence,
    outlet: &Arc<dyn Outlet>,
    wanted: McpRegister,
    req_id: Option<&str>,
) -> String {
    let name = wanted.server_name.clone();
    let tool_count = u32::try_from(wanted.tools.len()).unwrap_or(u32::MAX);
    let done = paced(mesh, host).and_then(|()| checked(mesh, wanted)).and_then(|offer| {
        mesh.hosted.register(mesh, host, outlet, &name, offer).map_err(|error| {
            let code = if error == RegisterError::Taken { ErrorCode::Forbidden } else { ErrorCode::Limit };
            (code, error.to_string())
        })
    });
    match done {
        Ok(()) => {
            let ack = McpRegisterAck { server_name: name, tool_count };
            reply::frame(ServerMessage::McpRegisterAck(ack), req_id)
        }
        Err((code, words)) => reply::error(code, words, req_id),
    }
}

/// Takes one of the member's registrations of this minute: each is told to everybody who is here.
fn paced(mesh: &MeshContext, host: &Presence) -> Result<(), Refusal> {
    mesh.register_pace.take(host.member.as_str(), UtcMs::now()).map_err(|wait_ms| {
        mesh.metrics.limits.count(Limit::RegisterRate);
        let seconds = wait_ms.div_ceil(1_000);
        let words =
            format!("limit: {REGISTRATIONS_PER_MINUTE} registrations a minute of a member; again in {seconds} s");
        (ErrorCode::Limit, words)
    })
}

/// What is offered, measured once.
fn checked(mesh: &MeshContext, wanted: McpRegister) -> Result<Offer, Refusal> {
    validate::service_name(&wanted.server_name).map_err(|error| (ErrorCode::InvalidName, error.to_string()))?;
    let too_much = |what: String| {
        mesh.metrics.limits.count(Limit::HostedServers);
        (ErrorCode::Limit, what)
    };
    if wanted.description.len() > MAX_DESCRIPTION_BYTES {
        return Err(too_much(format!("limit: `description` has more than {MAX_DESCRIPTION_BYTES} bytes")));
    }
    if wanted.tools.len() > MAX_TOOLS {
        return Err(too_much(format!("limit: `tools` has more than {MAX_TOOLS} of them")));
    }
    let tools_bytes =
        serde_json::to_vec(&wanted.tools).map_err(|error| (ErrorCode::BadRequest, error.to_string()))?.len();
    if tools_bytes > MAX_TOOLS_BYTES {
        return Err(too_much(format!("limit: `tools` has more than {MAX_TOOLS_BYTES} bytes")));
    }
    // One name, one thing: whoever calls it never wonders which.
    if mesh.services.get(&wanted.server_name).is_some() {
        return Err((ErrorCode::Forbidden, RegisterError::Taken.to_string()));
    }
    let McpRegister { description, tools, persistent, .. } = wanted;
    Ok(Offer { description: validate::cleaned(&description), tools, tools_bytes, persistent })
}

/// `mcp_unregister`; answered when an answer is asked for, or when there is nothing to give up.
pub(super) fn unregister(mesh: &MeshContext, host: &Presence, name: &str, req_id: Option<&str>) -> Option<String> {
    if !mesh.hosted.unregister(mesh, &host.presence_id, name) {
        let words = format!("this session hosts no server \"{}\"", validate::cleaned(name));
        return Some(reply::error(ErrorCode::NotFound, words, req_id));
    }
    let ack = Ack { queued: true, ..Ack::default() };
    req_id.map(|req_id| reply::frame(ServerMessage::Ack(Box::new(ack)), Some(req_id)))
}

/// `mcp_list`.
pub(super) fn list(mesh: &MeshContext, req_id: Option<&str>) -> String {
    reply::frame(ServerMessage::McpListResult(McpListResult { servers: mesh.hosted.list() }), req_id)
}
