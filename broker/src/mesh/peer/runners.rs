//! What admins ask about the broker's runners: which there are, and that one is given up.

use protocol::wire::{
    ErrorCode, ForgottenService, RunnerEntry, RunnerForgetResult, RunnerListResult, RunnerName, ServerMessage,
};

use super::admin::manages;
use super::deploy::Refusal;
use super::reply;
use crate::mesh::MeshContext;
use crate::mesh::scope::Principal;
use crate::runners::Link;

/// `runner_list`, for those who place services.
pub(super) fn list(mesh: &MeshContext, who: &Principal, req_id: Option<&str>) -> String {
    if let Err((code, words)) = manages(who) {
        return reply::error(code, words, req_id);
    }
    let entry = |link: &Link| RunnerEntry {
        name: link.name().to_owned(),
        up: link.is_up(),
        services: u32::try_from(link.services()).unwrap_or(u32::MAX),
        last_seen_ms: link.last_seen_ms(),
    };
    let runners = mesh.runners.all().map(entry).collect();
    reply::frame(ServerMessage::RunnerListResult(RunnerListResult { runners }), req_id)
}

/// `runner_forget`: the services of this mesh that are on a runner go to others. Those of other meshes are their admins'.
pub(super) async fn forget(mesh: &MeshContext, who: &Principal, wanted: RunnerName, req_id: Option<&str>) -> String {
    match forgotten(mesh, who, wanted).await {
        Ok(result) => reply::frame(ServerMessage::RunnerForgetResult(result), req_id),
        Err((code, words)) => reply::error(code, words, req_id),
    }
}

async fn forgotten(mesh: &MeshContext, who: &Principal, wanted: RunnerName) -> Result<RunnerForgetResult, Refusal> {
    manages(who)?;
    let RunnerName { name } = wanted;
    let link = mesh.runners.known(&name).map_err(|unknown| (ErrorCode::NotFound, format!("`name`: {unknown}")))?;
    if link.is_up() {
        let words =
            format!("the runner {name} is connected: what it has can be stopped in order, or moved by a deploy");
        return Err((ErrorCode::DeployError, words));
    }
    tracing::warn!(mesh = mesh.slug, runner = name, by = who.display_name, "a runner is forgotten");
    let went = mesh.services.forget_runner(&name).await.into_iter().map(|(service, now)| match now {
        Ok(runner) => ForgottenService { service, runner, reason: None },
        Err(refused) => ForgottenService { service, runner: None, reason: Some(refused.to_string()) },
    });
    Ok(RunnerForgetResult { services: went.collect(), name })
}
