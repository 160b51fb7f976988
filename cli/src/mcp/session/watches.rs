//! The tools about watches. What a watch says comes as mail, as it does for a person.

use protocol::wire::{Watch, WatchId};
use serde::Deserialize;

use super::Session;
use crate::client::ANSWER_TIMEOUT;
use crate::command::watch::{begun, watch_row};
use crate::error::CliError;
use crate::mcp::stdio::Say;
use crate::text;
use crate::wire::mesh::WatchList;

#[derive(Deserialize)]
pub(super) struct Unwatch {
    watch_id: String,
}

impl Session {
    pub(super) async fn watch(&self, wanted: Watch, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        Ok(begun(&mesh.client.request(&wanted, ANSWER_TIMEOUT).await?))
    }

    pub(super) async fn unwatch(&self, Unwatch { watch_id }: Unwatch, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let ack = mesh.client.request(&WatchId { watch_id }, ANSWER_TIMEOUT).await?;
        Ok(format!("{} is watched no more.", text::line(&ack.url)))
    }

    pub(super) async fn watches(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let watches = mesh.client.request(&WatchList {}, ANSWER_TIMEOUT).await?.watches;
        if watches.is_empty() {
            return Ok("Nothing is watched: mesh_watch begins.".to_owned());
        }
        let heading = "id · what · every · value (the page's own words) · last look · state";
        let lines = watches.iter().map(|watch| watch_row(watch).join(" · "));
        Ok(std::iter::once(heading.to_owned()).chain(lines).collect::<Vec<_>>().join("\n"))
    }
}
