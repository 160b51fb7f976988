//! What became of a message, for whoever sent it.

use protocol::wire::{ErrorCode, MessageStatusResult, RecipientStatus, ServerMessage};

use super::{Presence, reply};
use crate::mesh::MeshContext;
use crate::mesh::actor::NameMailboxes;
use crate::store::{DeliveryRow, DeliveryState, MessageId, UtcMs};

/// Longest wait for the mesh's actor.
const NAMED_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// The answer to `message_status`. Only the member that sent it may know.
pub(super) async fn status(mesh: &MeshContext, who: &Presence, id: &str, req_id: Option<&str>) -> String {
    let unknown = || reply::error(ErrorCode::NotFound, "this member sent no message with that `messageId`", req_id);
    let Ok(message) = id.parse::<MessageId>() else { return unknown() };
    let (head, rows) = match mesh.store.message_status(&mesh.id, &message).await {
        Ok(Some(found)) => found,
        Ok(None) => return unknown(),
        Err(error) => return reply::error(ErrorCode::Internal, error.to_string(), req_id),
    };
    if head.sender_member.as_ref() != Some(&who.member) {
        return unknown();
    }
    let keys = rows.iter().map(|row| row.mailbox.clone()).collect();
    let names = match mesh.presence.call(NameMailboxes(keys), NAMED_WITHIN).await {
        Ok(names) => names,
        Err(error) => return reply::mesh_down(&error, req_id),
    };
    let all = !rows.is_empty() && rows.iter().all(|row| row.state == DeliveryState::Delivered);
    let last = rows.iter().filter_map(|row| row.ended_at).max().filter(|_| all);
    let recipients = rows.iter().zip(names).map(|(row, (name, here))| recipient(row, name, here)).collect();
    let result = MessageStatusResult {
        message_id: message.to_string(),
        target_spec: head.target,
        delivered: all,
        delivered_at: last.as_ref().map(UtcMs::to_string),
        recipients,
    };
    reply::frame(ServerMessage::MessageStatusResult(result), req_id)
}

fn recipient(row: &DeliveryRow, name: String, here: bool) -> RecipientStatus {
    let status = match row.state {
        DeliveryState::Pending if here => "held",
        DeliveryState::Pending => "disconnected",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Expired => "expired",
        DeliveryState::Dropped => "dropped",
    };
    RecipientStatus { name, pubkey: row.mailbox.clone(), status: status.to_owned() }
}
