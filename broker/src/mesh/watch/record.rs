//! From the store's rows to what is decided on, and back.

use std::collections::BTreeMap;

use protocol::SecretString;
use protocol::wire::{Priority, Seconds, WatchEntry, WatchMode};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::directory::{Cell, Seen as Shown};
use super::extract::Extract;
use super::fetch::Target;
use super::look::Plan;
use super::request::{self, Wanted};
use super::state::{Commit, Committed, Kind, Rules, Seen, phase_of};
use crate::mesh::priority::{number_of, priority_of};
use crate::store::{MemberId, MeshId, UtcMs, Watch, WatchCommit};
use crate::vault::{AtRest, place};

/// A watch's row as it can be carried out.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) plan: Plan,
    pub(super) rules: Rules,
    pub(super) priority: Priority,
    /// The names of the headers, for lists.
    pub(super) header_names: Vec<String>,
}

/// The row of a watch that is to be made.
pub(super) fn row(
    wanted: &Wanted,
    id: &str,
    (mesh, member): (&MeshId, &MemberId),
    at_rest: &AtRest,
    now: UtcMs,
) -> Result<Watch, serde_json::Error> {
    let headers_sealed = match wanted.target.headers.as_slice() {
        [] => None,
        headers => {
            let said: BTreeMap<&str, &str> =
                headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
            let plain = Zeroizing::new(serde_json::to_vec(&said)?);
            Some(at_rest.seal(&place::watch(mesh.as_str(), id), &plain))
        }
    };
    Ok(Watch {
        mesh_id: mesh.clone(),
        id: id.to_owned(),
        member_id: member.clone(),
        url: wanted.target.url.to_string(),
        mode: wanted.mode.as_str().to_owned(),
        extract: wanted.extract.as_ref().map(|(text, _)| text.clone()),
        interval_ms: i64::try_from(wanted.interval.ms).unwrap_or(i64::MAX),
        notify: request::notify_words(&wanted.notify),
        headers_sealed,
        label: wanted.label.clone(),
        priority: number_of(wanted.priority),
        fail_after: i32::try_from(wanted.fail_after).unwrap_or(i32::MAX),
        settle: i32::try_from(wanted.settle).unwrap_or(i32::MAX),
        version: 0,
        value: None,
        hash: None,
        failing: false,
        created_at: now,
    })
}

/// What a request says to look at.
pub(super) fn plan(wanted: Wanted) -> Plan {
    Plan { target: wanted.target, mode: wanted.mode, extract: wanted.extract.map(|(_, extract)| extract) }
}

/// A watch may have been made when less was allowed: what the broker keeps now. The row keeps what was asked for.
pub(super) fn at_least(row: Watch, min_ms: u64) -> Watch {
    Watch { interval_ms: row.interval_ms.max(i64::try_from(min_ms).unwrap_or(i64::MAX)), ..row }
}

/// A row as it can be carried out.
///
/// # Errors
/// In words: the row was written by something else, or is sealed under another key.
pub(super) fn read(row: &Watch, at_rest: &AtRest) -> Result<Record, String> {
    let words = |what: &str, error: &dyn std::fmt::Display| format!("watch {}: {what}: {error}", row.id);
    let mode = mode_of(&row.mode).ok_or_else(|| words("mode", &row.mode))?;
    let headers = headers(row, at_rest)?;
    let extract = row.extract.as_deref().map(Extract::parse).transpose().map_err(|error| words("extract", &error))?;
    Ok(Record {
        header_names: headers.iter().map(|(name, _)| name.to_string()).collect(),
        plan: Plan {
            target: Target {
                url: request::url(&row.url).map_err(|error| words("url", &error))?,
                headers,
                body: mode != WatchMode::Status,
            },
            mode,
            extract,
        },
        rules: Rules {
            interval_ms: row.interval_ms,
            phase_ms: phase_of(&row.id, row.interval_ms),
            notify: request::notify(Some(&row.notify)).map_err(|error| words("notify", &error))?,
            fail_after: u32::try_from(row.fail_after).unwrap_or(request::DEFAULT_FAIL_AFTER),
            settle: u32::try_from(row.settle).unwrap_or(1),
        },
        priority: priority_of(row.priority),
    })
}

