//! How a path words a call, and what it makes of an answer.
//!
//! Contract: the text of the answer must be the text that was sent, byte for byte: the result as the server gives it is
//! known beforehand, and no path may change it.

mod link;

use ::tests::frames::{self, Frame, Side};
use bytes::{Bytes, BytesMut};
pub(crate) use link::LinkForm;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

/// What the tool is called.
const TOOL: &str = "echo";
/// A JSON-RPC call up to its id,
const RPC_HEAD: &str = r#"{"jsonrpc":"2.0","id":"#;
/// and from there to its parameters.
const RPC_METHOD: &str = r#","method":"tools/call","params":"#;

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
    Link(Box<LinkForm<'a>>),
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
    pub(crate) fn will_say(&mut self, text: &str) -> Result<(), String> {
        let arguments = format!("{{\"text\":\"{text}\"}}");
        let params = format!("{{\"name\":\"{TOOL}\",\"arguments\":{arguments}}}");
        self.result = format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}]}}").into_bytes();
        let (before, after) = match &mut self.form {
            Form::Link(link) => return link.will_say(params),
            Form::Lines => (RPC_HEAD.to_owned(), format!("{RPC_METHOD}{params}}}\n")),
            Form::Messages => (RPC_HEAD.to_owned(), format!("{RPC_METHOD}{params}}}")),
            Form::Peer { service } => {
                let head = format!("{{\"type\":\"mcp_call\",\"serverName\":\"{service}\",\"toolName\":\"{TOOL}\"");
                (format!("{head},\"args\":{arguments},\"_reqId\":\""), "\"}".to_owned())
            }
        };
        self.call = (before.into_bytes(), after.into_bytes());
        Ok(())
    }

    /// Appends a call.
    pub(crate) fn ask(&mut self, id: u64, out: &mut BytesMut) -> Result<(), String> {
        let mut digits = [0; 20];
        let parts = [&self.call.0[..], decimal(id, &mut digits), &self.call.1];
        match &mut self.form {
            Form::Lines => parts.iter().for_each(|part| out.extend_from_slice(part)),
            Form::Messages | Form::Peer { .. } => frames::put(Side::Client, Data::Text, &parts, out),
            Form::Link(link) => link.ask(id, out)?,
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
            Form::Link(link) => link.understand(message, &self.result, out),
        }
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn speech(form: Form<'static>) -> Speech<'static> {
        let mut speech = Speech::new(form);
        speech.will_say("abc").unwrap();
        speech
    }

    #[test]
    fn a_call_is_worded_as_its_path_wants_it() {
        let mut line = BytesMut::new();
        speech(Form::Lines).ask(1_230, &mut line).unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        let params = json!({ "name": "echo", "arguments": { "text": "abc" } });
        let rpc = json!({ "jsonrpc": "2.0", "id": 1_230, "method": "tools/call", "params": params });
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), rpc);
        for (form, expected) in [
            (Form::Messages, rpc),
            (
                Form::Peer { service: "s" },
                json!({ "type": "mcp_call", "serverName": "s", "toolName": "echo", "args": { "text": "abc" }, "_reqId": "1230" }),
            ),
        ] {
            let mut out = BytesMut::new();
            speech(form).ask(1_230, &mut out).unwrap();
            let Some(Frame::Message(message)) = frames::take(&mut out).unwrap() else { panic!("no message") };
            assert_eq!(serde_json::from_slice::<Value>(&message).unwrap(), expected);
        }
    }

    #[test]
    fn an_answer_must_be_whole_and_hold_the_text_that_was_sent() {
        let hear = |form, answer: &str| {
            let mut input = BytesMut::new();
            match form {
                Form::Lines => input.extend_from_slice(format!("{answer}\n").as_bytes()),
                _ => frames::put(Side::Server, Data::Text, &[answer.as_bytes()], &mut input),
            }
            let (mut speech, last) = (speech(form), input.split_off(input.len() - 1));
            assert_eq!(speech.hear(&mut input, &mut BytesMut::new()), Ok(None));
            input.unsplit(last);
            speech.hear(&mut input, &mut BytesMut::new())
        };
        let result = |text: &str| format!(r#""result":{{"content":[{{"type":"text","text":"{text}"}}]}}"#);
        let rpc = |text| format!(r#"{{"jsonrpc":"2.0","id":7,{}}}"#, result(text));
        let peer = |text| format!(r#"{{"type":"mcp_call_result",{},"attempts":1,"_reqId":"7"}}"#, result(text));
        assert_eq!(hear(Form::Lines, &rpc("abc")), Ok(Some(7)));
        assert_eq!(hear(Form::Messages, &rpc("abc")), Ok(Some(7)));
        assert_eq!(hear(Form::Peer { service: "s" }, &peer("abc")), Ok(Some(7)));
        assert_eq!(hear(Form::Peer { service: "s" }, r#"{"type":"push","event":"x"}"#), Ok(None));
        for wrong in ["abd", "ab", ""] {
            assert!(hear(Form::Messages, &rpc(wrong)).unwrap_err().contains("not the answer"));
            assert!(hear(Form::Peer { service: "s" }, &peer(wrong)).unwrap_err().contains("not the answer"));
        }
        let failed = r#"{"type":"mcp_call_result","error":"why","errorCode":"timeout","_reqId":"7"}"#;
        assert!(hear(Form::Peer { service: "s" }, failed).unwrap_err().contains("timeout"));
    }

    #[test]
    fn a_ping_is_answered() {
        let (mut input, mut out) = (BytesMut::from(&[0x89, 2, b'h', b'i'][..]), BytesMut::new());
        assert_eq!(speech(Form::Messages).hear(&mut input, &mut out), Ok(None));
        assert_eq!((out[0], out[1]), (0x8a, 0x82), "a masked pong of two bytes");
    }
}
