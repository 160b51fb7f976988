//! The public face of one runner: calls, commands and what it last reported.
//!
//! A [`Link`] is cheap to clone, never blocks, and stays valid whether or not there is a connection.
//! On the path of a call nothing is awaited and no mailbox is passed: a frame goes onto the
//! connection's queue under one short lock, and the answer comes back through the call's sink.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::identity::X25519Public;
use protocol::link::mux::{Delivered, Mux, MuxError};
use protocol::link::{CallHeader, FailCode, Fence, Header, LogLine, Outcome, ReplyOutcome, ServiceReport, ServiceSpec};
use tokio::sync::{Notify, oneshot};

use super::board::{Board, ServiceKey};
pub use super::table::{CallOutcome, CallSink, ProgressSink};
use super::table::{CommandReply, Table};
use crate::metrics::{Limit, LinkMeter};

/// Longest wait for the end of a command that changes something; a stop has all of its own limits inside this. Then it
/// is given again.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);
/// Longest wait for the lines of a log.
const LOGS_WITHIN: Duration = Duration::from_secs(10);

/// What befell a link.
#[derive(Debug, Clone)]
pub enum LinkEvent {
    /// Connected, and the first complete report is on the board.
    Up,
    /// Something changed about these services.
    Reported(Vec<ServiceKey>),
    /// The connection is gone.
    Down,
}

/// Is told of every [`LinkEvent`], on the link's task: must not block.
pub trait LinkObserver: Send + Sync {
    /// `event` befell `link`.
    fn on(&self, link: &Link, event: &LinkEvent);
}

/// There is no connection to the runner, or it is too busy to take more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUp {
    /// No connection.
    #[error("the runner is not connected")]
    Down,
    /// The connection's queue or table is full.
    #[error("the runner's link is full")]
    Full,
}

/// A call on its way to a runner.
pub struct Outbound {
    /// Where it goes; the link sets its id.
    pub header: CallHeader,
    /// The JSON-RPC params, untouched.
    pub body: Bytes,
    /// Takes what is said of its progress, if that is wanted.
    pub progress: Option<ProgressSink>,
}

/// A call that was not taken, whole.
pub struct Unsent {
    /// Why not.
    pub why: NotUp,
    /// The call.
    pub call: Outbound,
    /// Its sink, unused.
    pub sink: CallSink,
}

/// A handle to one runner.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    meter: LinkMeter,
    observer: Arc<OnceLock<Arc<dyn LinkObserver>>>,
    inner: Mutex<Inner>,
    outgoing: Notify,
    /// Services that are meant to be on it.
    placed: AtomicUsize,
}

/// A service's place on a runner: counted as one of its services for as long as this lasts.
pub struct Placed(Link);

impl Deref for Placed {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        self.0.shared.placed.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Inner {
    connection: Option<Connection>,
    table: Table,
    board: Board,
    last_seen_ms: Option<u64>,
}

struct Connection {
    mux: Mux,
    store: String,
    epoch: u64,
    runner_id: String,
    box_key: Option<X25519Public>,
}

impl Link {
    pub(super) fn new(name: String, observer: Arc<OnceLock<Arc<dyn LinkObserver>>>, meter: LinkMeter) -> Self {
        let (inner, outgoing, placed) = (Mutex::default(), Notify::new(), AtomicUsize::new(0));
        Self { shared: Arc::new(Shared { name, meter, observer, inner, outgoing, placed }) }
    }

    /// Takes a service's place on it.
    #[must_use]
    pub fn place(&self) -> Placed {
        self.shared.placed.fetch_add(1, Ordering::Relaxed);
        Placed(self.clone())
    }

    /// How many services are meant to be on it.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.shared.placed.load(Ordering::Relaxed)
    }

    /// The runner's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What is counted of it.
    #[must_use]
    pub fn meter(&self) -> &LinkMeter {
        &self.shared.meter
    }

