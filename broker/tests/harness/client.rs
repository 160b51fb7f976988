//! A client of the wire.

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt as _, StreamExt as _};
use protocol::identity::HelloClaim;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::{Broker, SOON, Who};

/// One socket.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// Frames that came while another was waited for.
    aside: VecDeque<Value>,
    last_id: u64,
}

/// A hello before it is sent, to be spoiled.
pub(crate) struct Hello(pub(crate) Value);

impl Hello {
    /// A good one.
    pub(crate) fn of(broker: &Broker, who: Who) -> Self {
        Self::at(broker, who, now_ms())
    }

    /// One that is good at a given time.
    pub(crate) fn at(broker: &Broker, who: Who, timestamp_ms: u64) -> Self {
        Self::signed(who, broker.mesh(), broker.member_id(who), timestamp_ms)
    }

    /// One that `who` signed, whatever it claims.
    pub(crate) fn signed(who: Who, mesh_id: &str, member_id: &str, timestamp_ms: u64) -> Self {
        let key = who.key();
        let claim = HelloClaim { mesh_id, member_id, pubkey: key.public(), timestamp_ms };
        Self(json!({
            "type": "hello",
            "meshId": mesh_id,
            "memberId": member_id,
            "pubkey": key.public(),
            "sessionId": uuid::Uuid::now_v7().to_string(),
            "pid": std::process::id(),
            "cwd": "/tmp",
            "timestamp": timestamp_ms,
            "signature": claim.sign(&key).unwrap(),
        }))
    }

    /// With a member set.
    pub(crate) fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.0[member] = value.into();
        self
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

impl Client {
    /// A socket that has said nothing yet.
    pub(crate) async fn connect(broker: &Broker) -> Self {
        let stream = TcpStream::connect(broker.address()).await.unwrap();
        let url = format!("ws://{}/ws", broker.address());
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        Self { socket, aside: VecDeque::new(), last_id: 0 }
    }

    /// A session of `who`.
    pub(crate) async fn join(broker: &Broker, who: Who) -> Self {
        Self::join_with(broker, Hello::of(broker, who)).await.0
    }

    /// A session with this hello, and the ack.
    pub(crate) async fn join_with(broker: &Broker, hello: Hello) -> (Self, Value) {
        let mut client = Self::connect(broker).await;
        client.send(&hello.0).await;
        let ack = client.next().await;
        assert_eq!(ack["type"], "hello_ack", "{ack}");
        (client, ack)
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    /// The next frame, those set aside first.
    pub(crate) async fn next(&mut self) -> Value {
        match self.aside.pop_front() {
            Some(frame) => frame,
            None => self.receive().await,
        }
    }

    /// The next frame for which `wanted` holds; the others are kept for later.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return self.aside.remove(at).unwrap();
        }
        loop {
            let frame = self.receive().await;
            if wanted(&frame) {
                return frame;
            }
            self.aside.push_back(frame);
        }
    }

    /// The next push of this event.
    pub(crate) async fn event(&mut self, event: &str) -> Value {
        self.until(|frame| frame["event"] == event).await["eventData"].take()
    }

    /// The pushes that came so far, by the time everything sent before this was answered.
    pub(crate) async fn events_so_far(&mut self) -> Vec<String> {
        self.ask(json!({ "type": "list_peers" })).await;
        let pushes = self.aside.iter().filter(|frame| frame["type"] == "push");
        pushes.map(|frame| frame["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The events about a service that came so far, and their data.
    pub(crate) async fn told_of(&mut self, service: &str) -> Vec<(String, Value)> {
        self.ask(json!({ "type": "list_peers" })).await;
        let of_it = self.aside.iter().filter(|frame| frame["eventData"]["name"] == service);
        of_it
            .filter(|frame| frame["event"].as_str().is_some_and(|event| event.starts_with("mcp_")))
            .map(|frame| (frame["event"].as_str().unwrap().to_owned(), frame["eventData"].clone()))
            .collect()
    }

    /// A frame of this type that was set aside, taken out.
    pub(crate) fn set_aside(&mut self, kind: &str) -> Option<Value> {
        let at = self.aside.iter().position(|frame| frame["type"] == kind)?;
        self.aside.remove(at)
    }

    /// Whether a peer's message is among the frames that were set aside.
    pub(crate) fn has_message(&self) -> bool {
        self.aside.iter().any(|frame| frame["type"] == "push" && frame["subtype"].is_null())
    }

    /// Sends a request; returns its id.
    pub(crate) async fn request(&mut self, mut message: Value) -> String {
        self.last_id += 1;
        let id = format!("r{}", self.last_id);
        message["_reqId"] = id.clone().into();
        self.send(&message).await;
        id
    }

    /// The next frame that answers a request.
    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        self.until(|frame| frame["_reqId"] == id).await
    }

    /// The answer to a request that ends it: statuses on the way are dropped.
    pub(crate) async fn outcome(&mut self, id: &str) -> Value {
        let outcome = self.until(|frame| frame["_reqId"] == id && frame["status"] != "building").await;
        self.aside.retain(|frame| frame["_reqId"] != id);
        outcome
    }

    /// Sends a request and returns what ends it.
    pub(crate) async fn ask(&mut self, message: Value) -> Value {
        let id = self.request(message).await;
        self.outcome(&id).await
    }

    /// Waits until the broker closes; code and reason, `None` without a close frame. Frames before that are set aside.
    pub(crate) async fn closed(&mut self) -> Option<(u16, String)> {
        let closed = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => self.aside.push_back(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Close(frame))) => {
                        return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        timeout(SOON, closed).await.expect("the broker closes soon")
    }

    async fn receive(&mut self) -> Value {
        loop {
            let message = timeout(SOON, self.socket.next()).await.expect("a frame comes soon");
            match message.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("the broker closed: {frame:?}"),
                _ => {}
            }
        }
    }
}