fn headers(row: &Watch, at_rest: &AtRest) -> Result<Vec<(hyper::header::HeaderName, SecretString)>, String> {
    let Some(sealed) = &row.headers_sealed else { return Ok(Vec::new()) };
    let words = |error: &dyn std::fmt::Display| format!("watch {}: headers: {error}", row.id);
    let plain = at_rest.open(&place::watch(row.mesh_id.as_str(), &row.id), sealed).map_err(|error| words(&error))?;
    // The parser's own words could quote a value.
    let said: BTreeMap<String, SecretString> =
        serde_json::from_slice(&plain).map_err(|_| words(&"what was sealed is no JSON"))?;
    request::headers(said).map_err(|error| words(&error))
}

/// What is stored of a watch's life.
pub(super) fn committed(row: &Watch) -> Committed {
    let value = row.hash.clone().map(|hash| Seen { hash, text: row.value.clone().unwrap_or_default() });
    Committed { version: row.version, value, failing: row.failing }
}

/// A commit as it is written.
pub(super) fn commit(id: &str, commit: &Commit, at: UtcMs) -> WatchCommit {
    let text = |committed: &Committed| committed.value.as_ref().map(|seen| seen.text.clone());
    let after = text(&commit.after);
    WatchCommit {
        watch: id.to_owned(),
        expected: commit.expected,
        value: after.clone(),
        hash: commit.after.value.as_ref().map(|seen| seen.hash.clone()),
        failing: commit.after.failing,
        kind: word(commit.kind),
        old_value: text(&commit.before),
        new_value: commit.reason.clone().or(after),
        at,
    }
}

/// The word of a history for what happened.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::First => "first",
        Kind::Changed => "changed",
        Kind::Failed => "failed",
        Kind::Recovered => "recovered",
    }
}

/// The published name of what the owner is told.
pub(super) fn event(kind: Kind) -> &'static str {
    match kind {
        Kind::First | Kind::Changed => "watch_triggered",
        Kind::Failed => "watch_failed",
        Kind::Recovered => "watch_recovered",
    }
}

/// What the owner is told.
pub(super) fn event_data(row: &Watch, commit: &Commit, at: UtcMs) -> Map<String, Value> {
    let text = |committed: &Committed| committed.value.as_ref().map(|seen| seen.text.clone());
    let mut data = Map::new();
    data.insert("watchId".to_owned(), json!(row.id));
    data.insert("url".to_owned(), json!(row.url));
    data.insert("label".to_owned(), json!(row.label));
    data.insert("mode".to_owned(), json!(row.mode));
    match commit.kind {
        Kind::First | Kind::Changed => {
            data.insert("oldValue".to_owned(), json!(text(&commit.before)));
            data.insert("newValue".to_owned(), json!(text(&commit.after)));
        }
        Kind::Failed => {
            data.insert("reason".to_owned(), json!(commit.reason));
            data.insert("failures".to_owned(), json!(commit.failures));
        }
        Kind::Recovered => {}
    }
    data.insert("at".to_owned(), json!(at.to_string()));
    data
}

/// A watch as its owner is shown it.
pub(super) fn entry(cell: &Cell, seen: &Shown) -> WatchEntry {
    let row = &cell.row;
    let value = seen.committed.value.as_ref();
    WatchEntry {
        id: row.id.clone(),
        url: row.url.clone(),
        mode: mode_of(&row.mode).unwrap_or_default(),
        label: row.label.clone(),
        interval: Seconds { ms: u64::try_from(row.interval_ms).unwrap_or_default() },
        last_hash: value.map(|value| value.hash.clone()),
        last_value: value.map(|value| value.text.clone()),
        last_check: seen.last_look.map(|at| at.to_string()),
        created_at: row.created_at.to_string(),
        extract: row.extract.clone(),
        notify_on: Some(row.notify.clone()),
        headers: seen.header_names.clone(),
        priority: priority_of(row.priority),
        failures: seen.failures,
        failing: seen.committed.failing,
        last_error: seen.last_error.clone(),
    }
}

/// The mode of a row's word.
pub(super) fn mode_of(word: &str) -> Option<WatchMode> {
    WatchMode::ALL.into_iter().find(|mode| mode.as_str() == word)
}