    /// Bytes that wait to be written to the runner.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.lock().connection.as_ref().map_or(0, |connection| connection.mux.outbox.queued_bytes())
    }

    /// True while connected and the board holds a complete report of this connection.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let inner = self.lock();
        inner.connection.is_some() && inner.board.is_complete()
    }

    /// The runner's id and the key that secrets for it are sealed for; none of a runner that is away or told none.
    #[must_use]
    pub fn box_key(&self) -> Option<(String, X25519Public)> {
        let inner = self.lock();
        let connection = inner.connection.as_ref()?;
        Some((connection.runner_id.clone(), connection.box_key.clone()?))
    }

    /// How many services the runner holds.
    #[must_use]
    pub fn services(&self) -> usize {
        self.lock().board.len()
    }

    /// Calls in flight.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.lock().table.calls()
    }

    /// When something was last heard from the runner, in milliseconds since the epoch.
    #[must_use]
    pub fn last_seen_ms(&self) -> Option<u64> {
        self.lock().last_seen_ms
    }

    /// What the runner last reported of a service, by deployment.
    #[must_use]
    pub fn reports(&self, key: &ServiceKey) -> Vec<ServiceReport> {
        self.lock().board.of(key)
    }

    /// Every deployment the runner holds, with its service.
    #[must_use]
    pub fn deployments(&self) -> Vec<(ServiceKey, String)> {
        let inner = self.lock();
        inner.board.deployments().map(|(key, id)| (key.clone(), id.to_owned())).collect()
    }

    /// Gives a call to the runner; `sink` gets its one answer, a lost connection included.
    ///
    /// # Errors
    /// When there is no connection or no room: then the sink comes back unused.
    pub fn call(&self, call: Outbound, sink: CallSink) -> Result<u64, Box<Unsent>> {
        let mut inner = self.lock();
        let Inner { connection, table, .. } = &mut *inner;
        let Some(connection) = connection else {
            return Err(Box::new(Unsent { why: NotUp::Down, call, sink }));
        };
        let Outbound { mut header, body, progress } = call;
        let id = match table.enter_call(&mut header, sink, progress.clone(), Instant::now()) {
            Ok(id) => id,
            Err(sink) => {
                let call = Outbound { header, body, progress };
                return Err(Box::new(Unsent { why: NotUp::Full, call, sink }));
            }
        };
        let header = Header::Call(header);
        if connection.mux.outbox.push(&header, body.clone()).is_err() {
            return match (table.answered(id), header) {
                (Some(sink), Header::Call(header)) => {
                    let call = Outbound { header, body, progress };
                    Err(Box::new(Unsent { why: NotUp::Full, call, sink }))
                }
                // Entered five lines above under the same lock, as a call.
                _ => Ok(id),
            };
        }
        drop(inner);
        self.shared.outgoing.notify_one();
        Ok(id)
    }

    /// Nobody waits for this call any longer; its sink still gets an answer.
    pub fn cancel(&self, id: u64, reason: &str) {
        self.push(&Header::Cancel { id, reason: Some(reason.to_owned()) });
    }

    /// Makes the runner hold and run a deployment.
    ///
    /// # Errors
    /// [`NotUp`] when it could not be sent.
    pub async fn load(&self, spec: ServiceSpec) -> Result<CommandReply, NotUp> {
        let deployment = spec.deployment.clone();
        let spec = Box::new(spec);
        self.command(COMMAND_WITHIN, |cmd, fence| Header::Load { cmd, fence: fence(deployment), spec }).await
    }

    /// Sends the runner the file that a deployment is built from; answered when it has it whole.
    ///
    /// # Errors
    /// [`NotUp`] when it could not be sent.
    pub async fn file(&self, deployment: &str, sha256: &str, bytes: Bytes) -> Result<CommandReply, NotUp> {
        let file = |cmd, fence: &dyn Fn(String) -> Fence| {
            let fence = fence(deployment.to_owned());
            Header::File { cmd, fence, sha256: sha256.to_owned() }
        };
        self.command_with(COMMAND_WITHIN, file, bytes).await
    }

    /// Makes the runner stop a deployment; answered when nothing of it is left.
    ///
    /// # Errors
    /// [`NotUp`] when it could not be sent.
    pub async fn unload(&self, key: &ServiceKey, deployment: &str) -> Result<CommandReply, NotUp> {
        let (mesh, service) = (key.mesh.clone(), key.service.clone());
        let unload = |cmd, fence: &dyn Fn(String) -> Fence| {
            let fence = fence(deployment.to_owned());
            Header::Unload { cmd, fence, mesh, service }
        };
        let reply = self.command(COMMAND_WITHIN, unload).await?;
        if matches!(reply, CommandReply::Done(Outcome::Ok)) {
            self.lock().board.forget(key, deployment);
        }
        Ok(reply)
    }

    /// The last `lines` lines of a service's log, or the first ones behind the one with the number `after`, oldest first;
    /// and whether lines behind that one may have been lost.
    ///
    /// # Errors
    /// [`NotUp`] when the runner cannot be asked or does not answer.
    pub async fn logs(&self, key: &ServiceKey, lines: u32, after: Option<u64>) -> Result<(Vec<LogLine>, bool), NotUp> {
        let (mesh, service) = (key.mesh.clone(), key.service.clone());
        match self.command(LOGS_WITHIN, |cmd, _| Header::Logs { cmd, mesh, service, lines, after }).await? {
            CommandReply::Logs { lines, lost } => Ok((lines, lost)),
            CommandReply::Done(_) | CommandReply::LinkLost => Err(NotUp::Down),
        }
    }

    /// Asks the runner to stop every service and itself; true when it said that it did.
    pub async fn stop_all(&self) -> bool {
        let reply = self.command(COMMAND_WITHIN, |cmd, _| Header::StopAll { cmd }).await;
        matches!(reply, Ok(CommandReply::Done(Outcome::Ok)))
    }

    async fn command(
        &self,
        within: Duration,
        header: impl FnOnce(u64, &dyn Fn(String) -> Fence) -> Header,
    ) -> Result<CommandReply, NotUp> {
        self.command_with(within, header, Bytes::new()).await
    }

    async fn command_with(
        &self,
        within: Duration,
        header: impl FnOnce(u64, &dyn Fn(String) -> Fence) -> Header,
        body: Bytes,
    ) -> Result<CommandReply, NotUp> {
        let (reply, answer) = oneshot::channel();
        let full = |_: &NotUp| self.meter().limits.count(Limit::LinkQueue);
        let asked = {
            let mut inner = self.lock();
            let Inner { connection, table, .. } = &mut *inner;
            let connection = connection.as_mut().ok_or(NotUp::Down)?;
            let cmd = table.enter_command(reply).ok_or(NotUp::Full).inspect_err(full)?;
            let (store, epoch) = (connection.store.clone(), connection.epoch);
            let fence = move |deployment| Fence { store: store.clone(), epoch, deployment };
            if connection.mux.outbox.push(&header(cmd, &fence), body).is_err() {
                table.forget(cmd);
                return Err(NotUp::Full).inspect_err(full);
            }
            Asked { link: self, cmd }
        };
        self.shared.outgoing.notify_one();
        match tokio::time::timeout(within, answer).await {
            Ok(reply) => Ok(reply.unwrap_or(CommandReply::LinkLost)),
            Err(_) => {
                tracing::warn!(runner = self.name(), cmd = asked.cmd, "the runner did not answer a command");
                Ok(CommandReply::LinkLost)
            }
        }
    }

    // --- what the session does with its own link ---

    pub(super) fn connected(&self, store: String, epoch: u64, runner_id: String) {
        self.lock().connection = Some(Connection { mux: Mux::new(), store, epoch, runner_id, box_key: None });
    }

    pub(super) fn told_key(&self, key: X25519Public) {
        if let Some(connection) = &mut self.lock().connection {
            connection.box_key = Some(key);
        }
    }

    /// Forgets the connection and answers everything that was in flight on it.
    pub(super) fn disconnected(&self) {
        let (was_up, sinks) = {
            let mut inner = self.lock();
            let was_up = inner.board.is_complete();
            inner.connection = None;
            inner.board.out_of_sight();
            (was_up, inner.table.lost())
        };
        for sink in sinks {
            sink(failed(FailCode::LinkLost, "the link to the runner broke while the call was under way", 1));
        }
        if was_up {
            self.tell(&LinkEvent::Down);
        }
    }

    pub(super) fn push(&self, header: &Header) {
        let mut inner = self.lock();
        if let Some(connection) = &mut inner.connection
            && connection.mux.outbox.push(header, Bytes::new()).is_err()
        {
            // Only cancellations come this way: advice to a runner that is far behind.
            self.meter().limits.count(Limit::LinkQueue);
            tracing::warn!(runner = self.name(), "the link's queue is full, a frame was dropped");
        }
        drop(inner);
        self.shared.outgoing.notify_one();
    }

    /// Takes a message of the runner in; gives out what is whole.
    pub(super) fn receive(&self, message: Bytes) -> Result<Option<Delivered>, MuxError> {
        let (delivered, to_send) = {
            let mut inner = self.lock();
            let Some(connection) = &mut inner.connection else {
                return Ok(None);
            };
            (connection.mux.receive(message)?, !connection.mux.outbox.is_empty())
        };
        if to_send {
            // A grant, or a body that got its credit.
            self.shared.outgoing.notify_one();
        }
        Ok(delivered)
    }

    pub(super) fn next_frame(&self) -> Option<Bytes> {
        self.lock().connection.as_mut()?.mux.outbox.next()
    }

    pub(super) async fn outgoing(&self) {
        self.shared.outgoing.notified().await;
    }

    pub(super) fn heard(&self, now_ms: u64) {
        self.lock().last_seen_ms = Some(now_ms);
    }

    /// Takes a report onto the board and tells the observer.
    pub(super) fn reported(&self, report: protocol::link::Report) {
        self.meter().reports.increment(1);
        let (first, changed) = {
            let mut inner = self.lock();
            let first = !inner.board.is_complete();
            (first, inner.board.take(report))
        };
        if first && self.is_up() {
            self.tell(&LinkEvent::Up);
        } else if !changed.is_empty() {
            self.tell(&LinkEvent::Reported(changed));
        }
    }

    pub(super) fn answered(&self, id: u64, outcome: ReplyOutcome, body: Bytes, attempts: u8) {
        let sink = self.lock().table.answered(id);
        match sink {
            Some(sink) => sink(CallOutcome { outcome, body, attempts }),
            None => tracing::debug!(runner = self.name(), id, "an answer that nobody waits for"),
        }
    }

    /// Passes on how far a call is. One that was answered has nobody who wants to know.
    pub(super) fn progress(&self, id: u64, word: Bytes) {
        let sink = self.lock().table.progress(id);
        if let Some(sink) = sink {
            sink(word);
        }
    }

    pub(super) fn done(&self, cmd: u64, reply: CommandReply) {
        if !self.lock().table.done(cmd, reply) {
            tracing::debug!(runner = self.name(), cmd, "a command's answer that nobody waits for");
        }
    }

    /// Answers the calls that the runner should have answered by now.
    pub(super) fn sweep(&self) {
        let overdue = self.lock().table.overdue(Instant::now());
        for (cancel, sink) in overdue {
            self.push(&cancel);
            sink(failed(FailCode::Timeout, "no answer within the call's time limit", 1));
        }
    }

    fn tell(&self, event: &LinkEvent) {
        if let Some(observer) = self.shared.observer.get() {
            observer.on(self, event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock is held leaves plain data that is still consistent enough to end the connection with.
        self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command in the table; whatever ends the wait for its answer takes it out.
struct Asked<'a> {
    link: &'a Link,
    cmd: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.link.lock().table.forget(self.cmd);
    }
}

/// An answer that came from no server.
#[must_use]
pub fn failed(code: FailCode, message: impl Into<String>, attempts: u8) -> CallOutcome {
    CallOutcome { outcome: ReplyOutcome::Failed { code, message: message.into() }, body: Bytes::new(), attempts }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
