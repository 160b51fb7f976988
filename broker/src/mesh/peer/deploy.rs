//! From an `mcp_deploy` to a checked request, and from its news to `mcp_deploy_status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::link::{Limits, MAX_ENTRIES, ServiceSpec, ServiceState, Source};
use protocol::sealed::MAX_FILES;
use protocol::validate;
use protocol::wire::{
    DeployConfig, ErrorCode, McpDeploy, McpDeployStatus, McpScope, McpScopeResult, SECRETS_SEEN, Scope, ServerMessage,
};

use super::{Outlet, Presence, files, reply};
use crate::mesh::MeshContext;
use crate::mesh::pace::DEPLOYS_PER_MINUTE;
use crate::mesh::scope::{self, Principal, ScopeError, Verb};
use crate::mesh::service::{DeployRequest, News, Teller};
use crate::metrics::{DeployEnd, Limit};
use crate::store::{Role, UtcMs};

/// The capability of clients that want every line of an installation.
const PROGRESS: &str = "deploy_progress";

/// Most variables of a deploy that say which entry of a vault they have: as many as a box has, those that name its files
/// among them.
const MAX_VAULT_REFS: usize = MAX_ENTRIES + MAX_FILES;

/// A deploy that is not even tried.
pub(super) type Refusal = (ErrorCode, String);

/// Checks everything that can be checked without asking anybody else.
pub(super) async fn checked(mesh: &MeshContext, who: &Principal, deploy: McpDeploy) -> Result<DeployRequest, Refusal> {
    validate::service_name(&deploy.server_name).map_err(|error| (ErrorCode::InvalidName, error.to_string()))?;
    if mesh.hosted.has(&deploy.server_name) {
        return Err((ErrorCode::Forbidden, "a peer hosts a server of this name: it is taken in this mesh".to_owned()));
    }
    let config = deploy.config.unwrap_or_default();
    if mesh.members.now().plain_env_off {
        unseen(&deploy.source, &config)?;
    }
    if matches!(deploy.source, Source::Command { .. }) && who.role == Role::Member {
        let words = "`source.type` command runs what is on the runner's machine: only mesh admins may".to_owned();
        return Err((ErrorCode::Forbidden, words));
    }
    // A limit that nobody enforces must not look like one that somebody does.
    let unenforced = [("cpus", config.cpus.is_some()), ("network_allow", config.network_allow.is_some())];
    if let Some((field, _)) = unenforced.into_iter().find(|(_, asked)| *asked) {
        return Err((ErrorCode::DeployError, format!("`config.{field}` cannot be enforced on this mesh's runners")));
    }
    let limits = Limits { memory_mb: config.memory_mb, ..Limits::default() };
    let spec = ServiceSpec {
        mesh: mesh.slug.clone(),
        mesh_id: None,
        service: deploy.server_name,
        deployment: String::new(),
        source: deploy.source,
        version: None,
        runtime: config.runtime,
        args: deploy.args,
        env: config.env,
        sealed: config.sealed,
        limits,
        policy: config.policy.unwrap_or_default(),
    };
    spec.validate().map_err(|error| (ErrorCode::DeployError, error.to_string()))?;
    vault_refs(&config.vault_refs).map_err(|words| (ErrorCode::DeployError, words))?;
    let version = match &spec.source {
        Source::Zip { file_id, .. } => Some(files::to_deploy(mesh, who, file_id).await?),
        _ => None,
    };
    let scope = match deploy.scope {
        None => None,
        Some(scope) => Some(settled(mesh, scope).await?),
    };
    if deploy.strict {
        // Only of one that is the deployer's to change: whoever may not see it is told nothing of it.
        let before = || Some(mesh.services.find(&spec.service, who, Verb::Manage).ok()?.1.scope.clone());
        strict(mesh, &scope.clone().or_else(before).unwrap_or_default())?;
    }
    paced(mesh, who)?;
    let description = describe(&spec.source);
    let ServiceSpec { source, runtime, args, env, sealed, policy, .. } = spec;
    Ok(DeployRequest {
        by: who.clone(),
        source,
        version,
        runtime,
        args,
        env,
        sealed,
        vault_refs: config.vault_refs,
        limits,
        policy,
        scope,
        description,
        runner: deploy.runner,
    })
}

/// Names that are kept and shown: of variables, and of entries of a vault.
fn vault_refs(refs: &BTreeMap<String, String>) -> Result<(), String> {
    let is_key = |key: &str| validate::vault_key(key).is_ok();
    if refs.len() > MAX_VAULT_REFS {
        return Err(format!("`config.vault_refs` has more than {MAX_VAULT_REFS} variables"));
    }
    if refs.iter().all(|(name, key)| validate::is_variable_name(name) && is_key(key)) {
        return Ok(());
    }
    Err("`config.vault_refs` has a name that is none of a variable or of a vault's entry".to_owned())
}

/// Refuses what would let the broker see a secret.
fn unseen(source: &Source, config: &DeployConfig) -> Result<(), Refusal> {
    let field = if source.has_token() {
        "source.auth"
    } else if !config.env.is_empty() {
        "config.env"
    } else {
        return Ok(());
    };
    let words = format!(
        "`{field}` is in clear, and this mesh takes no secrets in clear: seal it for the runner, as this mesh's own \
         client does, or ask an admin to allow it (claudemesh mesh plain-env on)"
    );
    Err((ErrorCode::Forbidden, words))
}

