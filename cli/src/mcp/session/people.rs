//! The tools about peers and messages.

use protocol::wire::{Changed, Group, GroupName, MessageStatus, PeerStatus, Priority, Status, Summary};
use serde::Deserialize;

use super::Session;
use crate::client::ANSWER_TIMEOUT;
use crate::error::CliError;
use crate::mail::{self, Directory, Order, Sent, label};
use crate::mcp::stdio::Say;
use crate::output::age;
use crate::text;
use crate::wire::mesh::{JoinGroup, ListPeers, MeshInfo};

/// The longest text that is sent, as for the command.
const MAX_TEXT_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
pub(super) struct SendMessage {
    to: String,
    message: String,
    #[serde(default)]
    priority: Priority,
}

#[derive(Deserialize)]
pub(super) struct MessageId {
    id: String,
}

impl Session {
    pub(super) async fn send_message(&self, wanted: SendMessage, say: &Say) -> Result<String, CliError> {
        let SendMessage { to, message, priority } = wanted;
        if message.trim().is_empty() || message.len() > MAX_TEXT_BYTES {
            return Err(CliError::usage(format!("a message has between 1 and {MAX_TEXT_BYTES} bytes")));
        }
        let mesh = self.mesh(say).await?;
        let order = Order { to: &to, text: &message, priority, strict: false };
        Ok(sent(mail::send(&mesh, self.printer, &order).await?))
    }

    pub(super) async fn list_peers(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let peers = mesh.client.request(&ListPeers {}, ANSWER_TIMEOUT).await?.peers;
        let trusted = mesh.trusted().await?;
        let directory = Directory { mesh_id: mesh.id(), peers: &peers, trusted: &trusted, now_ms: age::now_ms() };
        if peers.is_empty() {
            return Ok("Nobody is here.".to_owned());
        }
        let lines = peers.iter().map(|peer| {
            let you = if peer.pubkey == mesh.session.public() { " (you)" } else { "" };
            let away = if peer.online == Some(false) { ", away" } else { "" };
            let sure =
                directory.doubt(peer).map_or_else(|| "verified".to_owned(), |why| format!("not verified: {why}"));
            let groups: Vec<_> = peer.groups.iter().map(|group| format!("@{}", text::line(&group.name))).collect();
            let summary = peer.summary.as_deref().map(text::line).filter(|summary| !summary.is_empty());
            let rest =
                [Some(groups.join(" ")).filter(|groups| !groups.is_empty()), summary.map(|s| format!("\"{s}\""))];
            let rest: String = rest.into_iter().flatten().map(|part| format!(" · {part}")).collect();
            format!("{}{you} · {}{away} · {sure}{rest}", label(&peer.display_name, &peer.pubkey), peer.status)
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn set_summary(&self, to: Summary, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        mesh.client.request(&Changed { to, session: None }, ANSWER_TIMEOUT).await?;
        Ok("Others see it now.".to_owned())
    }

    pub(super) async fn set_status(&self, to: Status, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let status: PeerStatus = to.status;
        mesh.client.request(&Changed { to, session: None }, ANSWER_TIMEOUT).await?;
        Ok(format!("This session is {status}."))
    }

    pub(super) async fn join_group(&self, to: Group, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let name = text::line(&to.name);
        mesh.client.request(&JoinGroup(Changed { to, session: None }), ANSWER_TIMEOUT).await?;
        // Services that are shared with the group are there now.
        self.changes.notify_one();
        Ok(format!("This session is in @{}.", name.trim_start_matches('@')))
    }

    pub(super) async fn leave_group(&self, to: GroupName, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let name = text::line(&to.name);
        mesh.client.request(&Changed { to, session: None }, ANSWER_TIMEOUT).await?;
        self.changes.notify_one();
        Ok(format!("This session is out of @{}.", name.trim_start_matches('@')))
    }

    pub(super) async fn message_status(&self, wanted: MessageId, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let status = mesh.client.request(&MessageStatus { message_id: wanted.id }, ANSWER_TIMEOUT).await?;
        let who = status.recipients.iter().map(|recipient| {
            let key: String = text::line(&recipient.pubkey).chars().take(8).collect();
            format!("{} ({key}): {}", text::line(&recipient.name), text::line(&recipient.status))
        });
        let heading = if status.delivered { "Everybody has it:" } else { "Not everybody has it yet:" };
        Ok(std::iter::once(heading.to_owned()).chain(who).collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn mesh_info(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let info = mesh.client.request(&MeshInfo {}, ANSWER_TIMEOUT).await?;
        let words = |names: &[String]| names.iter().map(|name| text::line(name)).collect::<Vec<_>>().join(" ");
        let own: Vec<_> = info.your_groups.iter().map(|group| format!("@{}", group.name)).collect();
        let none_or = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        Ok(format!(
            "Mesh {}: {} sessions here, {} members, {} messages wait.\nGroups: {}\nYou are {}, in: {}",
            text::line(&info.mesh),
            info.peers,
            info.members,
            info.queued,
            none_or(words(&info.groups)),
            text::line(&info.your_name),
            none_or(words(&own)),
        ))
    }
}

fn sent(sent: Sent) -> String {
    let Sent { label: to, ack, verified, .. } = sent;
    let count = ack.recipients.filter(|count| *count != 1).map(|count| format!(" ({count} recipients)"));
    let mut text = format!("Sent to {to}{}.", count.unwrap_or_default());
    if let Some(id) = &ack.message_id {
        text.push_str(&format!(" Message id: {}", text::line(id)));
    }
    if !verified {
        text.push_str("\nNot everybody it went to is vouched for: whoever runs the broker could read it.");
    }
    for skipped in &ack.skipped {
        let who = label(&skipped.name, &skipped.pubkey);
        text.push_str(&format!("\n{who} does not get it: {}", text::line(&skipped.reason)));
    }
    text
}
