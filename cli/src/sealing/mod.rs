//! Seals what a deploy says in secret, for the runners and nobody else.
//!
//! Contract: [`Sealer::prepare`] finds everything that is needed before anything is sent: the runners' keys, compared, and
//! the entries of the vault. [`Sealer::seal`] then takes every secret out of the request, clear text included, and puts a
//! box in. A broker that once sealed is not believed when it says that it cannot any more.

mod keys;
mod vault;

use std::collections::BTreeMap;
use std::path::Path;

use protocol::SecretString;
use protocol::identity::{MemberKey, X25519Public};
use protocol::sealed::{Asked, Binding, Contents, SealedConfig, SecretFile};
use runner::keys::BoxKey;

use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::command::Context;
use crate::command::values::{EnvValue, EnvVar};
use crate::endpoint::Endpoint;
use crate::error::CliError;
use crate::operator;
use crate::profile::{Profile, Runners};
use crate::text;
use crate::wire::{self, RunnerKeys};
pub(crate) use keys::{KeyState, accepted, key_states, told};
use keys::{KeyTrouble, LocalRunner, choose};

/// What a broker says that takes boxes and tells keys.
pub(crate) const CAPABILITY: &str = "runner_keys";
/// The folder of the runner that `up` starts, in its data directory.
const RUNNER_FOLDER: &str = "runner";

/// Everything that a box is made of but what it is bound to.
pub(crate) struct Sealer {
    keys: Vec<X25519Public>,
    member: MemberKey,
    mesh_id: String,
    contents: Contents,
}

/// What a deploy says in secret.
pub(crate) struct Wanted<'a> {
    /// `--env`.
    pub(crate) env: Vec<EnvVar>,
    /// A token for the repository.
    pub(crate) git_token: Option<SecretString>,
    /// `--runner`.
    pub(crate) runner: Option<&'a str>,
}

impl Sealer {
    /// Finds keys and values. Without anything to seal, and for a broker that takes no boxes, there is none: then the
    /// variables come back.
    pub(crate) async fn prepare(
        context: &Context,
        wanted: Wanted<'_>,
    ) -> Result<Result<Self, BTreeMap<String, SecretString>>, CliError> {
        let Wanted { env, git_token, runner } = wanted;
        if env.is_empty() && git_token.is_none() {
            return Ok(Err(BTreeMap::new()));
        }
        let mut mesh = context.mesh(Pushes::Dropped).await?;
        let prepared = if mesh.client.can(CAPABILITY) {
            prepare(context, &mut mesh, env, git_token, runner).await.map(Ok)
        } else {
            in_clear(&mesh, env).map(Err)
        };
        mesh.client.close().await;
        prepared
    }

    /// Takes the place of the request's secrets. `sha256` is that of an uploaded archive.
    pub(crate) fn seal(&self, request: &mut wire::Deploy, sha256: Option<&str>) -> Result<(), CliError> {
        drop(request.source.take_token());
        let asked = Asked {
            mesh_id: &self.mesh_id,
            service: &request.server_name,
            source: &request.source,
            sha256,
            runtime: request.config.runtime,
            args: &request.args,
            env: &request.config.env,
            network_allow: None,
            memory_mb: request.config.memory_mb,
            cpus: None,
            pids: None,
            fds: None,
            isolation: None,
        };
        let binding = Binding::of(&asked, &self.contents);
        request.config.sealed = Some(Box::new(self.boxed(&binding)?));
        request.config.vault_refs.clone_from(&self.contents.refs);
        Ok(())
    }

    fn boxed(&self, binding: &Binding) -> Result<SealedConfig, CliError> {
        SealedConfig::seal(binding, &self.contents, &self.keys, &self.member, &mut rand::random)
            .map_err(|error| CliError::usage(text::line(&error.to_string())))
    }
}

/// What an old broker is sent: nothing that it cannot keep.
fn in_clear(mesh: &Mesh, env: Vec<EnvVar>) -> Result<BTreeMap<String, SecretString>, CliError> {
    let known = Profile::from_environment()?.runners(&mesh.membership.mesh.mesh_id)?;
    if !known.0.is_empty() {
        return Err(CliError::failed("the broker says that it takes no sealed secrets, and it did before")
            .hint("do not deploy until its operator says why: the secrets would be sent in clear"));
    }
    let plain = |variable: EnvVar| match variable.value {
        EnvValue::Plain(value) => Ok((variable.key, value)),
        EnvValue::Vault(_) | EnvValue::VaultFile { .. } => {
            Err(CliError::failed("this broker takes no sealed secrets, and entries of the vault are given to no other"))
        }
    };
    env.into_iter().map(plain).collect()
}