/// Takes one of the member's deploys of this minute.
pub(super) fn paced(mesh: &MeshContext, who: &Principal) -> Result<(), Refusal> {
    mesh.pace.take(&who.member_id, UtcMs::now()).map_err(|wait_ms| {
        mesh.metrics.limits.count(Limit::DeployRate);
        let seconds = wait_ms.div_ceil(1_000);
        (ErrorCode::Limit, format!("limit: {DEPLOYS_PER_MINUTE} deploys a minute of a member; again in {seconds} s"))
    })
}

/// Refuses a scope that keeps nobody out.
fn strict(mesh: &MeshContext, wanted: &Scope) -> Result<(), Refusal> {
    let members = mesh.members.now();
    let open: Vec<_> = scope::open_groups(wanted, &members.lists).map(|name| format!("@{name}")).collect();
    if open.is_empty() {
        return Ok(());
    }
    let words = format!("`scope` keeps nobody out: anybody may join {}, and `strict` wants a guard", open.join(", "));
    Err((ErrorCode::Forbidden, words))
}

/// `mcp_scope`: with whom a service is shared, after it was changed where that is asked for.
pub(super) async fn scope(mesh: &MeshContext, who: &Principal, wanted: McpScope, req_id: Option<&str>) -> String {
    let shown = async {
        let find =
            |verb| mesh.services.find(&wanted.server_name, who, verb).map_err(|refused| reply::refusal(&refused));
        // Whoever may not is told so before anything about the scope is looked at.
        find(if wanted.scope.is_some() { Verb::Manage } else { Verb::See })?;
        if let Some(scope) = wanted.scope {
            let scope = settled(mesh, scope).await?;
            if wanted.strict {
                strict(mesh, &scope)?;
            }
            let shared = mesh.services.share(&wanted.server_name, who.clone(), scope).await;
            shared.map_err(|refused| reply::refusal(&refused))?;
        }
        let (_, view) = find(Verb::See)?;
        if wanted.strict {
            strict(mesh, &view.scope)?;
        }
        Ok(McpScopeResult {
            guards: Some(scope::guards(&view.scope, &mesh.members.now().lists)),
            scope: view.scope.clone(),
            deployed_by: view.deployed_by_name.clone(),
            server_name: wanted.server_name.clone(),
        })
    };
    match shown.await {
        Ok(result) => reply::frame(ServerMessage::McpScopeResult(result), req_id),
        Err((code, words)) => reply::error(code, words, req_id),
    }
}

async fn settled(mesh: &MeshContext, wanted: Scope) -> Result<Scope, Refusal> {
    let members = mesh.store.list_members(&mesh.id).await.map_err(|error| (ErrorCode::Internal, error.to_string()))?;
    // A name is chosen by whoever has it: it stands behind ids and keys, and says nothing when two have it.
    let find = |name: &str| {
        let exact = members.iter().find(|member| member.id.as_str() == name || member.pubkey == name);
        let mut named = members.iter().filter(|member| member.display_name == name);
        let only = || named.next().filter(|_| named.next().is_none());
        exact.or_else(only).map(|member| member.id.to_string())
    };
    scope::settled(wanted, find).map_err(|error| {
        if error == ScopeError::Count {
            mesh.metrics.limits.count(Limit::ScopeNames);
        }
        (ErrorCode::BadRequest, error.to_string())
    })
}

fn describe(source: &Source) -> String {
    match source {
        Source::Npx { package } | Source::Uvx { package, .. } => package.clone(),
        Source::Git { url, .. } => url.clone(),
        Source::Zip { file_id, .. } => file_id.clone(),
        Source::Command { argv } => argv.first().cloned().unwrap_or_default(),
    }
}

/// Sends the news of a request as statuses: `building` once, its progress to those who asked for it, and
/// one end.
pub(super) fn teller(presence: &Presence, outlet: &Arc<dyn Outlet>, name: &str, req_id: Option<&str>) -> Teller {
    let wants_progress = presence.can(PROGRESS);
    let outlet = Arc::clone(outlet);
    let (name, req_id) = (name.to_owned(), req_id.map(str::to_owned));
    let last_progress = Mutex::new(None);
    Arc::new(move |news| {
        if let News::Building(Some(line)) = news {
            let mut last = last_progress.lock().unwrap_or_else(PoisonError::into_inner);
            if !wants_progress || last.as_ref() == Some(line) {
                return;
            }
            *last = Some(line.clone());
        }
        let message = ServerMessage::McpDeployStatus(status(&name, news));
        outlet.send(reply::frame(message, req_id.as_deref()));
    })
}

/// Counts the one end of a deploy that was taken in.
pub(super) fn counted(teller: Teller, mesh: &MeshContext) -> Teller {
    let deploys = mesh.metrics.deploys.clone();
    Arc::new(move |news| {
        match news {
            News::Building(_) => {}
            News::Running { .. } => deploys.count(DeployEnd::Running),
            News::Failed(_) | News::Stopped => deploys.count(DeployEnd::Failed),
        }
        teller(news);
    })
}

fn status(name: &str, news: &News) -> McpDeployStatus {
    let plain = |status| McpDeployStatus {
        server_name: name.to_owned(),
        status,
        tools: None,
        error: None,
        progress: None,
        secrets: None,
        log: Vec::new(),
    };
    match news {
        News::Building(progress) => McpDeployStatus { progress: progress.clone(), ..plain(ServiceState::Building) },
        News::Running { tools, secrets_seen } => McpDeployStatus {
            tools: Some(tools.to_vec()),
            secrets: secrets_seen.then(|| SECRETS_SEEN.to_owned()),
            ..plain(ServiceState::Running)
        },
        News::Failed(failure) => McpDeployStatus {
            error: Some(failure.reason.clone()),
            log: failure.log.clone(),
            ..plain(ServiceState::Failed)
        },
        News::Stopped => plain(ServiceState::Stopped),
    }
}
