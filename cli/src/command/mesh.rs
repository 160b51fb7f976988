//! `mesh`: `create` makes one, `list` shows those in `config.json`, `info` one in figures, `require-proofs` and
//! `plain-env` settings of it.
//!
//! `--json`: `create` `{"meshId", "slug", "memberId", "brokerUrl"}`; `list` `{"meshes": [...]}` without keys; `info` as the
//! broker gives it; `require-proofs` `{"requireProofs"}`; `plain-env` `{"plainEnv"}`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use protocol::config::MeshEntry;
use protocol::identity::{MemberKey, SigningKey};
use protocol::trust::{MemberCert, Role};
use protocol::wire::{MeshInfoResult, MeshSet};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::endpoint::{DEFAULT_BROKER_URL, Endpoint};
use crate::error::CliError;
use crate::operator::Operator;
use crate::output::table;
use crate::profile::{OwnerKey, Profile};
use crate::text;
use crate::wire::mesh::MeshInfo;

/// The first statement about the member that makes a mesh.
const FIRST_SERIAL: u64 = 1;

/// The words of `mesh`.
#[derive(Debug, Args)]
pub(crate) struct MeshArgs {
    #[command(subcommand)]
    command: MeshCommand,
}

#[derive(Debug, Subcommand)]
enum MeshCommand {
    /// Make a mesh and become its owner; needs the broker's operator token
    Create(CreateArgs),
    /// List the meshes you belong to
    List,
    /// Show the mesh in figures
    Info,
    /// Whether deploys may bring their secrets in clear, so that the broker sees them, as old clients' do
    PlainEnv {
        /// on or off
        state: PlainEnv,
    },
    /// Whether sessions for which nobody vouches are turned away, old clients' among them
    RequireProofs {
        /// on or off
        state: Switch,
    },
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What `--mesh` takes: lower-case letters, digits, - and _
    #[arg(value_parser = slug)]
    slug: String,
    /// What the mesh is called; without it as its slug
    #[arg(long)]
    name: Option<String>,
    /// The broker, such as ws://host:7900/ws
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// The broker's data directory on this machine, where the operator token lies
    #[arg(long, value_name = "DIR", env = "CLAUDEMESH_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    /// Turned away
    On,
    /// Let in
    Off,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlainEnv {
    /// Taken, and marked in the catalog
    On,
    /// Refused
    Off,
}

fn slug(slug: &str) -> Result<String, String> {
    protocol::validate::slug(slug).map(|()| slug.to_owned()).map_err(|rule| rule.to_string())
}

/// Runs `mesh`.
pub(crate) async fn run(context: &Context, args: MeshArgs) -> Result<(), CliError> {
    match args.command {
        MeshCommand::Create(args) => create(context, args).await,
        MeshCommand::List => list(context),
        MeshCommand::Info => info(context).await,
        MeshCommand::PlainEnv { state } => plain_env(context, state).await,
        MeshCommand::RequireProofs { state } => require_proofs(context, state).await,
    }
}

/// A key pair of its own.
pub(super) fn new_key() -> SigningKey {
    SigningKey::from_seed(&Zeroizing::new(rand::random()))
}

/// Says so when a mesh of this slug is known already: `--mesh` could not tell them apart.
pub(super) fn slug_is_free(meshes: &[MeshEntry], slug: &str, mesh_id: &str) -> Result<(), CliError> {
    if meshes.iter().any(|mesh| mesh.slug == slug && mesh.mesh_id != mesh_id) {
        return Err(CliError::failed(format!("you belong to another mesh called `{}` already", text::line(slug)))
            .hint("leave that one first (claudemesh leave), or use another CLAUDEMESH_CONFIG_DIR"));
    }
    Ok(())
}

/// A name to show to others.
pub(super) fn display_name(chosen: Option<String>) -> Result<String, CliError> {
    let environment = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = chosen.or(environment).unwrap_or_else(|| "somebody".to_owned());
    protocol::validate::display_name(&name).map_err(|rule| CliError::usage(rule.to_string()))
}

async fn create(context: &Context, args: CreateArgs) -> Result<(), CliError> {
    let profile = Profile::from_environment()?;
    let (meshes, display) = profile.meshes()?;
    let (mesh_id, owner, member) = (uuid::Uuid::now_v7().to_string(), new_key(), new_key());
    slug_is_free(&meshes, &args.slug, &mesh_id)?;
    let broker_url = match args.broker {
        Some(url) => url,
        None if meshes.is_empty() => DEFAULT_BROKER_URL.to_owned(),
        None => profile.membership(context.mesh.as_deref())?.mesh.broker_url,
    };
    let operator = Operator::new(Endpoint::parse(&broker_url)?, args.data_dir.as_deref())?;
    let certificate = MemberCert::signed(&mesh_id, member.public(), Role::Owner, FIRST_SERIAL, &owner)
        .map_err(|error| CliError::failed(error.to_string()))?;
    let name = args.name.unwrap_or_else(|| args.slug.clone());
    let display_name = display_name(display)?;
    // The keys first: no crash may leave a mesh without its owner.
    profile.keep_owner(&OwnerKey { mesh_id: mesh_id.clone(), slug: args.slug.clone(), secret_key: owner.to_hex() })?;
    let request = json!({
        "meshId": mesh_id, "slug": args.slug, "name": name, "ownerPubkey": owner.public(),
        "memberPubkey": member.public(), "displayName": display_name, "certificate": certificate,
    });
    let answer = operator.post("meshes", &request).await?;
    let entry = MeshEntry {
        member_id: member_id(&answer)?,
        mesh_id,
        slug: args.slug,
        name,
        pubkey: member.public().to_string(),
        secret_key: member.to_hex(),
        broker_url,
        joined_at: jiff::Timestamp::now().to_string(),
        owner_pubkey: Some(owner.public()),
        extra: serde_json::Map::new(),
    };
    profile.remember(&entry)?;
    context.printer.confirm(&document(&entry), |_| {
        format!(
            "Mesh `{}` is made, and you are its owner.\nThe owner's key is in {}: keep a copy of it elsewhere.",
            entry.slug,
            profile.directory().join("owners").display()
        )
    })
}

/// The member that the broker has made.
pub(super) fn member_id(answer: &Value) -> Result<String, CliError> {
    answer["memberId"].as_str().map(str::to_owned).ok_or_else(|| {
        CliError::failed("the broker's answer names no member").hint("compare versions: claudemesh version")
    })
}

/// An entry without its key.
pub(super) fn document(entry: &MeshEntry) -> Value {
    json!({
        "meshId": entry.mesh_id, "slug": entry.slug, "name": entry.name, "memberId": entry.member_id,
        "pubkey": entry.pubkey, "brokerUrl": entry.broker_url, "joinedAt": entry.joined_at,
        "ownerPubkey": entry.owner_pubkey,
    })
}

fn list(context: &Context) -> Result<(), CliError> {
    let profile = Profile::from_environment()?;
    let (meshes, _) = profile.meshes()?;
    let documents: Vec<_> = meshes.iter().map(document).collect();
    context.printer.result(&json!({ "meshes": documents }), |style| {
        if meshes.is_empty() {
            return "You belong to no mesh.".to_owned();
        }
        let rows = meshes.iter().map(|mesh| {
            let owns = matches!(profile.owner_key(mesh), Ok(Some(_))) && mesh.owner_pubkey.is_some();
            let yours = if owns { "yes" } else { table::NOTHING };
            [&mesh.slug, &mesh.name, &mesh.broker_url, yours].map(text::line).to_vec()
        });
        table::render(style, &["slug", "name", "broker", "owner's key"], rows.collect())
    })
}

async fn info(context: &Context) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let answer = mesh.client.request(&MeshInfo {}, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer?;
    context.printer.result(&answer, |_| figures(&answer))
}

fn figures(info: &MeshInfoResult) -> String {
    let groups = if info.groups.is_empty() { table::NOTHING.to_owned() } else { text::line(&info.groups.join(", ")) };
    let proofs = if info.require_proofs { "required of every session" } else { "not required" };
    [
        ("mesh", text::line(&info.mesh)),
        ("you", text::line(&info.your_name)),
        ("sessions", info.peers.to_string()),
        ("members", info.members.to_string()),
        ("groups", groups),
        ("proofs", proofs.to_owned()),
        ("secrets", if info.plain_env_off { "refused in clear" } else { "taken in clear as well" }.to_owned()),
        ("waiting", format!("{} messages", info.queued)),
        ("kept for", crate::output::age::duration(info.message_ttl_s.saturating_mul(1_000))),
    ]
    .map(|(what, value)| format!("{what:<9} {value}"))
    .join("\n")
}

async fn require_proofs(context: &Context, state: Switch) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let request = MeshSet { require_proofs: Some(state == Switch::On), ..MeshSet::default() };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer?;
    context.printer.confirm(&answer, |_| match answer.require_proofs {
        true => "Sessions for which nobody vouches are turned away.".to_owned(),
        false => "Sessions for which nobody vouches are let in, and shown as unverified.".to_owned(),
    })
}

async fn plain_env(context: &Context, state: PlainEnv) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let request = MeshSet { plain_env: Some(state == PlainEnv::On), ..MeshSet::default() };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await;
    mesh.close().await;
    let answer = answer?;
    context.printer.confirm(&json!({ "plainEnv": answer.plain_env }), |_| match answer.plain_env {
        true => "Deploys may bring secrets in clear; the catalog says of which services the broker has seen them."
            .to_owned(),
        false => "Deploys that bring secrets in clear are refused.".to_owned(),
    })
}

/// A member key is an owner's of the same form; the alias says which is meant.
pub(super) fn new_member_key() -> MemberKey {
    new_key()
}
