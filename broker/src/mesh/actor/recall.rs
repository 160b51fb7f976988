//! From the store's rows to what is decided on, and back.

use std::sync::Arc;

use protocol::identity::PublicKey;
use protocol::wire::{PeerStatus, Push};
use serde::{Deserialize, Serialize};

use crate::mesh::MeshContext;
use crate::mesh::mail::{Letter, Loaded, Of, Waiting};
use crate::mesh::peer::{About, Kind};
use crate::mesh::roster::{LEASE_MS, Life, Session};
use crate::store::{self, Document, MailboxLoad, MeshId, SessionKind, StoredMessage, UtcMs};

/// Sessions that were away for longer need not be known to be written to.
const KNOWN_FOR_MS: i64 = 30 * 24 * 3_600_000;
/// Sessions that are known at most.
const MAX_KNOWN: u32 = 100_000;
/// What a message counts beyond its texts: its signature, its certificate, its row.
pub(super) const OVERHEAD_BYTES: u64 = 512;

/// What a mesh was when its actor ended.
pub(super) struct Recalled {
    pub(super) sessions: Vec<Session>,
    pub(super) waiting: Vec<Waiting>,
}

/// Reads everything, once what was under way is settled.
pub(super) async fn recall(mesh: &Arc<MeshContext>, now: UtcMs) -> Result<Recalled, String> {
    mesh.scribe.flush().await;
    mesh.members.reload(&mesh.store, &mesh.id).await?;
    let words = |error: store::StoreError| error.to_string();
    let mut rows = mesh.store.sessions(&mesh.id, now.plus_ms(-KNOWN_FOR_MS), MAX_KNOWN).await.map_err(words)?;
    // The newest come first; the roster forgets the first it has too many of.
    rows.reverse();
    rows.extend(mesh.store.present_sessions(&mesh.id).await.map_err(words)?);
    let members = mesh.members.now();
    rows.retain(|row| members.by_id(&row.member_id).is_some());
    let sessions = rows.into_iter().map(|row| session(row, now)).collect::<Result<_, _>>()?;
    let loads = mesh.store.mailboxes(&mesh.id).await.map_err(words)?;
    let waiting = loads.into_iter().filter_map(|load| waiting(&load)).collect();
    Ok(Recalled { sessions, waiting })
}

fn waiting(load: &MailboxLoad) -> Option<Waiting> {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    Some(Waiting {
        mailbox: load.mailbox.parse().ok()?,
        of: if load.of_member { Of::Member } else { Of::Session },
        count: count(load.count),
        bytes: count(load.bytes),
    })
}

/// What is kept of a hello.
#[derive(Serialize, Deserialize)]
struct Kept {
    shown: PublicKey,
    e2e: bool,
    about: About,
}

/// A row as a session; one that was here is expected back.
pub(super) fn session(row: store::Session, now: UtcMs) -> Result<Session, String> {
    let words = |what: &str, error: &dyn std::fmt::Display| format!("session {}: {what}: {error}", row.pubkey);
    let kept: Kept = row.about.read().map_err(|error| words("about", &error))?;
    let read = |document: &Option<Document>| document.as_ref().map(Document::read).transpose();
    Ok(Session {
        address: row.pubkey.parse().map_err(|error| words("key", &error))?,
        shown: kept.shown,
        kind: match row.kind {
            SessionKind::Session => Kind::Session,
            SessionKind::Proxy => Kind::Proxy,
            SessionKind::Cli => Kind::Cli,
        },
        groups: row.groups.read().map_err(|error| words("groups", &error))?,
        profile: row.profile.as_ref().map(Document::read).transpose().map_err(|error| words("profile", &error))?,
        stats: read(&row.stats).map_err(|error| words("stats", &error))?,
        member: row.member_id,
        session_id: row.session_id,
        name: row.display_name,
        summary: row.summary,
        visible: row.visible,
        status: PeerStatus::Idle,
        status_at: now,
        life: if row.present { Life::Leased { until: now.plus_ms(LEASE_MS) } } else { Life::Away },
        e2e: kept.e2e,
        about: Arc::new(kept.about),
        first_seen: row.first_seen_at,
        // Rows of those that are here are as old as their last word.
        last_seen: if row.present { now } else { row.last_seen_at },
    })
}

/// A session as a row.
pub(super) fn row(mesh: &MeshId, session: &Session) -> Result<store::Session, String> {
    let words = |error: serde_json::Error| error.to_string();
    let about = &session.about;
    let kept = Kept { shown: session.shown, e2e: session.e2e, about: About::clone(about) };
    Ok(store::Session {
        mesh_id: mesh.clone(),
        pubkey: session.address.to_string(),
        member_id: session.member.clone(),
        session_id: session.session_id.clone(),
        kind: match session.kind {
            Kind::Session => SessionKind::Session,
            Kind::Proxy => SessionKind::Proxy,
            Kind::Cli => SessionKind::Cli,
        },
        display_name: session.name.clone(),
        summary: session.summary.clone(),
        groups: Document::of(&session.groups).map_err(words)?,
        profile: session.profile.as_ref().map(Document::of).transpose().map_err(words)?,
        stats: session.stats.as_ref().map(Document::of).transpose().map_err(words)?,
        visible: session.visible,
        present: session.is_present(),
        about: Document::of(&kept).map_err(words)?,
        first_seen_at: session.first_seen,
        last_seen_at: session.last_seen,
    })
}

/// A row as a message that waits.
pub(super) fn loaded(row: store::Pending) -> Result<Loaded, String> {
    let store::Pending { delivery, message, wrapped_key } = row;
    let letter = Arc::new(letter(message)?);
    Ok(Loaded { delivery, letter, key: wrapped_key.map(String::into_boxed_str) })
}

fn letter(message: StoredMessage) -> Result<Letter, String> {
    let extra = message.extra.ok_or_else(|| format!("message {}: nothing is left of it", message.id))?;
    let words = |error: serde_json::Error| format!("message {}: {error}", message.id);
    let head: Push = extra.read().map_err(words)?;
    Letter::new(&head, (&message.nonce, &message.ciphertext), head.e2e.as_ref(), OVERHEAD_BYTES).map_err(words)
}
