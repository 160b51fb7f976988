//! `vault rotate`: an entry gets a new value, and with `--restart` so do the services that have it.
//!
//! Contract: the entry stays what it was, a variable's text or a file, with its path and its remark. Each service's box is
//! opened, its variables that have the entry get the new value, and it is sealed again for those of its runners that are
//! accepted and connected: nobody else can open it now who could not before. One service after another, the old process of
//! each serving until the new one is ready. What fails leaves the old one, and the others go on.
//!
//! `--json`: `{"key", "version", "services": [{"service", "outcome": "older"|"renewed"|"stopped"|"failed", "error"?}]}`.

use std::time::Duration;

use clap::Args;
use protocol::sealed::{Opened, SealedConfig};
use protocol::vault::Authenticity;
use protocol::wire::{EntryType, McpUpdate, VaultEntry};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{fetch, key, value};
use crate::client::{ANSWER_TIMEOUT, ClientError, Deadline, Mesh, Pushes};
use crate::command::{Context, deploy, values};
use crate::error::CliError;
use crate::output::table;
use crate::sealing;
use crate::text;
use crate::vault::{New, boxes, give_again, keep, uses};
use crate::wire::{Catalog, DeployStatus};

/// What the broker says when a member has had its deploys of this minute.
const LIMIT: &str = "limit";
/// How long that is waited for: a minute, and a little.
const PACE_WAIT: Duration = Duration::from_secs(75);
/// How often it is asked again meanwhile.
const PACE_PAUSE: Duration = Duration::from_secs(5);

/// The words of `vault rotate`.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// The entry's key
    #[arg(value_parser = key)]
    key: String,
    /// The new value; `-` reads standard input, nothing asks for it. For a file: its path, or `-`
    #[arg(value_name = "VALUE-OR-FILE")]
    value: Option<value::Given>,
    /// Give it to the services that use the entry, one after another
    #[arg(long)]
    restart: bool,
    /// How long to wait for each service to run with it
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = deploy::DEFAULT_TIMEOUT)]
    timeout: Duration,
}

/// A service that has the entry.
struct User {
    service: String,
    /// Which keys opened its box.
    kids: Vec<String>,
    opened: Opened,
}

/// What became of one.
enum Outcome {
    /// It has the old value.
    Older,
    /// It runs with the new one.
    Renewed,
    /// It does not run, and was left alone.
    Stopped,
    /// It has the old value, and why.
    Failed(String),
}

impl Outcome {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Older => "older",
            Self::Renewed => "renewed",
            Self::Stopped => "stopped",
            Self::Failed(_) => "failed",
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Older => "older than the vault".to_owned(),
            Self::Renewed => "runs with the new value".to_owned(),
            Self::Stopped => "is stopped: older than the vault, and left alone".to_owned(),
            Self::Failed(why) => format!("failed, older than the vault: {why}"),
        }
    }
}

/// Runs `vault rotate`.
pub(super) async fn run(context: &Context, args: RotateArgs) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let kept = fetch(&mut mesh, &args.key).await;
    // A person may take long to type: no connection waits for that.
    mesh.close().await;
    let (kept, opened) = kept?;
    if opened.authenticity == Authenticity::Unsigned {
        context.printer.warning("what was there is unsigned: the broker could have made it; the new value is signed");
    }
    drop(opened);
    let plain = value::read(args.value.clone(), kept.entry_type == EntryType::File, &context.printer)?;
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let done = rotate(context, &mut mesh, &args, &kept, &plain).await;
    mesh.close().await;
    let (version, outcomes) = done?;
    report(context, &args, version, &outcomes)
}

async fn rotate(
    context: &Context,
    mesh: &mut Mesh,
    args: &RotateArgs,
    kept: &VaultEntry,
    plain: &[u8],
) -> Result<(u64, Vec<(String, Outcome)>), CliError> {
    let new = New {
        key: &args.key,
        entry_type: kept.entry_type,
        mount_path: kept.mount_path.as_deref(),
        description: kept.description.as_deref(),
        plain,
    };
    let (_, version) = keep(mesh, new).await?;
    let users = users(context, mesh, &args.key).await?;
    let stopped = if args.restart && !users.is_empty() { stopped(mesh).await? } else { Vec::new() };
    let mut outcomes = Vec::new();
    for user in users {
        let service = user.service.clone();
        let outcome = if !args.restart {
            Outcome::Older
        } else if stopped.contains(&service) {
            Outcome::Stopped
        } else {
            match renew(context, mesh, args, user, plain).await {
                Ok(()) => Outcome::Renewed,
                Err(error) => Outcome::Failed(text::line(&error.message)),
            }
        };
        outcomes.push((service, outcome));
    }
    Ok((version, outcomes))
}

