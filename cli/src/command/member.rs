//! `member`: who belongs to the mesh, who vouches for whom, and how one goes.
//!
//! What changes a member is a statement that is signed here and that the broker passes on: with the owner's key where it
//! is on this machine, else with one's own, which counts when one is an admin.
//!
//! `--json`: `list` `{"ownerPubkey", "members": [{"memberId", "pubkey", "name", "role"?, "standing", "reason"?, "joinedAt"}]}`;
//! the others `{"memberId", "pubkey", "name", …}`.

use clap::{Args, Subcommand, ValueEnum};
use protocol::identity::PublicKey;
use protocol::trust::{MemberCert, Removal, Role, RollEntry, Standing};
use protocol::wire::{MemberEntry, MemberRemove, MemberSet};
use serde_json::{Value, json};

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes, Trusted};
use crate::error::CliError;
use crate::mail::{find_member, label};
use crate::output::{age, table};
use crate::profile::Pin;
use crate::text;

/// The words of `member`.
#[derive(Debug, Args)]
pub(crate) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// List the members, and whether somebody vouches for them
    List {
        /// Those that are gone too
        #[arg(long)]
        all: bool,
    },
    /// Put a member out: its sessions close, its services stop
    Remove {
        /// A name, a name with its key as the list shows it, or a key
        name: String,
    },
    /// Give a member another role; only the owner makes admins
    Role {
        /// A name, a name with its key as the list shows it, or a key
        name: String,
        /// The role
        role: RoleWord,
    },
    /// Vouch for somebody who joined by a plain link; compare the key with theirs first
    Attest {
        /// A name, a name with its key as the list shows it, or a key
        name: String,
    },
}

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleWord {
    /// Uses and deploys services
    Member,
    /// Also manages members, groups and services
    Admin,
    /// Also makes admins and invites
    Owner,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Member => Self::Member,
            RoleWord::Admin => Self::Admin,
            RoleWord::Owner => Self::Owner,
        }
    }
}

/// Runs `member`.
pub(crate) async fn run(context: &Context, args: MemberArgs) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let trusted = mesh.trusted().await?;
    let done = match args.command {
        MemberCommand::List { all } => list(context, &trusted, all),
        MemberCommand::Remove { name } => remove(context, &mut mesh, &trusted, &name).await,
        MemberCommand::Role { name, role } => set(context, &mut mesh, &trusted, &name, role.into()).await,
        MemberCommand::Attest { name } => set(context, &mut mesh, &trusted, &name, Role::Member).await,
    };
    mesh.close().await;
    done
}

fn list(context: &Context, trusted: &Trusted, all: bool) -> Result<(), CliError> {
    let entries: Vec<_> = trusted.roll.members().filter(|e| all || e.standing != Standing::Removed).collect();
    let documents: Vec<_> = entries.iter().map(|entry| document(entry, trusted)).collect();
    context.printer.result(&json!({ "ownerPubkey": trusted.roll.owner(), "members": documents }), |style| {
        let now_ms = age::now_ms();
        let rows = entries.iter().map(|entry| {
            let since = joined_at(entry, trusted).and_then(age::parse_iso);
            let (word, why) = standing(entry.standing);
            vec![
                label(&entry.name, &entry.pubkey),
                role_of(entry).map_or(table::NOTHING.to_owned(), |role| role.to_string()),
                why.map_or_else(|| word.to_owned(), |why| format!("{word}: {why}")),
                since.map_or(table::NOTHING.to_owned(), |then| age::since(now_ms, then)),
            ]
        });
        table::render(style, &["member", "role", "standing", "since"], rows.collect())
    })
}

fn joined_at<'a>(entry: &RollEntry, trusted: &'a Trusted) -> Option<&'a str> {
    trusted.list.members.iter().find(|told| told.pubkey == entry.pubkey).map(|told| told.joined_at.as_str())
}

fn role_of(entry: &RollEntry) -> Option<Role> {
    match entry.standing {
        Standing::Verified(role) => Some(role),
        _ => None,
    }
}

