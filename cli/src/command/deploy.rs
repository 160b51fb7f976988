//! `deploy`: says what to run, shows how it comes up, ends with its tools or with the reason why not.
//!
//! `--json`: `{"name", "status": "running", "tools": [...]}`, or `{"name", "status": "failed", "error", "log": [...]}` with
//! exit 1. With `--no-wait` the document is `{"name", "status"}` with the first status the broker gave.

use std::path::{Path, PathBuf};
use std::time::Duration;

use broker::config::read_secret_file;
use clap::{ArgGroup, Args};
use protocol::SecretString;
use protocol::link::{Runtime, Source};
use protocol::wire::Scope;
use serde_json::{Value, json};

use super::{Context, values};
use crate::client::{Client, ClientError, Deadline, Replies};
use crate::error::CliError;
use crate::output::progress::Progress;
use crate::output::table;
use crate::sealing::{Sealer, Wanted};
use crate::text;
use crate::upload;
use crate::wire::{self, DeployStatus, Policy, Request, Tool};

/// How long a deploy may take unless told otherwise: the broker's own limits (20 builds in the queue, 10 minutes to
/// build, one to start) end it earlier, with a better reason.
pub(super) const DEFAULT_TIMEOUT: &str = "15m";

/// What is shown until the broker says more.
const TAKEN: &str = "taken by the broker";

/// How often the wheel turns while there is no news.
const TICK: Duration = Duration::from_millis(120);

/// How much of a tool's description goes into the table.
const DESCRIPTION_CHARS: usize = 72;

/// Log lines of a failure that are shown.
const LOG_LINES: usize = 20;

/// Where the token for a private repository is looked for.
const GIT_TOKEN: &str = "CLAUDEMESH_GIT_TOKEN";

/// Stands for the id of a file that is not uploaded yet.
const NOT_YET: &str = "not-yet";

/// The words of `deploy`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("program").required(true).args(["npx", "uvx", "git", "zip", "command"])))]
#[command(group(ArgGroup::new("files").args(["git", "zip"])))]
pub(crate) struct DeployArgs {
    /// What the service is called in the mesh
    #[arg(value_parser = super::service_name)]
    name: String,
    /// Run an npm package, such as @modelcontextprotocol/server-everything or pkg@1.2.3
    #[arg(long, value_name = "PACKAGE")]
    npx: Option<String>,
    /// Run a Python package, such as mcp-server-time
    #[arg(long, value_name = "PACKAGE")]
    uvx: Option<String>,
    /// Install this beside the package of --uvx, such as mcp[cli]; may be repeated
    #[arg(long, value_name = "PACKAGE", conflicts_with_all = ["npx", "git", "command"])]
    with: Vec<String>,
    /// Run a project of a repository: https://…, ssh://… or user@host:path
    #[arg(long, value_name = "URL")]
    git: Option<String>,
    /// Its branch or tag, or all digits of a commit; without it the default branch
    #[arg(long, value_name = "NAME", conflicts_with_all = ["npx", "uvx", "command", "zip"])]
    branch: Option<String>,
    /// The project's folder in the repository or the archive
    #[arg(long = "subdir", value_name = "DIR", conflicts_with_all = ["npx", "uvx", "command"])]
    subdirectory: Option<String>,
    /// Run this after its dependencies are installed, as in "npm run build"; no shell reads it, only quotes group words
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["npx", "uvx", "command"], value_parser = values::words)]
    build_command: Option<values::Words>,
    /// A file with the token for a private repository, instead of CLAUDEMESH_GIT_TOKEN
    #[arg(long, value_name = "FILE", conflicts_with_all = ["npx", "uvx", "command", "zip"])]
    git_token_file: Option<PathBuf>,
    /// Run a project of this machine: a .zip, or a folder (packed without .git and node_modules), which is uploaded
    #[arg(long, value_name = "PATH")]
    zip: Option<PathBuf>,
    /// What is to run it, where that is not clear: node, python or bun
    #[arg(long, value_name = "RUNTIME", conflicts_with = "command", value_parser = values::runtime)]
    runtime: Option<Runtime>,
    /// Run a program that is on the runner's machine: --command -- PROGRAM ARG…
    #[arg(long, requires = "argv")]
    command: bool,
    /// The program and its arguments, for --command
    #[arg(last = true, value_name = "ARGV", conflicts_with_all = ["npx", "uvx", "git", "zip"])]
    argv: Vec<String>,
    /// An argument for the server; may be repeated
    #[arg(long = "arg", value_name = "A", allow_hyphen_values = true, conflicts_with = "command")]
    args: Vec<String>,
    /// A variable of its environment: K=V, K=$vault:key, or K=$vault:key:file:/path for a file that K names; may be
    /// repeated. Only the runner can read the values
    #[arg(long, value_name = "K=V", value_parser = values::env_var)]
    env: Vec<values::EnvVar>,
    /// Who may use it: mesh, peer, group:G, groups:A,B, role:R, peers:X,Y
    #[arg(long, value_parser = values::scope)]
    scope: Option<Scope>,
    /// Refuse a scope that keeps nobody out, as an open group does
    #[arg(long)]
    strict: bool,
    /// The runner that is to hold it; without it the one with the fewest services
    #[arg(long, value_name = "RUNNER")]
    runner: Option<String>,
    /// Memory limit in MiB
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: Option<u32>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    policy: Policy,
    /// Whether the source is uploaded.
    #[arg(skip)]
    uploads: bool,
}

