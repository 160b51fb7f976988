//! What a member asks about its watches; another's are not there for it.

use std::sync::Arc;

use protocol::wire::{
    ErrorCode, ServerMessage, Watch, WatchAck, WatchChange, WatchEntry, WatchHistory, WatchHistoryResult,
    WatchListResult,
};

use super::{Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::watch::Refused;
use crate::mesh::watch::directory::DEFAULT_CHANGES;
use crate::store::{self, MAX_WATCH_CHANGES};

/// What a client can want of watches.
pub enum WatchRequest {
    /// A new one.
    Add(Box<Watch>),
    /// One ends.
    Remove(String),
    /// Its own.
    List,
    /// What happened to one.
    History(WatchHistory),
    /// One look.
    Test(Box<Watch>),
}

/// Carries a request out; the text of its answer.
pub(super) async fn answer(
    mesh: &Arc<MeshContext>,
    presence: &Presence,
    wanted: WatchRequest,
    req_id: Option<&str>,
) -> String {
    let owner = &presence.member;
    let done = match wanted {
        WatchRequest::Add(watch) => mesh.watches.add(owner, *watch).await.map(ack),
        WatchRequest::Remove(id) => mesh.watches.remove(owner, &id).await.map(ack),
        WatchRequest::List => Ok(ServerMessage::WatchListResult(WatchListResult { watches: mesh.watches.list(owner) })),
        WatchRequest::History(WatchHistory { watch_id, limit }) => {
            let most = u32::try_from(MAX_WATCH_CHANGES).unwrap_or(DEFAULT_CHANGES);
            let changes = mesh.watches.history(owner, &watch_id, limit.unwrap_or(DEFAULT_CHANGES).min(most)).await;
            changes.map(|changes| {
                let changes = changes.into_iter().map(change).collect();
                ServerMessage::WatchHistoryResult(WatchHistoryResult { watch_id, changes })
            })
        }
        WatchRequest::Test(watch) => mesh.watches.test(owner, *watch).await.map(ServerMessage::WatchTestResult),
    };
    match done {
        Ok(message) => reply::frame(message, req_id),
        Err(refused) => reply::error(code(&refused), refused.to_string(), req_id),
    }
}

fn ack(entry: WatchEntry) -> ServerMessage<'static> {
    let WatchEntry { id, url, mode, interval, .. } = entry;
    ServerMessage::WatchAck(WatchAck { watch_id: id, url, mode, interval })
}

fn change(change: store::WatchChange) -> WatchChange {
    WatchChange {
        number: change.number,
        kind: change.kind,
        old_value: change.old_value,
        new_value: change.new_value,
        at: change.at.to_string(),
        message_id: change.message_id.map(|id| id.to_string()),
    }
}

fn code(refused: &Refused) -> ErrorCode {
    match refused {
        Refused::Field(_) => ErrorCode::BadRequest,
        Refused::Inside => ErrorCode::Forbidden,
        Refused::Limit(_) => ErrorCode::Limit,
        Refused::NotFound(_) => ErrorCode::NotFound,
        Refused::Internal(_) => ErrorCode::Internal,
    }
}
