//! The tools about services.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use protocol::SecretString;
use protocol::link::{Runtime, Source};
use protocol::wire::{McpScope, McpUpdate, Scope};
use serde::Deserialize;
use serde_json::Value;

use super::Session;
use crate::client::{ANSWER_TIMEOUT, Deadline};
use crate::command::{Context, values};
use crate::error::CliError;
use crate::mcp::stdio::Say;
use crate::sealing::{Sealer, Wanted};
use crate::text::{self, Foreign};
use crate::upload;
use crate::wire::{self, DeployStatus, Request};

/// How long a service may take to come up; the broker's own limits end it earlier, with a better reason.
const COMES_UP: Duration = Duration::from_secs(15 * 60);
/// The most lines that the wire lets one ask for.
const MAX_LINES: u32 = 1_000;
const DEFAULT_LINES: u32 = 50;
/// Log lines of a failure that are shown.
const LOG_LINES: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    server_name: String,
    npx_package: Option<String>,
    uvx_package: Option<String>,
    git_url: Option<String>,
    git_branch: Option<String>,
    zip_path: Option<PathBuf>,
    file_id: Option<String>,
    subdirectory: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, SecretString>,
    runtime: Option<Runtime>,
    scope: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) server_name: String,
}

#[derive(Deserialize)]
pub(super) struct LogsOf {
    server_name: String,
    lines: Option<u32>,
}

#[derive(Deserialize)]
pub(super) struct ScopeOf {
    server_name: String,
    scope: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct SchemaOf {
    server_name: String,
    tool_name: Option<String>,
}

/// A variable as `--env` has it, `$vault:key` among them.
fn variable(key: &str, value: &SecretString) -> Result<values::EnvVar, CliError> {
    let words = SecretString::new(format!("{key}={}", value.expose()));
    values::env_var(words.expose()).map_err(|error| CliError::usage(format!("`env`: {error}")))
}

impl Session {
    pub(super) async fn deploy(&self, wanted: Deploy, say: &Say) -> Result<String, CliError> {
        checked(&wanted.server_name)?;
        let scope = wanted.scope.as_ref().map(scope).transpose()?;
        let name = wanted.server_name.clone();
        let env = wanted.env.iter().map(|(key, value)| variable(key, value)).collect::<Result<_, _>>()?;
        let secrets = Wanted { env, git_token: None, runner: None };
        let sealer = Sealer::prepare(&self.context(), secrets).await?;
        let (source, sha256) = self.source(&wanted).await?;
        source.validate().map_err(|error| CliError::usage(text::line(&error.to_string())))?;
        let config = wire::DeployConfig { runtime: wanted.runtime, ..wire::DeployConfig::default() };
        let mut request = wire::Deploy {
            server_name: name.clone(),
            source,
            args: wanted.args,
            config,
            scope,
            strict: false,
            runner: None,
        };
        match sealer {
            Ok(sealer) => sealer.seal(&mut request, sha256.as_deref())?,
            Err(in_clear) => request.config.env = in_clear,
        }
        self.bring_up(&name, &request, "deployed", say).await
    }

    /// As a command has it.
    pub(super) fn context(&self) -> Context {
        Context { printer: self.printer, mesh: self.slug.clone() }
    }

    /// Where the program comes from: exactly one of them. With the SHA-256 of what was uploaded for it.
    async fn source(&self, wanted: &Deploy) -> Result<(Source, Option<String>), CliError> {
        let Deploy { npx_package, uvx_package, git_url, zip_path, file_id, subdirectory, .. } = wanted;
        let zip = |file_id| Source::Zip { file_id, subdirectory: subdirectory.clone(), build_command: Vec::new() };
        match (npx_package.clone(), uvx_package.clone(), git_url.clone(), zip_path, file_id.clone()) {
            (Some(package), None, None, None, None) => Ok((Source::Npx { package }, None)),
            (None, Some(package), None, None, None) => Ok((Source::Uvx { package, with: Vec::new() }, None)),
            (None, None, Some(url), None, None) => {
                let (branch, subdirectory) = (wanted.git_branch.clone(), subdirectory.clone());
                Ok((Source::Git { url, auth: None, branch, subdirectory, build_command: Vec::new() }, None))
            }
            (None, None, None, Some(path), None) => {
                let uploaded = upload::archive(&self.context(), path).await?;
                Ok((zip(uploaded.id), Some(uploaded.sha256)))
            }
            (None, None, None, None, Some(file_id)) => Ok((zip(file_id), None)),
            _ => Err(CliError::usage("name one source: npx_package, uvx_package, git_url, zip_path or file_id")),
        }
    }

    pub(super) async fn update(&self, Named { server_name }: Named, say: &Say) -> Result<String, CliError> {
        let request = McpUpdate { server_name: server_name.clone(), sealed: None };
        self.bring_up(&server_name, &request, "updated", say).await
    }

    /// Makes a request of which a service comes up, tells how far it is, and what became of it.
    async fn bring_up<R: Request<Reply = DeployStatus>>(
        &self,
        name: &str,
        request: &R,
        done: &str,
        say: &Say,
    ) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let mut replies = mesh.client.start_request(request).await?;
        let (deadline, mut step) = (Deadline::after(COMES_UP), 0);
        loop {
            let status = replies.next(deadline).await?;
            match status.status.raw() {
                "running" => return Ok(came_up(name, done, &status)),
                "failed" | "crashed" | "stopped" => return Err(failure(name, &status)),
                _ => {
                    let line = status.progress.as_ref().map(Foreign::line).unwrap_or_default();
                    say.words(&mut step, format!("{}: {line}", status.status.line())).await;
                }
            }
        }
    }

