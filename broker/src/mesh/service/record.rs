//! Between the store's rows and what the actor works with.

use std::collections::BTreeMap;

use protocol::SecretString;
use protocol::link::{Failure, Limits, Policy, Runtime, ServiceSpec, ServiceState, Source, Tool};
use protocol::sealed::SealedConfig;
use protocol::wire::Scope;
use serde::{Deserialize, Serialize};

use super::messages::DeployRequest;
use super::state::Actual;
use crate::mesh::MeshContext;
use crate::store::{Deployment, DeploymentId, Document, FileId, MemberId, NewDeployment, Slot};
use crate::vault::{Context, place};

/// What a deployment row keeps besides its source: as JSON, since it grows with every release.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Config {
    limits: Limits,
    policy: Policy,
    runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    vault_refs: BTreeMap<String, String>,
}

/// What a deployment row keeps sealed: one document, so that one sealing covers all of it.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Sealed {
    #[serde(serialize_with = "protocol::secret::reveal", skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<String, SecretString>,
    #[serde(serialize_with = "protocol::secret::reveal", skip_serializing_if = "Option::is_none")]
    git_token: Option<SecretString>,
    /// Already unreadable here. Sealed once more with its siblings, so that a copy of the database holds no box.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<Box<SealedConfig>>,
}

/// A stored deployment, opened.
pub(super) struct Recorded {
    pub(super) spec: ServiceSpec,
    pub(super) tools: Vec<Tool>,
    pub(super) vault_refs: BTreeMap<String, String>,
}

fn context<'a>(mesh: &'a MeshContext, deployment: &'a DeploymentId) -> Context<'a> {
    place::deployment(mesh.id.as_str(), deployment.as_str())
}

/// Where a new deployment goes.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) slot: Slot,
    pub(super) runner: &'a str,
    /// The service is on another runner until the switch.
    pub(super) moves: bool,
    /// See [`NewDeployment::takes_over`].
    pub(super) takes_over: bool,
}

/// The row for a new deployment; the environment and a repository's token are sealed here and never stored in clear.
pub(super) fn row(
    mesh: &MeshContext,
    service: &str,
    request: &DeployRequest,
    scope: &Scope,
    place: Place<'_>,
) -> Result<(NewDeployment, ServiceSpec), String> {
    let id = DeploymentId::new();
    let spec = ServiceSpec {
        mesh: mesh.slug.clone(),
        mesh_id: Some(mesh.id.to_string()),
        service: service.to_owned(),
        deployment: id.to_string(),
        source: request.source.clone(),
        version: request.version.clone(),
        runtime: request.runtime,
        args: request.args.clone(),
        env: request.env.clone(),
        sealed: request.sealed.clone(),
        limits: request.limits,
        policy: request.policy,
    };
    let config = Config {
        limits: request.limits,
        policy: request.policy,
        runtime: request.runtime,
        vault_refs: request.vault_refs.clone(),
    };
    let mut source = request.source.clone();
    let git_token = source.take_token();
    let secrets = Sealed { env: request.env.clone(), git_token, sealed: request.sealed.clone() };
    let text = |error: serde_json::Error| format!("the deployment cannot be written down: {error}");
    let row = NewDeployment {
        env_sealed: seal(mesh, &id, &secrets)?,
        id,
        mesh_id: mesh.id.clone(),
        service: service.to_owned(),
        source: Document::of(&source).map_err(text)?,
        args: Document::of(&request.args).map_err(text)?,
        config: Document::of(&config).map_err(text)?,
        version: request.version.clone(),
        created_by: member(&request.by.member_id)?,
        scope: Document::of(scope).map_err(text)?,
        description: request.description.clone(),
        runner: (!place.moves).then(|| place.runner.to_owned()),
        moving_to: place.moves.then(|| place.runner.to_owned()),
        slot: place.slot,
        takes_over: place.takes_over,
        file_id: uploaded(&request.source)?,
    };
    Ok((row, spec))
}

fn uploaded(source: &Source) -> Result<Option<FileId>, String> {
    match source {
        Source::Zip { file_id, .. } => file_id.parse().map(Some).map_err(|error| format!("{error}")),
        _ => Ok(None),
    }
}

fn member(id: &str) -> Result<MemberId, String> {
    id.parse().map_err(|error| format!("{error}"))
}

fn seal(mesh: &MeshContext, id: &DeploymentId, secrets: &Sealed) -> Result<Option<String>, String> {
    if secrets.env.is_empty() && secrets.git_token.is_none() && secrets.sealed.is_none() {
        return Ok(None);
    }
    let clear = zeroize::Zeroizing::new(serde_json::to_vec(secrets).map_err(|error| error.to_string())?);
    Ok(Some(mesh.at_rest.seal(&context(mesh, id), &clear)))
}

/// Opens a stored deployment.
pub(super) fn open(mesh: &MeshContext, row: &Deployment) -> Result<Recorded, String> {
    let broken = |what: &str, error: &dyn std::fmt::Display| {
        format!("the stored deployment {} has an unreadable {what}: {error}", row.id)
    };
    let mut source: Source = row.source.read().map_err(|error| broken("source", &error))?;
    let args = row.args.read().map_err(|error| broken("argument list", &error))?;
    let config: Config = row.config.read().map_err(|error| broken("configuration", &error))?;
    let secrets: Sealed = match &row.env_sealed {
        None => Sealed::default(),
        Some(sealed) => {
            let clear =
                mesh.at_rest.open(&context(mesh, &row.id), sealed).map_err(|error| broken("environment", &error))?;
            serde_json::from_slice(&clear).map_err(|error| broken("environment", &error))?
        }
    };
    source.put_token(secrets.git_token);
    let tools = match &row.tools {
        None => Vec::new(),
        Some(tools) => tools.read().map_err(|error| broken("tool list", &error))?,
    };
    let spec = ServiceSpec {
        mesh: mesh.slug.clone(),
        mesh_id: Some(mesh.id.to_string()),
        service: row.service.clone(),
        deployment: row.id.to_string(),
        source,
        version: row.version.clone(),
        runtime: config.runtime,
        args,
        env: secrets.env,
        sealed: secrets.sealed,
        limits: config.limits,
        policy: config.policy,
    };
    Ok(Recorded { spec, tools, vault_refs: config.vault_refs })
}

/// An end, as it is written down.
#[derive(Serialize, Deserialize)]
struct End {
    state: ServiceState,
    cause: String,
    failure: Option<Failure>,
}

/// The document for how a deployment ended.
pub(super) fn end(actual: &Actual) -> Result<Document, serde_json::Error> {
    Document::of(&End { state: actual.state, cause: actual.cause.clone(), failure: actual.failure.clone() })
}

/// How a stored deployment ended, if it did. A text that cannot be read says nothing: the deployment is tried again.
pub(super) fn ended(row: &Deployment) -> Option<(String, Actual)> {
    let End { state, cause, failure } = row.ended.as_ref()?.read().ok()?;
    Some((row.id.to_string(), Actual { state, cause, failure }))
}

/// The box of a stored deployment, and which variables have which entry of a vault. None without one, or when the row
/// cannot be read.
pub(crate) fn boxed(mesh: &MeshContext, row: &Deployment) -> Option<(Box<SealedConfig>, BTreeMap<String, String>)> {
    match open(mesh, row) {
        Ok(recorded) => Some((recorded.spec.sealed?, recorded.vault_refs)),
        Err(error) => {
            tracing::error!(service = row.service, error, "a stored deployment cannot be read");
            None
        }
    }
}