/// The words of a verb that brings a service up and says no more than its name.
#[derive(Debug, Args)]
pub(crate) struct BringUpArgs {
    /// The service
    #[arg(value_parser = super::service_name)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
}

/// How long a person waits for a service to run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WaitArgs {
    /// How long to wait for it to run
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = DEFAULT_TIMEOUT)]
    timeout: Duration,
    /// Return as soon as the broker has taken it
    #[arg(long)]
    no_wait: bool,
}

/// Runs `deploy`.
pub(crate) async fn run(context: &Context, mut args: DeployArgs) -> Result<(), CliError> {
    let (wait, zip) = (args.wait, args.zip.take());
    args.uploads = zip.is_some();
    let env = distinct(std::mem::take(&mut args.env))?;
    let mut request = request(args)?;
    let git_token = match &request.source {
        Source::Git { auth, .. } => auth.clone(),
        _ => None,
    };
    let wanted = Wanted { env, git_token, runner: request.runner.as_deref() };
    let sealer = Sealer::prepare(context, wanted).await?;
    // Everything else was found to be in order before anything is sent.
    let mut sha256 = None;
    if let (Some(path), Source::Zip { file_id, .. }) = (zip, &mut request.source) {
        let uploaded = upload::archive(context, &path).await?;
        *file_id = uploaded.id;
        sha256 = Some(uploaded.sha256);
    }
    match sealer {
        Ok(sealer) => sealer.seal(&mut request, sha256.as_deref())?,
        Err(in_clear) => request.config.env = in_clear,
    }
    let name = request.server_name.clone();
    bring_up(context, &name, &request, wait).await
}

/// Makes a request of which a service comes up, shows the way, and ends with its tools or with the reason why not.
pub(super) async fn bring_up<R: Request<Reply = DeployStatus>>(
    context: &Context,
    name: &str,
    request: &R,
    WaitArgs { timeout, no_wait }: WaitArgs,
) -> Result<(), CliError> {
    let mut client = context.client().await?;
    let ended = follow(context, &mut client, request, Deadline::after(timeout), no_wait).await;
    client.close().await;
    let status = ended.map_err(|error| explain(error, name, timeout))?;
    report(context, name, &status)
}

