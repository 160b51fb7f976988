//! The task that owns the socket: requests out, answers to whoever asked, the rest to the side channel.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{ClientError, Frame};
use crate::text;

/// The broker pings every 30 s; this much silence means that it, or the way to it, is gone.
const SILENCE_LIMIT: Duration = Duration::from_secs(75);

/// The refusal of a frame that was too large to be read, and so carries no `_reqId`.
const TOO_LARGE: &str = "too_large";

/// What becomes of pushes for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushes {
    /// Nothing depends on seeing them all.
    Dropped,
    /// Messages wait, and the socket with them; what else is pushed is dropped.
    Kept,
}

/// What a WebSocket can run on.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for S {}

/// The socket.
pub(super) type Socket<S> = WebSocketStream<S>;

/// Where the answers of one request go.
pub(super) type ReplyTo = mpsc::Sender<Result<Frame, ClientError>>;

/// A text to send, and who waits for answers under which `_reqId`.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) text: String,
    pub(super) awaiting: Option<(String, ReplyTo)>,
}

/// Runs until the client is dropped or the broker is gone; then everybody who still waits hears why.
pub(super) async fn run<S: Transport>(
    mut socket: Socket<S>,
    mut requests: mpsc::Receiver<Outgoing>,
    pushes: mpsc::Sender<Frame>,
    mode: Pushes,
) {
    let mut waiting: HashMap<String, ReplyTo> = HashMap::new();
    let end = loop {
        let step = tokio::select! {
            request = requests.recv() => match request {
                None => break None,
                Some(request) => send(&mut socket, &mut waiting, request).await,
            },
            text = next_text(&mut socket) => match text {
                Ok(text) => {
                    route(&waiting, &pushes, &text, mode).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = step {
            break Some(error);
        }
    };
    match end {
        // Both are courtesies: the process is about to end.
        None => {
            let _ = socket.close(None).await;
            while socket.next().await.is_some_and(|message| message.is_ok()) {}
        }
        Some(error) => {
            // Requests that were queued behind the failure get the reason as well.
            requests.close();
            while let Ok(request) = requests.try_recv() {
                waiting.extend(request.awaiting);
            }
            for reply_to in waiting.into_values() {
                let _ = reply_to.send(Err(error.clone())).await;
            }
        }
    }
}

async fn send<S: Transport>(
    socket: &mut Socket<S>,
    waiting: &mut HashMap<String, ReplyTo>,
    request: Outgoing,
) -> Result<(), ClientError> {
    waiting.retain(|_, reply_to| !reply_to.is_closed());
    waiting.extend(request.awaiting);
    socket.send(Message::text(request.text)).await.map_err(|error| lost(&error))
}

async fn route(waiting: &HashMap<String, ReplyTo>, pushes: &mpsc::Sender<Frame>, text: &str, mode: Pushes) {
    // What is no message at all is for nobody; the wire allows no such thing, and a newer broker may know better.
    let Some(frame) = Frame::parse(text) else {
        return;
    };
    let refusal = frame.refusal();
    let addressee = match (&frame.request_id, &refusal) {
        (Some(id), _) => waiting.get(id),
        (None, Some(ClientError::Refused { code, .. })) if code == TOO_LARGE => only(waiting),
        _ => None,
    };
    match addressee {
        // An error here means that whoever asked has stopped listening.
        Some(reply_to) => drop(reply_to.send(refusal.map_or(Ok(frame), Err)).await),
        // The broker sends no more of these than it allows to be unacknowledged: whoever takes them keeps up.
        None if frame.request_id.is_none() && mode == Pushes::Kept && frame.is_mail() => {
            drop(pushes.send(frame).await);
        }
        None if frame.request_id.is_none() => drop(pushes.try_send(frame)),
        None => {}
    }
}

/// The one that waits, if it is only one.
fn only(waiting: &HashMap<String, ReplyTo>) -> Option<&ReplyTo> {
    let mut open = waiting.values().filter(|reply_to| !reply_to.is_closed());
    match (open.next(), open.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The next text frame; pings are answered on the way. Safe to cancel.
pub(super) async fn next_text<S: Transport>(socket: &mut Socket<S>) -> Result<String, ClientError> {
    loop {
        let message = timeout(SILENCE_LIMIT, socket.next())
            .await
            .map_err(|_| ClientError::Lost(format!("no sign of it for {} s", SILENCE_LIMIT.as_secs())))?
            .ok_or_else(|| ClientError::Lost("it ended without a word".to_owned()))?
            .map_err(|error| lost(&error))?;
        match message {
            Message::Text(text) => return Ok(text.as_str().to_owned()),
            Message::Close(Some(frame)) if !frame.reason.is_empty() => {
                let reason = text::line(frame.reason.as_str());
                return Err(ClientError::Lost(format!("closed by the broker: {reason}")));
            }
            Message::Close(_) => {
                return Err(ClientError::Lost("closed by the broker".to_owned()));
            }
            Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// A transport error in words.
pub(super) fn lost(error: &tungstenite::Error) -> ClientError {
    ClientError::Lost(text::line(&error.to_string()))
}
