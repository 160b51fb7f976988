//! How a path words a call, and what it makes of an answer.
//!
//! Contract: the text of the answer must be the text that was sent, byte for byte: the result as the server gives it is
//! known beforehand, and no path may change it.

use bytes::{Bytes, BytesMut};
use protocol::link::mux::Mux;
use protocol::link::{CallHeader, Header, ReplyOutcome, RetryKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use tests::frames::{self, Frame, Side};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

/// What the tool is called.
pub(crate) const TOOL: &str = "echo";

/// One conversation.
pub(crate) struct Speech<'a> {
    form: Form<'a>,
    /// A call before and after its id.
    call: (Vec<u8>, Vec<u8>),
    /// The result that must come.
    result: Vec<u8>,
}

/// What lies between us and the server.
pub(crate) enum Form<'a> {
    /// JSON-RPC, a line each.
    Lines,
    /// JSON-RPC, a message each.
    Messages,
    /// The wire of peers.
    Peer { service: &'a str },
    /// The link of a broker.
    Link { mux: Box<Mux>, mesh: &'a str, service: &'a str, deployment: &'a str },
}

#[derive(Deserialize)]
struct RpcAnswer<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct PeerAnswer<'a> {
    #[serde(borrow, rename = "_reqId")]
    id: Option<&'a str>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl<'a> Speech<'a> {
    pub(crate) fn new(form: Form<'a>) -> Self {
        Self { form, call: Default::default(), result: Vec::new() }
    }

    /// The text of every call from now on.
    pub(crate) fn will_say(&mut self, text: &str) {
        let arguments = format!("{{\"text\":\"{text}\"}}");
        self.result = format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}").into_bytes();
        let params = format!("{{\"name\":\"{TOOL}\",\"arguments\":{arguments}}}");
        let (before, after) = match self.form {
            Form::Lines | Form::Messages => {
                (r#"{"jsonrpc":"2.0","id":"#.to_owned(), format!(",\"method\":\"tools/call\",\"params\":{params}}}"))
            }
            Form::Peer { service } => (
                format!(
                    "{{\"type\":\"mcp_call\",\"serverName\":\"{service}\",\"toolName\":\"{TOOL}\",\"args\":{arguments},\"_reqId\":\""
                ),
                "\"}".to_owned(),
            ),
            // The id is the header's; this is the body.
            Form::Link { .. } => (params, String::new()),
        };
        self.call = (before.into_bytes(), after.into_bytes());
    }

    /// Appends a call.
    pub(crate) fn ask(&mut self, id: u64, out: &mut BytesMut) -> Result<(), String> {
        let (before, after) = (&self.call.0, &self.call.1);
        let mut digits = [0; 20];
        let digits = decimal(id, &mut digits);
        match &mut self.form {
            Form::Lines => {
                for part in [before, digits, after, b"\n"] {
                    out.extend_from_slice(part);
                }
            }
            Form::Messages | Form::Peer { .. } => frames::put(Side::Client, Data::Text, &[before, digits, after], out),
            Form::Link { mux, mesh, service, deployment } => {
                let call = CallHeader {
                    id,
                    mesh: (*mesh).to_owned(),
                    service: (*service).to_owned(),
                    deployment: (*deployment).to_owned(),
                    affinity: None,
                    method: "tools/call".to_owned(),
                    timeout_ms: 60_000,
                    retry: RetryKind::Auto,
                    attempts_before: 0,
                };
                let body = Bytes::copy_from_slice(before);
                mux.outbox.push(&Header::Call(call), body).map_err(|error| error.to_string())?;
                drain(mux, out);
            }
        }
        Ok(())
    }

    /// Takes the next answer that is whole, checks it, and gives its id. What must be said in between is appended.
    pub(crate) fn hear(&mut self, input: &mut BytesMut, out: &mut BytesMut) -> Result<Option<u64>, String> {
        loop {
            let message = match self.form {
                Form::Lines => {
                    let Some(at) = memchr::memchr(b'\n', input) else { return Ok(None) };
                    input.split_to(at + 1).freeze()
                }
                _ => match frames::take(input).map_err(|error| error.to_string())? {
                    Some(Frame::Message(message)) => message,
                    Some(Frame::Ping(payload)) => {
                        frames::put_pong(Side::Client, &payload, out);
                        continue;
                    }
                    Some(Frame::Close) => return Err("the other side closed the connection".to_owned()),
                    None => return Ok(None),
                },
            };
            if let Some(id) = self.understand(message, out)? {
                return Ok(Some(id));
            }
        }
    }

    /// The id of a right answer; none for what is no answer to a call.
    fn understand(&mut self, message: Bytes, out: &mut BytesMut) -> Result<Option<u64>, String> {
        match &mut self.form {
            Form::Lines | Form::Messages => {
                let answer: RpcAnswer<'_> = parse(&message)?;
                check(&self.result, answer.result, &message).map(|()| Some(answer.id))
            }
            Form::Peer { .. } => {
                let answer: PeerAnswer<'_> = parse(&message)?;
                // A push has no id.
                let Some(id) = answer.id else { return Ok(None) };
                check(&self.result, answer.result, &message)?;
                id.parse().map(Some).map_err(|_| format!("an answer to {id:?}"))
            }
            Form::Link { mux, .. } => {
                let delivered = mux.receive(message).map_err(|error| error.to_string())?;
                drain(mux, out);
                match delivered {
                    Some(answer) => match answer.header {
                        Header::Reply { id, outcome: ReplyOutcome::Result, .. } if answer.body == self.result => {
                            Ok(Some(id))
                        }
                        Header::Report(_) => Ok(None),
                        other => Err(format!("not the answer that must come: {other:?} {}", shown(&answer.body))),
                    },
                    None => Ok(None),
                }
            }
        }
    }
}

/// Everything that may be sent now.
fn drain(mux: &mut Mux, out: &mut BytesMut) {
    while let Some(message) = mux.outbox.next() {
        frames::put(Side::Client, Data::Binary, &[&message], out);
    }
}

fn parse<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(message).map_err(|error| format!("{error}: {}", shown(message)))
}

fn check(expected: &[u8], result: Option<&RawValue>, message: &[u8]) -> Result<(), String> {
    match result {
        Some(result) if result.get().as_bytes() == expected => Ok(()),
        _ => Err(format!("not the answer that must come: {}", shown(message))),
    }
}

/// Enough of a message to know it again.
fn shown(message: &[u8]) -> String {
    String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned()
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}
