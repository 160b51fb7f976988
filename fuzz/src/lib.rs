//! What reads bytes of strangers, each as a target: a function that takes any bytes, and panics when something does not
//! hold that should.
//!
//! | target | reads | what holds |
//! |---|---|---|
//! | [`wire`] | a peer's frame, and a broker's | what is read is written again as the same; a refusal is short, clean and has its code |
//! | [`link`] | a message of the link | what is taken apart is put together as the same |
//! | [`invite`] | an invite's link | a token has one form |
//! | [`guard`] | a socket's bytes, in pieces | pieces change nothing; no message over the limit passes |
//!
//! `cargo test -p fuzz` replays the seeds, what was ever found (`regressions/`), and some thousand mutations of both;
//! `make fuzz` looks further, guided by coverage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a target says by a panic what does not hold"
)]

#[path = "../../broker/src/http/session/guard.rs"]
mod broker_guard;
mod guarding;
pub mod mutate;
mod seeds;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
pub use guarding::guard;
use protocol::trust::Invite;
use protocol::wire::{self, ErrorCode};
use serde_json::Value;

/// Characters of a refusal's words: a path, a reason, and a piece of what was sent.
const REFUSAL_CHARS: usize = 4_096;

/// A function that takes any bytes, and what it begins with.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As a file is called after it.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Good inputs, to be changed.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Each.
pub const TARGETS: &[Target] = &[
    Target { name: "wire", run: wire, seeds: seeds::wire },
    Target { name: "link", run: link, seeds: seeds::link },
    Target { name: "invite", run: invite, seeds: seeds::invite },
    Target { name: "guard", run: guard, seeds: seeds::guard },
];

/// A frame of either side of the peers' wire.
pub fn wire(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match wire::parse(text) {
        Ok(request) => {
            let again = request.to_json().expect("what was read can be written");
            let second = wire::parse(&again).expect("what was written can be read");
            assert_eq!(json(&second.to_json().expect("and written")), json(&again));
        }
        Err(error) => {
            let codes = [ErrorCode::BadJson, ErrorCode::UnknownType, ErrorCode::BadRequest, ErrorCode::Malformed];
            assert!(codes.contains(&error.code), "{error}");
            assert_eq!(protocol::validate::cleaned(&error.message), error.message);
            assert!(error.message.chars().count() <= REFUSAL_CHARS, "{} characters", error.message.len());
            assert!(error.req_id.as_ref().is_none_or(|id| id.len() <= wire::MAX_REQ_ID_BYTES));
        }
    }
    if let Ok(reply) = wire::parse_reply(text) {
        let again = reply.to_json().expect("what was read can be written");
        wire::parse_reply(&again).expect("what was written can be read");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A message of the link between broker and runner.
pub fn link(data: &[u8]) {
    use protocol::link::frame;
    let Ok(first) = frame::decode(data.to_vec().into()) else { return };
    let header_len = u32::from_be_bytes(*data.first_chunk().expect("a frame begins with a length"));
    assert_eq!(first.body, data[4 + header_len as usize..], "the body is what is left");
    let again = match first.announced {
        Some(announced) => frame::encode_announcement(&first.header, announced),
        None => frame::encode(&first.header, &first.body),
    };
    // A header may grow over its limit when it is written out: members that were left out, escapes.
    let Ok(again) = again else { return };
    let second = frame::decode(again).expect("what was put together can be taken apart");
    assert_eq!((second.announced, &second.body), (first.announced, &first.body));
    let header = |frame: &frame::Frame| serde_json::to_value(&frame.header).expect("JSON");
    assert_eq!(header(&second), header(&first));
}

/// An invite as somebody may paste it; or, where it begins with a brace, what a token is made of.
pub fn invite(data: &[u8]) {
    if data.starts_with(b"{") {
        if let Ok(invite) = Invite::from_token(&URL_SAFE_NO_PAD.encode(data)) {
            assert_eq!(serde_json::to_vec(&invite).expect("JSON"), data, "an invite is written in one way");
        }
        return;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(link) = Invite::from_link(text) else { return };
    assert_eq!(link.invite.token(), link.token, "a token has one form");
    assert_eq!(Invite::from_token(&link.token).expect("a token"), link.invite);
    let again = Invite::from_link(&link.invite.link()).expect("a link");
    assert_eq!((again.invite, again.token), (link.invite, link.token));
}