fn standing(standing: Standing) -> (&'static str, Option<String>) {
    match standing {
        Standing::Verified(_) => ("verified", None),
        Standing::Unattested => ("unattested", None),
        Standing::Unverified(doubt) => ("unverified", Some(doubt.to_string())),
        Standing::Removed => ("removed", None),
    }
}

fn document(entry: &RollEntry, trusted: &Trusted) -> Value {
    let (word, reason) = standing(entry.standing);
    json!({
        "memberId": entry.member_id, "pubkey": entry.pubkey, "name": entry.name, "role": role_of(entry),
        "standing": word, "reason": reason, "joinedAt": joined_at(entry, trusted),
    })
}

async fn remove(context: &Context, mesh: &mut Mesh, trusted: &Trusted, name: &str) -> Result<(), CliError> {
    let entry = find_member(name, trusted)?;
    let serial = mesh.file.read()?.next_serial(&Pin::Member(entry.pubkey), told_serial(trusted, entry.pubkey));
    let removal = Removal::sign(mesh.id(), entry.pubkey, serial, &mesh.issuer()?)
        .map_err(|error| CliError::failed(error.to_string()))?;
    trusted.roll.check_removal(entry.pubkey, &removal).map_err(|_| not_allowed("put this member out"))?;
    let request = MemberRemove { member_id: entry.member_id.clone(), removal };
    let answer = mesh.client.request(&request, ANSWER_TIMEOUT).await?;
    let shown = label(&entry.name, &entry.pubkey);
    let document = json!({
        "memberId": entry.member_id, "pubkey": entry.pubkey, "name": entry.name, "stopped": answer.stopped,
    });
    context.printer.confirm(&document, |_| {
        let services: Vec<_> = answer.stopped.iter().map(|name| text::line(name)).collect();
        match services.is_empty() {
            true => format!("{shown} is no member any more."),
            false => format!("{shown} is no member any more. Stopped: {}.", services.join(", ")),
        }
    })
}

async fn set(context: &Context, mesh: &mut Mesh, trusted: &Trusted, name: &str, role: Role) -> Result<(), CliError> {
    let entry = find_member(name, trusted)?;
    if entry.standing == Standing::Verified(Role::Owner) && entry.pubkey == trusted.roll.owner() {
        return Err(CliError::refused("the owner's own key needs nobody's word, and keeps its role"));
    }
    let serial = mesh.file.read()?.next_serial(&Pin::Member(entry.pubkey), told_serial(trusted, entry.pubkey));
    let certificate = MemberCert::signed(mesh.id(), entry.pubkey, role, serial, &mesh.issuer()?)
        .map_err(|error| CliError::failed(error.to_string()))?;
    trusted
        .roll
        .check_certificate(entry.pubkey, &certificate)
        .map_err(|_| not_allowed(&format!("vouch for somebody as {role}")))?;
    let request = MemberSet { member_id: entry.member_id.clone(), certificate };
    mesh.client.request(&request, ANSWER_TIMEOUT).await?;
    let document = json!({ "memberId": entry.member_id, "pubkey": entry.pubkey, "name": entry.name, "role": role });
    context.printer.confirm(&document, |_| {
        format!("{} is a verified {role} now. Its key: {}", label(&entry.name, &entry.pubkey), entry.pubkey)
    })
}

/// The highest serial that the broker has of a member. Statements that do not count have one too, and it compares with all.
pub(super) fn told_serial(trusted: &Trusted, member: PublicKey) -> u64 {
    let told = trusted.list.members.iter().filter(|entry| entry.pubkey == member);
    let serials = |entry: &MemberEntry| {
        let certificate = entry.certificate.as_ref().map(MemberCert::serial);
        certificate.max(entry.removal.as_ref().map(|removal| removal.serial))
    };
    told.filter_map(serials).max().unwrap_or(0)
}

/// Said before the broker is asked: others would not believe the statement.
pub(super) fn not_allowed(what: &str) -> CliError {
    CliError::refused(format!("you may not {what}")).hint("an admin may, for plain members; for others the owner")
}