    pub(super) async fn undeploy(&self, Named { server_name }: Named, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let request = wire::Undeploy { server_name: server_name.clone() };
        mesh.client.request(&request, COMES_UP).await?;
        Ok(format!("Service \"{}\" undeployed.", text::line(&server_name)))
    }

    pub(super) async fn logs(&self, wanted: LogsOf, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let lines = wanted.lines.unwrap_or(DEFAULT_LINES).clamp(1, MAX_LINES);
        let name = text::line(&wanted.server_name);
        let request = wire::Logs { server_name: wanted.server_name, lines, after: None };
        let log = mesh.client.request(&request, ANSWER_TIMEOUT).await?;
        if log.lines.is_empty() {
            return Ok(format!("No logs for \"{name}\"."));
        }
        let lines = log.lines.iter().map(|line| format!("  {}", line.line()));
        let heading = format!("Log of service \"{name}\", its own words:");
        Ok(std::iter::once(heading).chain(lines).collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn scope(&self, wanted: ScopeOf, say: &Say) -> Result<String, CliError> {
        let wanted_scope = wanted.scope.filter(|scope| !scope.is_null());
        let changes = wanted_scope.is_some();
        let scope = wanted_scope.as_ref().map(scope).transpose()?;
        let mesh = self.mesh(say).await?;
        let name = text::line(&wanted.server_name);
        let request = McpScope { server_name: wanted.server_name, scope, strict: false };
        let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await?;
        let now = serde_json::to_value(&answer.scope).map_err(|error| CliError::failed(error.to_string()))?;
        let now = text::line(&now.to_string());
        let open =
            if answer.guards == Some(false) { "\nAnybody may join that group, so it keeps nobody out." } else { "" };
        Ok(if changes {
            format!("Scope updated to: {now}{open}")
        } else {
            format!("Scope of \"{name}\": {now}, deployed by {}{open}", text::line(&answer.deployed_by))
        })
    }

    pub(super) async fn schema(&self, wanted: SchemaOf, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let name = text::line(&wanted.server_name);
        let request = wire::Schema { server_name: wanted.server_name, tool_name: wanted.tool_name };
        let tools = mesh.client.request(&request, ANSWER_TIMEOUT).await?.tools;
        let tools = tools.iter().map(|tool| {
            let described = tool.description.as_ref().map(Foreign::line).unwrap_or_default();
            let schema = tool.rest.get("inputSchema").map(|schema| text::line(&schema.to_string())).unwrap_or_default();
            format!("  {}: {described}\n    {schema}", tool.name.line())
        });
        let heading = format!("Tools of service \"{name}\", in its own words:");
        Ok(std::iter::once(heading).chain(tools).collect::<Vec<_>>().join("\n"))
    }

    pub(super) async fn catalog(&self, say: &Say) -> Result<String, CliError> {
        let mesh = self.mesh(say).await?;
        let services = mesh.client.request(&wire::Catalog {}, ANSWER_TIMEOUT).await?.services;
        if services.is_empty() {
            return Ok("No services deployed in the mesh.".to_owned());
        }
        let lines = services.iter().map(|service| {
            let tools = service.tool_count;
            let (name, status, by) = (service.name.line(), service.status.line(), service.deployed_by.line());
            let scope = text::line(&service.scope.to_string());
            format!("{name} · {status} · {tools} tools · {} · scope {scope} · by {by}", service.source_type.line())
        });
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A name that a service may have.
pub(super) fn checked(name: &str) -> Result<(), CliError> {
    protocol::validate::service_name(name).map_err(|rule| CliError::usage(rule.to_string()))
}

/// As the wire has it, or in the words of the command line: `group:eng`.
fn scope(wanted: &Value) -> Result<Scope, CliError> {
    match wanted {
        Value::String(words) => values::scope(words).map_err(CliError::usage),
        other => serde_json::from_value(other.clone())
            .map_err(|error| CliError::usage(format!("`scope`: {}", text::line(&error.to_string())))),
    }
}

fn came_up(name: &str, done: &str, status: &DeployStatus) -> String {
    let tools: Vec<_> = status.tools.iter().flatten().map(|tool| tool.name.line()).collect();
    format!("Service \"{name}\" {done} ({} tools): {}", tools.len(), tools.join(", "))
}

fn failure(name: &str, status: &DeployStatus) -> CliError {
    let reason = status.error.as_ref().map(|error| error.block()).unwrap_or_default();
    let mut words = format!("Service \"{}\" {}: {reason}", text::line(name), status.status.line());
    if !status.log.is_empty() {
        words.push_str("\nThe end of its log, its own words:");
    }
    for line in status.log.iter().skip(status.log.len().saturating_sub(LOG_LINES)) {
        words.push_str(&format!("\n  {}", line.line()));
    }
    CliError::failed(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    #[test]
    fn scopes_of_both_forms() {
        assert_eq!(scope(&json!("mesh")).unwrap(), Scope::Mesh);
        assert_eq!(scope(&json!("group:eng")).unwrap(), Scope::Group("eng".into()));
        assert_eq!(scope(&json!({"groups": ["a", "b"]})).unwrap(), Scope::Groups(vec!["a".into(), "b".into()]));
        assert!(scope(&json!({"everybody": 1})).is_err() && scope(&json!(3)).is_err());
    }
}
