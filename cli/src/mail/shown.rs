//! How a message is shown: its origin, and what of that is certain, in a heading; its text below, indented. Pure.

use protocol::identity::PublicKey;
use protocol::mail::{Authenticity, Opened, Unreadable};
use protocol::wire::Push;
use serde_json::{Value, json};

use super::directory::label;
use crate::output::{Style, age};
use crate::text;

/// What stands before each line of a message's text, so that none of them looks like a heading.
const INDENT: &str = "  ";

/// Something to show.
#[derive(Debug)]
pub(crate) struct Item {
    /// For programs.
    pub(crate) document: Value,
    heading: String,
    body: String,
    is_verified: bool,
    /// Sender and nonce of what opened.
    pub(super) opened: Option<(PublicKey, String)>,
}

impl Item {
    /// What the mesh itself says.
    pub(super) fn event(push: &Push) -> Self {
        let document = json!({
            "messageId": push.message_id, "seq": push.seq, "origin": "system", "event": push.event,
            "data": push.event_data, "createdAt": push.created_at,
        });
        if let Some(heading) = watch_words(push) {
            return Self { document, heading, body: String::new(), is_verified: false, opened: None };
        }
        let event = push.event.as_deref().map(text::line).unwrap_or_default();
        let body = push.event_data.as_ref().map(|data| text::line(&data.to_string())).unwrap_or_default();
        Self { document, heading: format!("[system] {event}"), body, is_verified: false, opened: None }
    }

    /// What a peer says, or that it cannot be told.
    pub(super) fn message(push: &Push, opened: Result<Opened, Unreadable>, now_ms: u64) -> Self {
        let sender: Option<PublicKey> = push.sender_pubkey.parse().ok();
        let claimed = push.sender_name.as_deref().map(text::line).unwrap_or_default();
        let name = match &opened {
            Ok(Opened { authenticity: Authenticity::Verified { name, .. }, .. }) => text::line(name),
            // In quotes: it is what somebody says, and proves nothing.
            _ if claimed.is_empty() => String::new(),
            _ => format!("\"{claimed}\""),
        };
        // A member is known by its own key, as the list of members shows it; anybody else by the key that was used.
        let shown_key = match &opened {
            Ok(Opened { authenticity: Authenticity::Verified { member, .. }, .. }) => Some(*member),
            _ => sender,
        };
        let who = shown_key.map_or_else(|| "nobody known".to_owned(), |key| label(&name, &key));
        let (origin, reason) = origin(&opened);
        let to = push.target_spec.as_deref().filter(|target| target.starts_with(['@', '*'])).map(text::line);
        let ago = age::parse_iso(&push.created_at).map(|then| format!("{} ago", age::since(now_ms, then)));
        let marked = match &reason {
            Some(reason) => format!("{}: {reason}", origin.replace('_', " ")),
            None => origin.replace('_', " "),
        };
        let to = to.map(|to| format!("to {to}"));
        let heading = [Some(who), Some(marked), to, ago].into_iter().flatten().collect::<Vec<_>>().join(" · ");
        let nonce = push.nonce.clone();
        let shown = opened.ok();
        let document = json!({
            "messageId": push.message_id, "seq": push.seq, "origin": origin, "reason": reason,
            "from": { "pubkey": push.sender_pubkey, "name": name.trim_matches('"'), "memberPubkey": push.member_pubkey },
            "target": push.target_spec, "priority": push.priority, "createdAt": push.created_at,
            "text": shown.as_ref().map(|opened| opened.text.as_str()),
        });
        let body = shown.as_ref().map(|opened| text::block(&opened.text)).unwrap_or_default();
        let boxed = |opened: &Opened| opened.authenticity != Authenticity::NotAuthenticated;
        Self {
            document,
            heading,
            body,
            is_verified: origin == VERIFIED,
            opened: shown.filter(boxed).map(|opened| (opened.sender, nonce)),
        }
    }

    /// For a person.
    pub(crate) fn human(&self, style: Style) -> String {
        let heading = if self.is_verified { style.green(&self.heading) } else { style.yellow(&self.heading) };
        let lines = self.body.lines().map(|line| format!("{INDENT}{line}"));
        std::iter::once(heading).chain(lines).collect::<Vec<_>>().join("\n")
    }
}

/// What a watch says, in one line; `None` for another event. Whatever a page says stays in that line.
fn watch_words(push: &Push) -> Option<String> {
    let data = push.event_data.as_ref()?;
    let word = |name: &str| data.get(name).and_then(Value::as_str).map(text::line);
    let what = word("label").filter(|label| !label.is_empty()).or_else(|| word("url"))?;
    let value = |name: &str| word(name).unwrap_or_else(|| "(nothing)".to_owned());
    match push.event.as_deref()? {
        "watch_triggered" => Some(format!("[WATCH] {what}: {} → {}", value("oldValue"), value("newValue"))),
        "watch_failed" => Some(format!("[WATCH] {what}: failing: {}", value("reason"))),
        "watch_recovered" => Some(format!("[WATCH] {what}: well again")),
        _ => None,
    }
}

/// The word for a message whose origin is certain.
const VERIFIED: &str = "verified";

/// What may be believed of a message, in a word; and why not more.
fn origin(opened: &Result<Opened, Unreadable>) -> (&'static str, Option<String>) {
    match opened.as_ref().map(|opened| &opened.authenticity) {
        Ok(Authenticity::Verified { .. }) => (VERIFIED, None),
        Ok(Authenticity::Unverified(why)) => ("unverified", Some(why.to_string())),
        Ok(Authenticity::NotAuthenticated) => ("not_authenticated", None),
        Err(why) => ("cannot_be_opened", Some(why.to_string())),
    }
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