/// The request that the words describe.
fn request(mut args: DeployArgs) -> Result<wire::Deploy, CliError> {
    let source = source(&mut args)?;
    source.validate().map_err(|error| CliError::usage(text::line(&error.to_string())))?;
    if args.runtime.is_some_and(|runtime| !source.runs_on(runtime)) {
        return Err(CliError::usage(format!("--runtime does not fit --{}", source.kind())));
    }
    args.policy.check().map_err(CliError::usage)?;
    let config = wire::DeployConfig {
        memory_mb: args.memory_mb,
        runtime: args.runtime,
        policy: args.policy,
        ..wire::DeployConfig::default()
    };
    Ok(wire::Deploy {
        server_name: args.name,
        source,
        args: args.args,
        config,
        scope: args.scope,
        strict: args.strict,
        runner: args.runner,
    })
}

/// Refuses a variable that is said twice.
fn distinct(env: Vec<values::EnvVar>) -> Result<Vec<values::EnvVar>, CliError> {
    let mut seen = std::collections::BTreeSet::new();
    match env.iter().find(|variable| !seen.insert(variable.key.as_str())) {
        Some(twice) => Err(CliError::usage(format!("--env {} is given twice", twice.key))),
        None => Ok(env),
    }
}

/// Where the program comes from; clap has seen to it that it is one of these.
fn source(args: &mut DeployArgs) -> Result<Source, CliError> {
    if let Some(package) = args.npx.take() {
        return Ok(Source::Npx { package });
    }
    if let Some(package) = args.uvx.take() {
        return Ok(Source::Uvx { package, with: std::mem::take(&mut args.with) });
    }
    if args.uploads {
        return Ok(Source::Zip {
            file_id: NOT_YET.to_owned(),
            subdirectory: args.subdirectory.take(),
            build_command: args.build_command.take().unwrap_or_default().0,
        });
    }
    let Some(url) = args.git.take() else {
        return Ok(Source::Command { argv: std::mem::take(&mut args.argv) });
    };
    Ok(Source::Git {
        auth: git_token(&url, args.git_token_file.as_deref())?,
        url,
        branch: args.branch.take(),
        subdirectory: args.subdirectory.take(),
        build_command: args.build_command.take().unwrap_or_default().0,
    })
}

/// The token for a repository: words can be seen by everybody on the machine, so it is none of them.
fn git_token(url: &str, file: Option<&Path>) -> Result<Option<SecretString>, CliError> {
    match file {
        Some(path) => match read_secret_file(path).map_err(|error| CliError::usage(text::line(&error.to_string())))? {
            Some(token) => Ok(Some(token)),
            None => Err(CliError::usage(format!("{} does not exist", path.display()))),
        },
        // A token that lies around in the environment goes with no address that could not use it.
        None => Ok(std::env::var(GIT_TOKEN)
            .ok()
            .filter(|token| !token.is_empty() && url.starts_with("https://"))
            .map(SecretString::from)),
    }
}

/// Shows the way up; returns the status it ended with, or the first one if nobody waits.
pub(super) async fn follow<R: Request<Reply = DeployStatus>>(
    context: &Context,
    client: &mut Client,
    request: &R,
    deadline: Deadline,
    no_wait: bool,
) -> Result<DeployStatus, ClientError> {
    let mut replies = client.start_request(request).await?;
    let mut progress = context.printer.progress();
    loop {
        let status = next(&mut replies, &mut progress, deadline).await?;
        if no_wait || is_final(&status) {
            return Ok(status);
        }
        let detail = status.progress.as_ref().map(|line| line.line()).filter(|line| !line.is_empty());
        let silent = if status.status.raw() == "building" { TAKEN } else { "" };
        progress.update(&status.status.line(), &detail.unwrap_or_else(|| silent.to_owned()));
    }
}

/// The next status; the wheel turns meanwhile.
async fn next<R: Request<Reply = DeployStatus>>(
    replies: &mut Replies<R>,
    progress: &mut Progress,
    deadline: Deadline,
) -> Result<DeployStatus, ClientError> {
    let mut ticks = tokio::time::interval(TICK);
    // Created once: an answer that is half taken is not lost when the wheel turns.
    let answer = replies.next(deadline);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            _ = ticks.tick() => progress.tick(),
        }
    }
}

