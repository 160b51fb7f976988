//! One session's socket: connects, says hello, sends what it is given, acknowledges what it gets.
//!
//! All that one read brought is taken in, acknowledged with one message, and goes out before what still waits to be sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ::tests::frames::{self, Frame, READ_BYTES, Side};
use ::tests::harness::ledger::Slip;
use ::tests::harness::{Client, Rng, Session};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;

use crate::board::Board;

/// From the connection to `hello_ack`; a thousand at once take their time.
const HELLO: Duration = Duration::from_secs(30);
/// The first wait of a client that was cut off is anything up to this, each next up to twice as much,
const JITTER_FIRST: Duration = Duration::from_secs(1);
/// and never more than this.
const JITTER_MOST: Duration = Duration::from_secs(30);

/// Who sits there.
pub(crate) struct Seat {
    /// The number that the ledger knows it by.
    pub(crate) number: u32,
    pub(crate) session: Session,
    pub(crate) port: u16,
    /// Whether it comes back when it was cut off; else that ends the run.
    pub(crate) returns: bool,
    pub(crate) board: Board,
    pub(crate) queue: Rc<Queue>,
}

/// What a seat is to send: whole frames.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    chunks: RefCell<VecDeque<Bytes>>,
    more: Notify,
}

impl Queue {
    pub(crate) fn put(&self, chunks: impl IntoIterator<Item = Bytes>) {
        self.chunks.borrow_mut().extend(chunks);
        self.more.notify_one();
    }

    fn take(&self) -> Option<Bytes> {
        self.chunks.borrow_mut().pop_front()
    }
}

/// As much of a message as is needed here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heard<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(default)]
    message_id: Option<&'a str>,
    #[serde(default)]
    ciphertext: Option<&'a str>,
    #[serde(default)]
    seq: Option<i64>,
    #[serde(default)]
    id: Option<&'a str>,
    #[serde(default)]
    queued: Option<bool>,
    #[serde(default)]
    members: Option<Vec<String>>,
}

impl Seat {
    /// Lives until it is dropped, or cut off and does not return.
    pub(crate) async fn sit(self) {
        let mut rng = Rng::seeded(u64::from(self.number) + 1);
        let mut tries = 0;
        loop {
            let ended = match timeout(HELLO, self.enter()).await {
                Ok(Ok((stream, input))) => {
                    tries = 0;
                    self.pump(stream, input).await
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(format!("no hello_ack within {HELLO:?}")),
            };
            if let (Err(error), false) = (ended, self.returns) {
                self.board.state().lost = Some(format!("{}: {error}", self.session.member.name));
                self.board.tell();
                return;
            }
            sleep(full_jitter(tries, &mut rng)).await;
            tries += 1;
        }
    }

    /// Connects and says hello; what came behind the answer is left in the buffer.
    async fn enter(&self) -> Result<(TcpStream, BytesMut), String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(words)?;
        stream.set_nodelay(true).map_err(words)?;
        let (socket, _) = client_async(format!("ws://127.0.0.1:{}/ws", self.port), stream).await.map_err(words)?;
        // Nothing is lost with the library's buffer: a broker does not speak first.
        let mut stream = socket.into_inner();
        let hello = self.session.hello(Client::New).to_string();
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        frames::put(Side::Client, Data::Text, &[hello.as_bytes()], &mut output);
        stream.write_all(&output).await.map_err(words)?;
        loop {
            match frames::take(&mut input).map_err(words)? {
                Some(Frame::Message(message)) => {
                    let heard: Heard<'_> = serde_json::from_slice(&message).map_err(words)?;
                    match heard.kind {
                        "hello_ack" => break,
                        "push" => {}
                        _ => return Err(format!("hello was answered with {}", String::from_utf8_lossy(&message))),
                    }
                }
                Some(Frame::Ping(_)) => {}
                Some(Frame::Close) => return Err("the broker closed the socket".to_owned()),
                None if stream.read_buf(&mut input).await.map_err(words)? == 0 => {
                    return Err("the broker ended the connection".to_owned());
                }
                None => {}
            }
        }
        self.board.state().joined.push(Instant::now());
        self.board.tell();
        Ok((stream, input))
    }

    /// Reads and writes until the connection ends.
    async fn pump(&self, mut stream: TcpStream, mut input: BytesMut) -> Result<(), String> {
        let (mut reader, mut writer) = stream.split();
        let mut output = BytesMut::new();
        self.hear(&mut input, &mut output)?;
        loop {
            if output.is_empty() {
                output.extend(self.queue.take());
            }
            input.reserve(READ_BYTES.min(64 * 1024));
            tokio::select! {
                written = writer.write_buf(&mut output), if !output.is_empty() => drop(written.map_err(words)?),
                () = self.queue.more.notified(), if output.is_empty() => {}
                read = reader.read_buf(&mut input) => {
                    if read.map_err(words)? == 0 {
                        return Err("the broker ended the connection".to_owned());
                    }
                    self.hear(&mut input, &mut output)?;
                }
            }
        }
    }

    /// Takes in all that is there, and acknowledges it.
    fn hear(&self, input: &mut BytesMut, output: &mut BytesMut) -> Result<(), String> {
        let now = Instant::now();
        let mut received: Vec<String> = Vec::new();
        let mut state = self.board.state();
        while let Some(frame) = frames::take(input).map_err(words)? {
            state.heard += 1;
            let message = match frame {
                Frame::Message(message) => message,
                Frame::Ping(payload) => {
                    frames::put_pong(Side::Client, &payload, output);
                    continue;
                }
                Frame::Close => return Err("the broker closed the socket".to_owned()),
            };
            let heard: Heard<'_> = serde_json::from_slice(&message)
                .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&message)))?;
            match (heard.kind, heard.message_id) {
                ("push", Some(id)) => {
                    let slip = heard.ciphertext.and_then(Slip::of);
                    if let Some(slip) = slip {
                        state.take(slip, self.number, now);
                    }
                    if slip.is_some() || heard.seq.is_some() {
                        received.push(id.to_owned());
                    }
                }
                ("ack", _) if heard.id.is_some() && heard.queued == Some(true) => state.acked += 1,
                ("ack", _) if heard.id.is_some() && heard.members.is_some() => state.members = heard.members,
                ("ack", _) if heard.id.is_none() => {}
                ("ack" | "error", _) => state.refuse(String::from_utf8_lossy(&message).into_owned()),
                _ => {}
            }
        }
        drop(state);
        if !received.is_empty() {
            let ack = json!({ "type": "client_ack", "messageIds": received }).to_string();
            frames::put(Side::Client, Data::Text, &[ack.as_bytes()], output);
        }
        self.board.tell();
        Ok(())
    }
}

/// Anything up to a bound that doubles with each try.
fn full_jitter(tries: u32, rng: &mut Rng) -> Duration {
    let bound = JITTER_FIRST.saturating_mul(1 << tries.min(16)).min(JITTER_MOST);
    bound.mul_f64(rng.share())
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jitter_is_full_and_bounded() {
        let mut rng = Rng::seeded(1);
        let waits: Vec<Duration> = (0..1_000).map(|_| full_jitter(0, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait < JITTER_FIRST));
        let early = waits.iter().filter(|wait| **wait < JITTER_FIRST / 10).count();
        assert!((50..150).contains(&early), "a tenth lies in the first tenth: {early}");
        assert!((0..1_000).all(|_| full_jitter(40, &mut rng) < JITTER_MOST));
    }
}
