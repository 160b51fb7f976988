//! `peers`: the sessions that are here. Names that are alike are shown with a part of their key.
//!
//! `--json`: `{"peers": [...]}`, each as the broker describes it, with `verified` and, where it is not, `reason`.

use clap::Args;
use protocol::wire::Peer;
use serde_json::{Value, json};

use super::Context;
use crate::client::{ANSWER_TIMEOUT, Pushes};
use crate::error::CliError;
use crate::mail::{Directory, label};
use crate::output::{age, table};
use crate::text;
use crate::wire::mesh::ListPeers;

/// How much of a summary goes into the table.
const SUMMARY_CHARS: usize = 48;

/// The words of `peers`.
#[derive(Debug, Args)]
pub(crate) struct PeersArgs {}

/// Runs `peers`.
pub(crate) async fn run(context: &Context, _args: PeersArgs) -> Result<(), CliError> {
    let mesh = context.mesh(Pushes::Dropped).await?;
    let peers = mesh.client.request(&ListPeers {}, ANSWER_TIMEOUT).await?.peers;
    let trusted = mesh.trusted().await?;
    let now_ms = age::now_ms();
    let directory = Directory { mesh_id: mesh.id(), peers: &peers, trusted: &trusted, now_ms };
    let judged: Vec<_> = peers.iter().map(|peer| (peer, directory.doubt(peer))).collect();
    let documents =
        judged.iter().map(|(peer, doubt)| document(peer, doubt.as_deref())).collect::<Result<Vec<_>, _>>()?;
    let shown = context.printer.result(&json!({ "peers": documents }), |style| {
        if judged.is_empty() {
            return "Nobody is here.".to_owned();
        }
        let rows = judged.iter().map(|(peer, doubt)| row(peer, doubt.is_none(), &peers, now_ms));
        table::render(style, &["name", "verified", "status", "groups", "summary", "here for"], rows.collect())
    });
    mesh.close().await;
    shown
}

fn document(peer: &Peer, doubt: Option<&str>) -> Result<Value, CliError> {
    let mut document = serde_json::to_value(peer).map_err(|error| CliError::failed(error.to_string()))?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("verified".to_owned(), json!(doubt.is_none()));
        if let Some(doubt) = doubt {
            fields.insert("reason".to_owned(), json!(doubt));
        }
    }
    Ok(document)
}

fn row(peer: &Peer, is_verified: bool, all: &[Peer], now_ms: u64) -> Vec<String> {
    let or_nothing = |text: String| if text.is_empty() { table::NOTHING.to_owned() } else { text };
    let groups: Vec<_> = peer.groups.iter().map(|group| format!("@{}", text::line(&group.name))).collect();
    let summary: String = text::line(peer.summary.as_deref().unwrap_or_default()).chars().take(SUMMARY_CHARS).collect();
    let away = if peer.online == Some(false) { " (away)" } else { "" };
    vec![
        name(peer, all),
        if is_verified { "yes" } else { "no" }.to_owned(),
        format!("{}{away}", peer.status),
        or_nothing(groups.join(" ")),
        or_nothing(summary),
        age::parse_iso(&peer.connected_at).map_or(table::NOTHING.to_owned(), |then| age::since(now_ms, then)),
    ]
}

/// A name that only one has, or a name with its key.
fn name(peer: &Peer, all: &[Peer]) -> String {
    let folded = |peer: &Peer| text::line(&peer.display_name).trim().to_lowercase();
    let own = folded(peer);
    let alone = !own.is_empty() && all.iter().filter(|other| folded(other) == own).count() == 1;
    if alone { text::line(&peer.display_name) } else { label(&peer.display_name, &peer.pubkey) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn peer(name: &str, digit: char) -> Peer {
        serde_json::from_value(json!({
            "pubkey": digit.to_string().repeat(64), "displayName": name, "status": "idle", "sessionId": "s",
            "connectedAt": "1970-01-01T00:00:01Z", "summary": "a\u{1b}[2Jb\nc", "groups": [{"name": "eng"}],
        }))
        .unwrap()
    }

    #[test]
    fn names_that_are_alike_are_told_apart() {
        let all = [peer("ana", 'a'), peer("Ana\u{202e}", 'b'), peer("ben", 'c'), peer("", 'd')];
        let names: Vec<_> = all.iter().map(|peer| name(peer, &all)).collect();
        assert_eq!(names, ["ana (aaaaaaaa)", "Ana (bbbbbbbb)", "ben", "dddddddd"]);
    }

    #[test]
    fn a_row_is_clean() {
        let all = [peer("ana", 'a')];
        assert_eq!(row(&all[0], false, &all, 61_000), ["ana", "no", "idle", "@eng", "ab c", "1m"]);
        let away = Peer { online: Some(false), ..all[0].clone() };
        assert_eq!(row(&away, true, &all, 61_000)[2], "idle (away)");
    }
}