/// Whether nothing follows this status.
fn is_final(status: &DeployStatus) -> bool {
    matches!(status.status.raw(), "running" | "failed" | "stopped" | "crashed")
}

/// What an error means when a deploy was under way.
pub(super) fn explain(error: ClientError, name: &str, timeout: Duration) -> CliError {
    let error = match error {
        ClientError::TimedOut { .. } => {
            CliError::timed_out(format!("{name} is not running after {} s", timeout.as_secs_f64()))
        }
        ClientError::Lost(_) => CliError::from(error),
        other => return CliError::from(other),
    };
    error.hint(format!("the deploy may still succeed: claudemesh catalog, claudemesh logs {name}"))
}

fn report(context: &Context, name: &str, status: &DeployStatus) -> Result<(), CliError> {
    let state = status.status.line();
    match status.status.raw() {
        "failed" | "crashed" | "stopped" => Err(failure(context, name, status)),
        "running" => {
            let tools = status.tools.as_deref().unwrap_or_default();
            let document = json!({"name": name, "status": state, "tools": tools});
            context.printer.confirm(&document, |style| {
                format!("{name} is {}, {}", style.green("running"), tools_table(style, tools))
            })
        }
        _ => {
            let document = json!({"name": name, "status": state});
            context.printer.confirm(&document, |style| format!("{name}: {}", style.state(&state, &state)))
        }
    }
}

fn tools_table(style: crate::output::Style, tools: &[Tool]) -> String {
    let count = match tools.len() {
        0 => return "no tools".to_owned(),
        1 => "1 tool".to_owned(),
        many => format!("{many} tools"),
    };
    let rows = tools.iter().map(|tool| {
        let description = tool.description.as_ref().map(|text| text.line()).unwrap_or_default();
        vec![tool.name.line(), shorten(&description)]
    });
    let table = table::render(style, &["tool", "description"], rows.collect());
    format!("{count}:\n{table}")
}

/// The first sentence or so.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(DESCRIPTION_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
    }
}

/// Whether it runs; else the reason in one line.
pub(super) fn ended(name: &str, status: &DeployStatus) -> Result<(), CliError> {
    match status.status.raw() {
        "running" => Ok(()),
        _ => Err(CliError::failed(status.error.as_ref().map_or_else(
            || format!("{} is {}", text::line(name), status.status.line()),
            |error| text::line(error.block().lines().next().unwrap_or_default()),
        ))),
    }
}

/// The reason and the last lines. The log may come as lines of its own, or behind the reason's first line.
fn failure(context: &Context, name: &str, status: &DeployStatus) -> CliError {
    let text = status.error.as_ref().map(|error| error.block()).unwrap_or_default();
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let reason = lines.next().unwrap_or("no reason was given").to_owned();
    let log: Vec<String> = lines.map(str::to_owned).chain(status.log.iter().map(|line| line.line())).collect();
    for line in log.iter().skip(log.len().saturating_sub(LOG_LINES)) {
        context.printer.note(&format!("  | {line}"));
    }
    let document: Value = json!({
        "name": name, "status": status.status.line(), "error": reason, "log": log,
    });
    CliError::failed(format!("{name} {}: {reason}", status.status.line()))
        .hint(format!("claudemesh logs {name} shows all that it wrote"))
        .document(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_cut_at_a_letter() {
        assert_eq!(shorten("short"), "short");
        let long = "ü".repeat(DESCRIPTION_CHARS + 1);
        assert_eq!(shorten(&long), format!("{}…", "ü".repeat(DESCRIPTION_CHARS)));
        assert_eq!(shorten(&"ü".repeat(DESCRIPTION_CHARS)).chars().count(), DESCRIPTION_CHARS);
    }
}