async fn prepare(
    context: &Context,
    mesh: &mut Mesh,
    env: Vec<EnvVar>,
    git_token: Option<SecretString>,
    runner: Option<&str>,
) -> Result<Sealer, CliError> {
    let contents = contents(context, mesh, env, git_token).await?;
    contents.validate().map_err(|error| CliError::usage(text::line(&error.to_string())))?;
    let keys = allowed(context, mesh, runner).await?;
    let mesh_id = mesh.membership.mesh.mesh_id.clone();
    Ok(Sealer { keys, member: mesh.member.clone(), mesh_id, contents })
}

async fn contents(
    context: &Context,
    mesh: &mut Mesh,
    env: Vec<EnvVar>,
    git_token: Option<SecretString>,
) -> Result<Contents, CliError> {
    let refs: BTreeMap<String, String> =
        env.iter().filter_map(|variable| Some((variable.key.clone(), variable.value.entry()?.to_owned()))).collect();
    let values = vault::values(context, mesh, &refs).await?;
    let mut contents = Contents { git_token, refs, ..Contents::default() };
    for EnvVar { key, value } in env {
        match value {
            EnvValue::Plain(value) => drop(contents.env.insert(key, value)),
            EnvValue::Vault(entry) => {
                let text = values.text(&entry)?;
                contents.env.insert(key, text);
            }
            EnvValue::VaultFile { entry, path } => {
                contents.files.push(SecretFile::new(key, path, values.bytes(&entry)?));
            }
        }
    }
    Ok(contents)
}

/// The keys to seal for. First ones are shown and kept.
pub(crate) async fn allowed(
    context: &Context,
    mesh: &mut Mesh,
    runner: Option<&str>,
) -> Result<Vec<X25519Public>, CliError> {
    let answer = mesh.client.request(&RunnerKeys {}, ANSWER_TIMEOUT).await?;
    let profile = Profile::from_environment()?;
    let entry = &mesh.membership.mesh;
    let known = profile.runners(&entry.mesh_id)?;
    let local = local(&entry.broker_url);
    let chosen = choose(told(&answer.runners), runner, &known, local.as_ref()).map_err(explained)?;
    for runner in &chosen.first {
        context.printer.warning(&format!(
            "first use of the runner {}: its key is {}\n  compare with: claudemesh runner key, on its machine",
            text::line(&runner.name),
            runner.fingerprint
        ));
    }
    for runner in &chosen.strange {
        context.printer.warning(&format!(
            "not sealed for the runner {}, which you have not accepted: claudemesh runner accept {}",
            text::line(&runner.name),
            runner.kid
        ));
    }
    let new: Runners = accepted(chosen.first.iter().chain(&chosen.compared));
    if !new.0.is_empty() {
        profile.accept_runners(&entry.mesh_id, &new)?;
    }
    Ok(chosen.allowed.into_iter().map(|runner| runner.key).collect())
}

fn explained(trouble: KeyTrouble) -> CliError {
    let words = text::line(&trouble.to_string());
    match trouble {
        KeyTrouble::NoRunner | KeyTrouble::NoSuchRunner(_) => CliError::failed(words).hint("claudemesh tree"),
        KeyTrouble::Changed { kid, .. } => CliError::refused(words).hint(format!(
            "if its operator says that this is right (claudemesh runner key): claudemesh runner accept {kid}"
        )),
        KeyTrouble::NotLocal { .. } => {
            CliError::refused(words).hint("nothing was sent: somebody stands between you and this machine's runner")
        }
        KeyTrouble::NoneAccepted(strange) => {
            let commands: Vec<_> =
                strange.iter().map(|runner| format!("claudemesh runner accept {}", runner.kid)).collect();
            CliError::refused(words).hint(format!("compare their keys, then: {}", commands.join("; ")))
        }
    }
}

/// The runner that `up` started on this machine, if the broker is on it.
fn local(broker_url: &str) -> Option<LocalRunner> {
    let here = match Endpoint::parse(broker_url).ok()? {
        Endpoint::Unix { .. } => true,
        Endpoint::Tcp { host, .. } => {
            host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    };
    let dir = here.then(|| operator::data_directory(None).ok()).flatten()?.join(RUNNER_FOLDER);
    runner_in(&dir)
}

/// The runner that lives in a folder of this machine.
fn runner_in(dir: &Path) -> Option<LocalRunner> {
    let key = BoxKey::read(dir).ok()??.public();
    let id = std::fs::read_to_string(dir.join("runner_id")).ok()?.trim().to_owned();
    Some(LocalRunner { id, key })
}