/// The services that have the entry, by what their boxes say.
async fn users(context: &Context, mesh: &Mesh, entry: &str) -> Result<Vec<User>, CliError> {
    let mut users = Vec::new();
    for one in boxes::own(mesh).await? {
        match one.opened {
            Ok(opened) if opened.contents.refs.values().any(|key| key == entry) => {
                users.push(User { service: one.service, kids: one.kids, opened });
            }
            Ok(_) => {}
            Err(error) => context.printer.warning(&format!(
                "what {} has is not known, since its secrets are not those that you sealed: {}; see claudemesh vault \
                 doctor",
                text::line(&one.service),
                text::line(&error.to_string())
            )),
        }
    }
    Ok(users)
}

/// The services that are stopped on purpose.
async fn stopped(mesh: &Mesh) -> Result<Vec<String>, CliError> {
    let catalog = mesh.client.request(&Catalog {}, ANSWER_TIMEOUT).await?;
    let stopped = catalog.services.iter().filter(|service| service.status.raw() == "stopped");
    Ok(stopped.map(|service| service.name.raw().to_owned()).collect())
}

/// Seals a service's box anew and waits until it runs with that.
async fn renew(
    context: &Context,
    mesh: &mut Mesh,
    args: &RotateArgs,
    user: User,
    plain: &[u8],
) -> Result<(), CliError> {
    let User { service, kids, opened } = user;
    let keys = uses::same_openers(sealing::allowed(context, mesh, None).await?, &kids);
    if keys.is_empty() {
        return Err(CliError::failed("no runner that it was sealed for is connected and accepted: deploy it again"));
    }
    let contents = uses::renewed(opened.contents, &args.key, plain).map_err(CliError::failed)?;
    let sealed = SealedConfig::seal(&opened.binding, &contents, &keys, &mesh.member, &mut rand::random)
        .map_err(|error| CliError::failed(text::line(&error.to_string())))?;
    drop(contents);
    let request = McpUpdate { server_name: service.clone(), sealed: Some(Box::new(sealed)) };
    context.printer.note(&format!("{}: the new value is on its way", text::line(&service)));
    let status = paced(context, mesh, &request, args.timeout).await;
    let status = status.map_err(|error| deploy::explain(error, &text::line(&service), args.timeout))?;
    deploy::ended(&service, &status)
}

/// Makes the request, again while the member has had its deploys of this minute.
async fn paced(
    context: &Context,
    mesh: &mut Mesh,
    request: &McpUpdate,
    timeout: Duration,
) -> Result<DeployStatus, ClientError> {
    let patience = Instant::now() + PACE_WAIT;
    loop {
        match deploy::follow(context, &mut mesh.client, request, Deadline::after(timeout), false).await {
            Err(ClientError::Refused { code, message }) if code == LIMIT && Instant::now() < patience => {
                context.printer.note(&format!("waiting: {}", text::line(&message)));
                tokio::time::sleep(PACE_PAUSE).await;
            }
            done => return done,
        }
    }
}

fn report(context: &Context, args: &RotateArgs, version: u64, outcomes: &[(String, Outcome)]) -> Result<(), CliError> {
    let key = text::line(&args.key);
    let services: Vec<Value> = outcomes.iter().map(document).collect();
    let document = json!({ "key": args.key, "version": version, "services": services });
    context.printer.confirm(&document, |style| {
        let mut text = format!("`{key}` has its new value.");
        if outcomes.is_empty() {
            return text + " None of your services uses it.";
        }
        let rows = outcomes.iter().map(|(service, outcome)| vec![text::line(service), outcome.shown()]);
        text.push('\n');
        text.push_str(&table::render(style, &["service", "what it has"], rows.collect()));
        text
    })?;
    let again = give_again(&args.key);
    let named = |wanted: fn(&Outcome) -> bool| {
        let names = outcomes.iter().filter(|(_, outcome)| wanted(outcome)).map(|(service, _)| text::line(service));
        names.collect::<Vec<_>>().join(", ")
    };
    let older = named(|outcome| matches!(outcome, Outcome::Older | Outcome::Stopped));
    if !older.is_empty() {
        context.printer.note(&format!("{older}: still with the old value; to give them the new one: {again}"));
    }
    let failed = named(|outcome| matches!(outcome, Outcome::Failed(_)));
    if failed.is_empty() {
        return Ok(());
    }
    let error = CliError::failed(format!("still with the old value: {failed}"));
    Err(error.hint(format!("when the reason is gone: {again}")).already_documented())
}

fn document((service, outcome): &(String, Outcome)) -> Value {
    let mut document = json!({ "service": service, "outcome": outcome.as_str() });
    if let (Outcome::Failed(why), Some(fields)) = (outcome, document.as_object_mut()) {
        fields.insert("error".to_owned(), why.as_str().into());
    }
    document
}
