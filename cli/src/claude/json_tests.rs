#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SERVERS: &str = "mcpServers";

fn added(text: &str, name: &str) -> String {
    within(text, SERVERS, |servers, form| {
        servers.set(name, form.write(&json!({"command": "c", "args": ["a", "b"]}), 2)?);
        Ok(())
    })
    .unwrap()
    .unwrap()
}

fn removed(text: &str, name: &str) -> Option<String> {
    within(text, SERVERS, |servers, _| {
        servers.remove(name);
        Ok(())
    })
    .unwrap()
}

/// The members as bytes, but for the one that is ours to change.
fn others(text: &str) -> Vec<(String, String)> {
    let whole = Object::parse(text).unwrap();
    whole.members().filter(|(name, _)| *name != SERVERS).map(|(n, v)| (n.to_owned(), v.get().to_owned())).collect()
}

fn servers(text: &str) -> Vec<(String, String)> {
    let servers = Object::parse(text).unwrap().object(SERVERS).unwrap();
    servers.members().map(|(name, value)| (name.to_owned(), value.get().to_owned())).collect()
}

#[test]
fn what_the_client_wrote_comes_back_to_the_byte() {
    let text = "{\n  \"big\": 123456789012345678901234567890.10,\n  \"é\\u00e9\": [ 1,2 ],\n  \"mcpServers\": {\n    \
                \"mine\": {\n      \"command\": \"x\"\n    }\n  },\n  \"z\": -0.0\n}\n";
    let with = added(text, "mesh:a:1");
    assert_eq!(
        servers(&with).last().unwrap().1,
        "{\n      \"args\": [\n        \"a\",\n        \"b\"\n      ],\n      \"command\": \"c\"\n    }"
    );
    // A name is written as its letters, which is the same name.
    assert_eq!(removed(&with, "mesh:a:1").unwrap(), text.replace("\\u00e9", "é"));
}

#[test]
fn what_changes_nothing_is_no_change() {
    for text in ["", "{}", r#"{"mcpServers": {"a": 1}}"#, "{ }\n"] {
        assert_eq!(removed(text, "b"), None, "{text:?}");
    }
}

#[test]
fn of_members_that_come_twice_the_last_counts_and_none_is_left_behind() {
    let text = r#"{"mcpServers":{"old":1},"mcpServers":{"x":1,"x":2,"y":3}}"#;
    assert_eq!(removed(text, "x").unwrap(), r#"{"mcpServers":{"old":1},"mcpServers":{"y":3}}"#);
}

#[test]
fn what_is_no_object_is_an_error() {
    for text in ["[]", "null", "{", r#"{"a":1"#, r#"{"mcpServers":[]}"#, r#"{"mcpServers":null}"#, "{} x"] {
        assert!(within(text, SERVERS, |_, _| Ok(())).is_err(), "{text}");
    }
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let object = prop::collection::hash_map("\\PC{0,8}", value, 0..8);
    (object.clone(), prop::option::of(object)).prop_map(|(rest, servers)| {
        let mut whole: serde_json::Map<_, _> = rest.into_iter().collect();
        whole.remove(SERVERS);
        if let Some(servers) = servers {
            whole.insert(SERVERS.to_owned(), Value::Object(servers.into_iter().collect()));
        }
        Value::Object(whole)
    })
}

proptest! {
    #[test]
    fn h40_adding_and_removing_leaves_all_else_as_it_was(document in documents(), dense in any::<bool>()) {
        let text =
            if dense { serde_json::to_string(&document) } else { serde_json::to_string_pretty(&document) }.unwrap();
        let with = added(&text, "mesh:time:4711");
        prop_assert_eq!(others(&with), others(&text));
        prop_assert_eq!(servers(&with).len(), servers(&text).len() + 1);
        let without = removed(&with, "mesh:time:4711").unwrap();
        prop_assert_eq!(others(&without), others(&text));
        prop_assert_eq!(servers(&without), servers(&text));
        if document.get(SERVERS).is_some() {
            prop_assert_eq!(without, text);
        }
    }
}
