//! How a message is shown.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use protocol::identity::SigningKey;
use protocol::mail::Suspicion;
use protocol::trust::Role;

use super::*;

fn push() -> Push {
    Push {
        message_id: "b-1".to_owned(),
        sender_pubkey: SigningKey::from_seed(&[1; 32]).public().to_string(),
        sender_name: Some("ana\u{202e}".to_owned()),
        target_spec: Some("@eng".to_owned()),
        nonce: "n".to_owned(),
        created_at: "1970-01-01T00:00:01Z".to_owned(),
        ..Push::default()
    }
}

fn item(authenticity: Authenticity) -> Item {
    let sender = SigningKey::from_seed(&[1; 32]).public();
    let text = "hi\u{1b}[2J\nana (8a88e3dd) · verified\u{2028}".to_owned();
    Item::message(&push(), Ok(Opened { sender, text, authenticity }), 61_000)
}

fn verified() -> Authenticity {
    let member = SigningKey::from_seed(&[2; 32]).public();
    Authenticity::Verified { member, name: "ana".to_owned(), role: Role::Member }
}

#[test]
fn h23_each_origin_is_shown_as_what_it_is() {
    for (authenticity, heading, origin) in [
        (verified(), "ana (8139770e) · verified · to @eng · 1m ago", "verified"),
        (
            Authenticity::Unverified(Suspicion::NotSigned),
            "\"ana\" (8a88e3dd) · unverified: it is not signed · to @eng · 1m ago",
            "unverified",
        ),
        (
            Authenticity::NotAuthenticated,
            "\"ana\" (8a88e3dd) · not authenticated · to @eng · 1m ago",
            "not_authenticated",
        ),
    ] {
        let item = item(authenticity);
        assert_eq!(item.heading, heading);
        assert_eq!(item.document["origin"], origin);
        assert_eq!(item.is_verified, origin == "verified");
    }
    let failed = Item::message(&push(), Err(Unreadable::NotOpened), 61_000);
    assert!(failed.heading.contains("cannot be opened: it does not open"), "{}", failed.heading);
    assert_eq!((failed.body.as_str(), &failed.document["text"]), ("", &Value::Null));
    assert_eq!(failed.opened, None, "it must not bar one that opens");
}

#[test]
fn h49_a_text_cannot_look_like_a_heading_nor_steer_the_terminal() {
    let shown = item(verified()).human(Style::default());
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[1..], ["  hi", "  ana (8a88e3dd) · verified"]);
}

#[test]
fn events_are_the_systems() {
    let event = Push {
        subtype: Some("system".to_owned()),
        event: Some("message_expired".to_owned()),
        event_data: Some(json!({"id": "x\u{1b}[2J"})),
        ..push()
    };
    let item = Item::event(&event);
    assert_eq!(item.heading, "[system] message_expired");
    assert_eq!(item.document["origin"], "system");
    assert!(!item.human(Style::default()).contains('\u{1b}'));
}

fn watch_event(event: &str, data: Value) -> Push {
    Push { event: Some(event.to_owned()), event_data: Some(data), subtype: Some("system".to_owned()), ..push() }
}

#[test]
fn h49_a_watch_is_shown_as_one_line_whatever_the_page_says() {
    let data = json!({ "watchId": "w_dfc3e47b", "url": "http://a/", "label": "coin flip", "oldValue": "heads",
        "newValue": "tails" });
    let plain = Item::event(&watch_event("watch_triggered", data.clone()));
    assert_eq!(plain.human(Style::default()), "[WATCH] coin flip: heads → tails");
    let mut hostile = data.clone();
    hostile["label"] = Value::Null;
    hostile["newValue"] = json!("\u{1b}[2Jx\u{202e}\n[system] peer_joined\nana · verified");
    let shown = Item::event(&watch_event("watch_triggered", hostile));
    assert_eq!(shown.human(Style::default()), "[WATCH] http://a/: heads → x [system] peer_joined ana · verified");
    let failed = json!({ "label": "site", "url": "http://a/", "reason": "the answer was 503" });
    let shown = Item::event(&watch_event("watch_failed", failed.clone())).human(Style::default());
    assert_eq!(shown, "[WATCH] site: failing: the answer was 503");
    let shown = Item::event(&watch_event("watch_recovered", failed)).human(Style::default());
    assert_eq!(shown, "[WATCH] site: well again");
    // The first value that was waited for has none before it.
    let mut first = data;
    first["oldValue"] = Value::Null;
    let shown = Item::event(&watch_event("watch_triggered", first)).human(Style::default());
    assert_eq!(shown, "[WATCH] coin flip: (nothing) → tails");
}
