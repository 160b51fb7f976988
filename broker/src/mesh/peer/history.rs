//! What a service wrote and what happened to it, for those who may read its log.
//!
//! Names are used again, by others too: what is older than the service that has the name now is another's, and stays
//! with whoever deployed that.

use std::sync::Arc;

use protocol::link::{LogLine, LogStream};
use protocol::wire::{ErrorCode, McpEvents, McpEventsResult, McpLogs, McpLogsResult, ServerMessage, ServiceEventEntry};

use super::{Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::scope::Verb;
use crate::mesh::service::View;
use crate::runners::ServiceKey;
use crate::store::{ServiceEvent, UtcMs};

fn found(mesh: &MeshContext, who: &Presence, name: &str, req_id: Option<&str>) -> Result<Arc<View>, String> {
    let found = mesh.services.find(name, &who.principal(), Verb::ReadLogs);
    found.map(|(_, view)| view).map_err(|refused| reply::refused(&refused, req_id))
}

/// `mcp_logs`: the last lines, or the first ones behind a number.
pub(super) async fn logs(mesh: &MeshContext, who: &Presence, wanted: McpLogs, req_id: Option<&str>) -> String {
    let view = match found(mesh, who, &wanted.server_name, req_id) {
        Ok(view) => view,
        Err(refused) => return refused,
    };
    let Some(link) = view.runner.as_deref().and_then(|name| mesh.runners.get(name)).cloned() else {
        return reply::error(ErrorCode::Unreachable, "the service has no runner", req_id);
    };
    let key = ServiceKey::new(mesh.slug.clone(), wanted.server_name.clone());
    let (lines, lost) = match link.logs(&key, wanted.wanted(), wanted.after).await {
        Ok(read) => read,
        Err(error) => return reply::error(ErrorCode::Unreachable, error.to_string(), req_id),
    };
    let next = lines.iter().filter_map(|line| line.seq).max().or(wanted.after);
    let ours = |line: &&LogLine| at(line) >= view.created_at;
    let lines = lines.iter().filter(ours).map(text).collect();
    // Of a log in which nothing was written yet everything is behind.
    let result = McpLogsResult { server_name: wanted.server_name, lines, next: next.or(Some(0)), lost };
    reply::frame(ServerMessage::McpLogsResult(result), req_id)
}

fn at(line: &LogLine) -> UtcMs {
    UtcMs::from_ms(i64::try_from(line.at_ms).unwrap_or(i64::MAX))
}

fn text(line: &LogLine) -> String {
    let stream = match line.stream {
        LogStream::Install => "install",
        LogStream::Stderr => "stderr",
        LogStream::Stdout => "stdout",
        LogStream::System => "system",
    };
    format!("{} {stream} {}", at(line), line.text)
}

/// `mcp_events`: the last ones, or the first ones behind a number.
pub(super) async fn events(mesh: &MeshContext, who: &Presence, wanted: McpEvents, req_id: Option<&str>) -> String {
    let view = match found(mesh, who, &wanted.server_name, req_id) {
        Ok(view) => view,
        Err(refused) => return refused,
    };
    let (name, limit) = (&wanted.server_name, wanted.wanted());
    let read = match wanted.after {
        Some(seq) => {
            let seq = i64::try_from(seq).unwrap_or(i64::MAX);
            mesh.store.events_after(&mesh.id, name, seq, limit).await
        }
        None => mesh.store.events(&mesh.id, name, limit).await.map(|mut newest_first| {
            newest_first.reverse();
            newest_first
        }),
    };
    let events = match read {
        Ok(events) => events,
        Err(error) => return reply::error(ErrorCode::Internal, error.to_string(), req_id),
    };
    let last = events.last().and_then(|event| u64::try_from(event.seq).ok());
    let ours = events.into_iter().filter(|event| event.at >= view.created_at).map(entry).collect();
    let next = last.or(wanted.after).unwrap_or_default();
    let result = McpEventsResult { server_name: wanted.server_name, events: ours, next };
    reply::frame(ServerMessage::McpEventsResult(result), req_id)
}

fn entry(event: ServiceEvent) -> ServiceEventEntry {
    ServiceEventEntry {
        seq: u64::try_from(event.seq).unwrap_or_default(),
        at: event.at.to_string(),
        from: event.from_state,
        to: event.to_state,
        cause: event.cause,
        deployment: event.deployment.map(|id| id.to_string()),
    }
}
