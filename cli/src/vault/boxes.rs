//! The boxes of the person's own services, opened with the person's own key.
//!
//! Contract: what a broker gives back counts only when the person signed it for this mesh and this service. Whatever else
//! comes is kept as what it is, a box that says nothing.

use protocol::identity::X25519Secret;
use protocol::sealed::{Opened, SealedError};
use protocol::wire::{McpSealed, SealedService};

use crate::client::{ANSWER_TIMEOUT, ClientError, Mesh};
use crate::error::CliError;
use crate::sealing::CAPABILITY;
use crate::wire::Catalog;

/// What the broker says when all boxes are too much for one answer.
const TOO_LARGE: &str = "too_large";

/// The box of one service.
#[derive(Debug)]
pub(crate) struct OwnBox {
    /// The service, in the broker's words.
    pub(crate) service: String,
    /// The keys that open it.
    pub(crate) kids: Vec<String>,
    /// What is in it.
    pub(crate) opened: Result<Opened, SealedError>,
}

/// All that there are. A broker that takes no boxes has none.
pub(crate) async fn own(mesh: &Mesh) -> Result<Vec<OwnBox>, CliError> {
    if !mesh.client.can(CAPABILITY) {
        return Ok(Vec::new());
    }
    let all = match mesh.client.request(&McpSealed { server_name: None }, ANSWER_TIMEOUT).await {
        Ok(answer) => answer.services,
        Err(ClientError::Refused { code, .. }) if code == TOO_LARGE => one_by_one(mesh).await?,
        Err(error) => return Err(error.into()),
    };
    Ok(all.into_iter().map(|service| opened(mesh, service)).collect())
}

/// Whose a service is, the catalog says by a name alone: each one is asked for.
async fn one_by_one(mesh: &Mesh) -> Result<Vec<SealedService>, CliError> {
    let catalog = mesh.client.request(&Catalog {}, ANSWER_TIMEOUT).await?;
    let mut all = Vec::new();
    for service in &catalog.services {
        let wanted = McpSealed { server_name: Some(service.name.raw().to_owned()) };
        match mesh.client.request(&wanted, ANSWER_TIMEOUT).await {
            Ok(answer) => all.extend(answer.services),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

fn opened(mesh: &Mesh, service: SealedService) -> OwnBox {
    let kids = service.sealed.kids().map(str::to_owned).collect();
    let opened = service.sealed.open(&X25519Secret::of(&mesh.member)).and_then(|opened| {
        opened.is_by(&mesh.member.public())?;
        if opened.binding.mesh != mesh.id() {
            return Err(SealedError::ForOther("mesh"));
        }
        if opened.binding.service != service.server_name {
            return Err(SealedError::ForOther("service"));
        }
        Ok(opened)
    });
    OwnBox { service: service.server_name, kids, opened }
}
