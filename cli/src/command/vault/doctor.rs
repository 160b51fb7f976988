//! `vault doctor`: which services use which entries, and what is wrong with either. Exit 0 if nothing is, else 1.
//!
//! `--json`: `{"healthy": bool, "entries": [{"key", "type", "version"?, "signed", "uses": [{"service", "variable",
//! "held": "current"|"older"|"unknown"}]}], "findings": [{"kind", "about", "found", "remedy"}]}`. `kind` is `older`, `missing`,
//! `key_gone`, `unsigned`, `refused` or `not_yours`.

use protocol::identity::X25519Secret;
use protocol::sealed::kid;
use protocol::wire::VaultListing;
use serde_json::{Value, json};

use super::look;
use crate::client::{ANSWER_TIMEOUT, Mesh, Pushes};
use crate::command::Context;
use crate::error::CliError;
use crate::output::{Style, table};
use crate::profile::Profile;
use crate::sealing::{self, CAPABILITY, KeyState};
use crate::text;
use crate::vault::boxes::{self, OwnBox};
use crate::vault::findings::{self, Entry, Finding, Standing};
use crate::wire::RunnerKeys;

/// What was looked at, and what is wrong.
struct Looked {
    entries: Vec<(VaultListing, Entry)>,
    findings: Vec<Finding>,
    away: Vec<String>,
}

/// Runs `vault doctor`.
pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let mut mesh = context.mesh(Pushes::Dropped).await?;
    let looked = look_at(&mut mesh).await;
    mesh.close().await;
    let looked = looked?;
    for note in &looked.away {
        context.printer.note(note);
    }
    let findings = &looked.findings;
    let entries: Vec<Value> = looked.entries.iter().map(document).collect();
    let document = json!({ "healthy": findings.is_empty(), "entries": entries, "findings": findings });
    context.printer.result(&document, |style| shown(style, &looked))?;
    if findings.is_empty() {
        return Ok(());
    }
    let things = if findings.len() == 1 { "one thing is" } else { "several things are" };
    let error = CliError::failed(format!("{things} wrong with your vault or with what uses it"));
    Err(error.hint("the table says what to do").already_documented())
}

async fn look_at(mesh: &mut Mesh) -> Result<Looked, CliError> {
    let boxes = boxes::own(mesh).await?;
    let states = states(mesh, &boxes).await?;
    let entries = look::entries(mesh, &boxes).await?;
    let judged: Vec<Entry> = entries.iter().map(|(_, entry)| entry.clone()).collect();
    let findings = findings::all(&judged, &boxes, &states);
    let away = boxes.iter().zip(&states).flat_map(|(one, states)| {
        states.iter().filter_map(|(_, state)| match state {
            KeyState::Away(runner) => Some(format!(
                "{} is sealed for the runner {}, which is not connected",
                text::line(&one.service),
                text::line(runner)
            )),
            KeyState::Here | KeyState::Gone => None,
        })
    });
    let away = away.collect();
    Ok(Looked { entries, findings, away })
}

/// The states of the keys of each box.
async fn states(mesh: &Mesh, boxes: &[OwnBox]) -> Result<Vec<Vec<(String, KeyState)>>, CliError> {
    if boxes.is_empty() || !mesh.client.can(CAPABILITY) {
        return Ok(Vec::new());
    }
    let answer = mesh.client.request(&RunnerKeys {}, ANSWER_TIMEOUT).await?;
    let told = sealing::told(&answer.runners);
    let known = Profile::from_environment()?.runners(mesh.id())?;
    let own = kid(&X25519Secret::of(&mesh.member).public());
    Ok(boxes.iter().map(|one| sealing::key_states(&one.kids, &own, &told, &known)).collect())
}

fn document((listing, entry): &(VaultListing, Entry)) -> Value {
    let mut document = json!({
        "key": entry.key,
        "type": listing.entry_type,
        "signed": matches!(entry.standing, Standing::Signed(_)),
        "uses": entry.uses,
    });
    if let (Standing::Signed(version), Some(fields)) = (&entry.standing, document.as_object_mut()) {
        fields.insert("version".to_owned(), (*version).into());
    }
    document
}

fn shown(style: Style, looked: &Looked) -> String {
    let mut parts = Vec::new();
    if looked.entries.is_empty() {
        parts.push("Your vault is empty.".to_owned());
    } else {
        let rows = looked.entries.iter().map(|(listing, entry)| {
            let standing = match &entry.standing {
                Standing::Signed(_) => "signed",
                Standing::Unsigned => "unsigned",
                Standing::Refused(_) => "refused",
            };
            let kind = listing.entry_type.as_str().to_owned();
            vec![text::line(&entry.key), kind, standing.to_owned(), look::users(&entry.uses)]
        });
        parts.push(table::render(style, &["key", "type", "standing", "used by"], rows.collect()));
    }
    if looked.findings.is_empty() {
        parts.push("Nothing is wrong.".to_owned());
    } else {
        let row = |finding: &Finding| vec![finding.about.clone(), finding.found.clone(), finding.remedy.clone()];
        let rows = looked.findings.iter().map(row);
        parts.push(table::render(style, &["about", "what is wrong", "what to do"], rows.collect()));
    }
    parts.join("\n\n")
}
