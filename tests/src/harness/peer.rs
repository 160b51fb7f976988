//! A peer on the wire, written from the wire's description and sharing no code with the product.
//!
//! It says hello as the oldest clients do: signed by the member key, with a fresh session key and without the newer
//! fields, so every story that uses it shows as well that such a client is served.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::members::Member;
use super::session::{Client, Session};

/// From the connection to `hello_ack`.
const HELLO: Duration = Duration::from_secs(5);

/// A connected peer.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    requests: u64,
}

impl Peer {
    /// Connects as the member of `membership`, an entry of `config.json`, and says hello.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub async fn connect(membership: &Value) -> Result<Self, String> {
        let word = |name: &str| membership[name].as_str().ok_or(format!("config.json has no {name}"));
        let greeting = hello(word("meshId")?, word("memberId")?, word("secretKey")?)?;
        Self::greet(word("brokerUrl")?, greeting).await
    }

    /// Connects to the broker on a port of this machine as this session.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn enter(port: u16, session: &Session, client: Client) -> Result<Self, String> {
        Self::greet(&format!("ws://127.0.0.1:{port}/ws"), session.hello(client)).await
    }

    async fn greet(address: &str, greeting: Value) -> Result<Self, String> {
        let connecting = async {
            let mut peer = Self::open(address).await?;
            let answer = peer.ask(greeting).await?;
            match answer["type"].as_str() {
                Some("hello_ack") => Ok(peer),
                _ => Err(format!("hello was answered with {answer}")),
            }
        };
        timeout(HELLO, connecting).await.map_err(|_| format!("no hello_ack within {HELLO:?}"))?
    }

    /// Connects and says nothing.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn open(address: &str) -> Result<Self, String> {
        let (socket, _) = connect_async(address).await.map_err(|error| error.to_string())?;
        Ok(Self { socket, requests: 0 })
    }

    /// Sends a text as it is.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn send_text(&mut self, text: String) -> Result<(), String> {
        self.socket.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// Sends one message; the `_reqId` that it was given.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn send(&mut self, mut message: Value) -> Result<String, String> {
        self.requests += 1;
        let id = format!("r{}", self.requests);
        message["_reqId"] = json!(id);
        let text = message.to_string();
        self.send_text(text).await?;
        Ok(id)
    }

    /// The next message, reply or push. Safe to drop while it waits.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn next(&mut self) -> Result<Value, String> {
        loop {
            let frame = self.socket.next().await.ok_or("the broker closed the socket")?;
            match frame.map_err(|error| error.to_string())? {
                Message::Text(text) => {
                    return serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"));
                }
                Message::Close(reason) => {
                    return Err(format!("the broker closed the socket: {reason:?}"));
                }
                Message::Binary(_) => {
                    return Err("a binary frame, which the wire does not have".to_owned());
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Sends one message and waits for its first reply; whatever comes in between is dropped.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn ask(&mut self, message: Value) -> Result<Value, String> {
        let id = self.send(message).await?;
        self.reply_to(&id).await
    }

    /// Sends a deploy, an update or an undeploy, and waits for its end: how it ended, whatever was said on the way.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn settle(&mut self, message: Value) -> Result<Value, String> {
        let id = self.send(message).await?;
        loop {
            let said = self.reply_to(&id).await?;
            if !matches!(said["status"].as_str(), Some("queued" | "building" | "starting")) {
                return Ok(said);
            }
        }
    }

    /// Says goodbye and waits until the broker has said it too.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn goodbye(mut self) -> Result<(), String> {
        self.socket.close(None).await.map_err(|error| error.to_string())?;
        while let Some(frame) = self.socket.next().await {
            frame.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The next message that carries this `_reqId`.
    ///
    /// # Errors
    /// The socket's words.
    pub async fn reply_to(&mut self, id: &str) -> Result<Value, String> {
        loop {
            let message = self.next().await?;
            // An `error` before a session exists need not echo the request.
            if message["_reqId"] == id || message["type"] == "hello_ack" || message["code"] == "bad_signature" {
                return Ok(message);
            }
        }
    }
}

/// A call of a tool, as a message.
#[must_use]
pub fn call(service: &str, tool: &str, arguments: &Value) -> Value {
    json!({ "type": "mcp_call", "serverName": service, "toolName": tool, "args": arguments })
}

/// What came of a call: `ok`, or the code of what went wrong.
#[must_use]
pub fn verdict(reply: &Value) -> String {
    if reply["type"] == "error" {
        return reply["code"].as_str().unwrap_or("error without a code").to_owned();
    }
    match &reply["error"] {
        Value::Null if reply["result"]["isError"] == true => "isError".to_owned(),
        Value::Null if reply["result"].is_object() => "ok".to_owned(),
        Value::Null => format!("neither a result nor an error: {reply}"),
        text => match &reply["errorCode"] {
            Value::String(code) => code.clone(),
            Value::Number(code) => format!("MCP error {code}"),
            _ => text.to_string(),
        },
    }
}

/// Runs one peer's conversation to its end on a runtime of its own.
///
/// # Errors
/// What the conversation ends with.
pub fn converse<T>(conversation: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    runtime().block_on(conversation)
}

pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A signed hello of a fresh session, as a message.
///
/// # Errors
/// What is wrong with the key.
pub fn hello(mesh: &str, member: &str, secret: &str) -> Result<Value, String> {
    let member = Member::of(mesh, member, secret, "story")?;
    Ok(Session::new(&member).hello(Client::Old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_names_what_went_wrong() {
        for (reply, expected) in [
            (json!({"type":"mcp_call_result","result":{"content":[]}}), "ok"),
            (json!({"type":"mcp_call_result","result":{"isError":true}}), "isError"),
            (json!({"type":"mcp_call_result","error":"x","errorCode":"outcome_unknown"}), "outcome_unknown"),
            (json!({"type":"mcp_call_result","error":"x","errorCode":-32602}), "MCP error -32602"),
            (json!({"type":"error","code":"forbidden","message":"x"}), "forbidden"),
        ] {
            assert_eq!(verdict(&reply), expected, "{reply}");
        }
    }
}
