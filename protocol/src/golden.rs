//! Every message against its written example: `golden/<side>.<type>[.<case>].json`.
//!
//! An example is read and written again, and must come back the same. Readers ignore what they do not know, so a member
//! that was renamed in the code is lost on the way, and seen here. Change an example only when the wire changes, and then
//! in a way that a side of yesterday understands.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::Value;

use crate::link::frame;
use crate::wire::{ClientMessage, ServerMessage, parse, parse_reply};

/// Every `t` of the link.
const LINK_TYPES: [&str; 20] = [
    "link_hello",
    "link_proof",
    "link_refused",
    "runner_key",
    "load",
    "file",
    "unload",
    "restart",
    "logs",
    "stop_all",
    "done",
    "logs_result",
    "report",
    "call",
    "reply",
    "cancel",
    "progress",
    "notify",
    "chunk",
    "credit",
];

/// The examples of one side: type, file name, text.
fn examples(side: &str) -> Vec<(String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let kind = name.strip_prefix(side)?.strip_prefix('.')?.split('.').next()?.to_owned();
            Some((kind, name, std::fs::read_to_string(path).unwrap()))
        })
        .collect();
    found.sort();
    found
}

fn check(side: &str, types: &[&str], again: impl Fn(&str) -> String) {
    let examples = examples(side);
    for (kind, name, text) in &examples {
        let value: Value = serde_json::from_str(text).unwrap();
        let tag = if side == "link" { &value["h"]["t"] } else { &value["type"] };
        assert_eq!(tag, kind, "{name} is named after its type");
        assert_eq!(serde_json::from_str::<Value>(&again(text)).unwrap(), value, "{name}");
    }
    let shown: BTreeSet<&str> = examples.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(shown, types.iter().copied().collect(), "one example of each type at least");
}

#[test]
fn what_clients_send() {
    check("client", ClientMessage::TYPES, |text| parse(text).unwrap().to_json().unwrap());
}

#[test]
fn what_the_broker_sends() {
    check("server", ServerMessage::TYPES, |text| parse_reply(text).unwrap().to_json().unwrap());
}

fn header_of(message: &Bytes) -> String {
    let len = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
    String::from_utf8(message[4..4 + len].to_vec()).unwrap()
}

#[test]
fn what_the_link_carries() {
    check("link", &LINK_TYPES, |text| {
        let mut message = BytesMut::new();
        message.put_u32(text.len() as u32);
        message.extend_from_slice(text.as_bytes());
        let frame = frame::decode(message.freeze()).unwrap();
        header_of(&match frame.announced {
            Some(announced) => frame::encode_announcement(&frame.header, announced).unwrap(),
            None => frame::encode(&frame.header, &frame.body).unwrap(),
        })
    });
}

/// The tag is written first, which is what lets a reader take the rest without a copy.
#[test]
fn the_tag_comes_first_on_the_link() {
    for (_, name, text) in examples("link") {
        let header: crate::link::Header =
            serde_json::from_value(serde_json::from_str::<Value>(&text).unwrap()["h"].clone()).unwrap();
        assert!(serde_json::to_string(&header).unwrap().starts_with(r#"{"t":""#), "{name}");
    }
}
