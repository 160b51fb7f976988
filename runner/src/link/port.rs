//! The sending side of a session, and all of them.
//!
//! Contract: sending never blocks. A broker that does not read fills its queue and loses its session; its calls are then
//! answered by nobody, and it learns that from the broken link.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, Message};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _};
use protocol::link::mux::{Delivered, Mux, MuxError, PushError};
use protocol::link::{FailCode, Header, ReplyOutcome};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::metrics::{Limit, LinkMeter};
use crate::service::gate::{Answer, Origin};
use crate::service::{Callers, lock};

/// Control frames (pongs) that wait to be sent; a flood of pings loses the rest of its pongs.
const CONTROL_MAX: usize = 16;

/// One session's way out.
pub struct Port {
    meter: LinkMeter,
    mux: Mutex<Mux>,
    control: Mutex<VecDeque<Message>>,
    wake: Notify,
    flushed: Notify,
    is_flushed: AtomicBool,
    broken: Mutex<Option<String>>,
}

impl Port {
    /// One whose frames are counted.
    pub(super) fn new(meter: LinkMeter) -> Self {
        Self {
            meter,
            mux: Mutex::default(),
            control: Mutex::default(),
            wake: Notify::new(),
            flushed: Notify::new(),
            is_flushed: AtomicBool::new(false),
            broken: Mutex::default(),
        }
    }

    /// Queues a frame.
    pub fn send(&self, header: &Header, body: Bytes) {
        if let Err(error) = self.try_send(header, body) {
            self.give_up(error.to_string());
        }
    }

    /// Bytes that wait to be written.
    fn queued_bytes(&self) -> usize {
        lock(&self.mux).outbox.queued_bytes()
    }

    /// Queues a frame, or says why not; the session goes on.
    pub(super) fn try_send(&self, header: &Header, body: Bytes) -> Result<(), PushError> {
        lock(&self.mux).outbox.push(header, body)?;
        self.stir();
        Ok(())
    }

    /// Answers a call.
    fn reply(&self, id: u64, answer: Answer, attempts: u8) {
        let (outcome, body) = match answer {
            Answer::Result(body) => (ReplyOutcome::Result, body),
            Answer::Error(body) => (ReplyOutcome::Error, body),
            Answer::Failed { code, message } => (ReplyOutcome::Failed { code, message }, Bytes::new()),
        };
        match self.try_send(&Header::Reply { id, outcome, attempts }, body) {
            Ok(()) => {}
            Err(PushError::BodyTooLarge(length)) => {
                self.meter.limits.count(Limit::AnswerBytes);
                let message = format!("the answer has {length} bytes, more than the link carries");
                let outcome = ReplyOutcome::Failed { code: FailCode::TooLarge, message };
                self.send(&Header::Reply { id, outcome, attempts }, Bytes::new());
            }
            Err(error) => self.give_up(error.to_string()),
        }
    }

    pub(super) fn control(&self, message: Message) {
        let mut control = lock(&self.control);
        if control.len() < CONTROL_MAX {
            control.push_back(message);
        }
        drop(control);
        self.stir();
    }

    /// Takes a message of the broker.
    pub(super) fn receive(&self, message: Bytes) -> Result<Option<Delivered>, MuxError> {
        self.meter.received(message.len());
        let received = lock(&self.mux).receive(message);
        // Credit may have come, or has to be given.
        self.stir();
        received
    }

    /// The session ends with this reason as soon as its task looks.
    fn give_up(&self, reason: String) {
        self.meter.limits.count(Limit::LinkQueue);
        lock(&self.broken).get_or_insert(reason);
        self.stir();
    }

    fn stir(&self) {
        self.is_flushed.store(false, Ordering::Relaxed);
        self.wake.notify_one();
    }

    fn next(&self) -> Option<Message> {
        let control = lock(&self.control).pop_front();
        control.or_else(|| lock(&self.mux).outbox.next().map(Message::Binary))
    }

    /// Sends what is queued, until that fails or the session is given up; says why.
    pub(super) async fn pump(&self, sink: &mut (impl Sink<Message, Error = io::Error> + Unpin)) -> String {
        loop {
            let broken = lock(&self.broken).clone();
            if let Some(reason) = broken {
                let close = Message::Close(Some(CloseReason::from((CloseCode::Error, reason.as_str()))));
                // The other end may be gone already.
                drop(timeout(Duration::from_secs(1), sink.send(close)).await);
                return reason;
            }
            if let Err(error) = self.send_queued(sink).await {
                return format!("cannot write: {error}");
            }
            self.wake.notified().await;
        }
    }

    async fn send_queued(&self, sink: &mut (impl Sink<Message, Error = io::Error> + Unpin)) -> io::Result<()> {
        self.is_flushed.store(true, Ordering::Relaxed);
        while let Some(message) = self.next() {
            if let Message::Binary(frame) = &message {
                self.meter.sent(frame.len());
            }
            sink.feed(message).await?;
        }
        sink.flush().await?;
        self.flushed.notify_waiters();
        Ok(())
    }

    /// Waits until all that was queued is with the kernel, at most for `limit`.
    pub(super) async fn flushed(&self, limit: Duration) {
        let flushed = async {
            loop {
                let told = self.flushed.notified();
                if self.is_flushed.load(Ordering::Relaxed) && lock(&self.mux).outbox.is_empty() {
                    return;
                }
                told.await;
            }
        };
        drop(timeout(limit, flushed).await);
    }
}

/// The open sessions, by number.
pub struct Ports {
    open: Mutex<HashMap<u64, Arc<Port>>>,
    count: watch::Sender<usize>,
}

impl Ports {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), count: watch::Sender::new(0) })
    }

    /// How many brokers are linked, and a wake-up when that changes.
    #[must_use]
    pub fn count(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Bytes that wait to be written to all of them.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        lock(&self.open).values().map(|port| port.queued_bytes()).sum()
    }

    pub(super) fn open(self: &Arc<Self>, session: u64, port: &Arc<Port>) -> Opened {
        lock(&self.open).insert(session, Arc::clone(port));
        self.tell();
        Opened { ports: Arc::clone(self), session }
    }

    fn tell(&self) {
        self.count.send_replace(lock(&self.open).len());
    }
}

/// The session is among the open ones until this is dropped.
pub(super) struct Opened {
    ports: Arc<Ports>,
    session: u64,
}

impl Drop for Opened {
    fn drop(&mut self) {
        lock(&self.ports.open).remove(&self.session);
        self.ports.tell();
    }
}

impl Callers for Ports {
    fn reply(&self, origin: Origin, answer: Answer, attempts: u8) {
        let port = lock(&self.open).get(&origin.session).cloned();
        if let Some(port) = port {
            port.reply(origin.id, answer, attempts);
        }
    }

    fn progress(&self, origin: Origin, word: Bytes) {
        let port = lock(&self.open).get(&origin.session).cloned();
        // A link that is so far behind has better things to carry.
        if port.is_some_and(|port| port.try_send(&Header::Progress { id: origin.id }, word).is_err()) {
            tracing::debug!(call = origin.id, "progress was left out");
        }
    }
}
