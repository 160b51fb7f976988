//! The runner's side of one conversation: what goes to the server, and who waits for answers to the runner's own requests.
//!
//! Contract: handing something over never blocks. A call counts as written exactly when the pipe has taken its newline;
//! until then it can be taken back. Lines go out in order, many in one write.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use meter::Counters;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::rpc;
use crate::metrics::Limit;
use crate::service::gate::{Answer, FIRST_CALL_ID};
use crate::service::lock;

/// Lines that are written together are at most this long, but for a single longer one.
const BATCH_BYTES: usize = 256 * 1_024;
/// Lines of the runner's own (answers to the server, cancellations) that may wait for a server that does not read.
const OWN_LINES_MAX: usize = 1_024;
/// Bytes of them: a server chooses the ids and methods that are said back to it.
const OWN_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// See the module.
pub struct Client {
    /// When the server last said something.
    heard: Mutex<Instant>,
    queue: Mutex<Queue>,
    wake: Notify,
    own: Mutex<Own>,
    limits: Counters<Limit>,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Outgoing>,
    own_lines: usize,
    own_bytes: usize,
    dropped: u64,
}

struct Outgoing {
    /// The call that the line carries; `None` for the runner's own.
    call: Option<u64>,
    line: Bytes,
}

#[derive(Default)]
struct Own {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

/// Lines on their way, with where each call's newline is.
struct Batch {
    bytes: Bytes,
    calls: VecDeque<(usize, u64)>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new(Counters::default())
    }
}

impl Client {
    /// One whose losses are counted.
    #[must_use]
    pub fn new(limits: Counters<Limit>) -> Self {
        Self {
            heard: Mutex::new(Instant::now()),
            queue: Mutex::default(),
            wake: Notify::new(),
            own: Mutex::default(),
            limits,
        }
    }

    /// The server gave a sign of life.
    pub(super) fn heard(&self) {
        *lock(&self.heard) = Instant::now();
    }

    /// How long ago it did.
    pub(super) fn silent_for(&self) -> Duration {
        lock(&self.heard).elapsed()
    }

    /// Hands over a call; `tells` asks the server for its progress.
    pub fn call(&self, id: u64, method: &str, params: &[u8], tells: bool) {
        let line =
            if tells { rpc::request_with_progress(id, method, params) } else { rpc::request(id, method, params) };
        lock(&self.queue).lines.push_back(Outgoing { call: Some(id), line });
        self.wake.notify_one();
    }

    /// Takes a call back; if the pipe has it already, the server is told that nobody waits.
    pub fn revoke(&self, id: u64, reason: &str) {
        {
            let mut queue = lock(&self.queue);
            if let Some(at) = queue.lines.iter().position(|outgoing| outgoing.call == Some(id)) {
                queue.lines.remove(at);
                return;
            }
        }
        let params = serde_json::json!({ "requestId": id, "reason": reason }).to_string();
        self.say(rpc::notification("notifications/cancelled", params.as_bytes()));
    }

    /// Sends a line of the runner's own. A server that reads nothing loses them beyond a bound.
    pub fn say(&self, line: Bytes) {
        let mut queue = lock(&self.queue);
        if queue.own_lines >= OWN_LINES_MAX || queue.own_bytes + line.len() > OWN_BYTES_MAX {
            queue.dropped += 1;
            self.limits.count(Limit::ServerQueue);
            return;
        }
        queue.own_lines += 1;
        queue.own_bytes += line.len();
        queue.lines.push_back(Outgoing { call: None, line });
        drop(queue);
        self.wake.notify_one();
    }

    /// Asks the server something for the runner itself; the caller sets the time limit.
    pub async fn request(&self, method: &str, params: &[u8]) -> Answer {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut own = lock(&self.own);
            own.last = (own.last + 1) % FIRST_CALL_ID;
            let id = own.last;
            own.waiting.insert(id, sender);
            id
        };
        // Whoever stops waiting is forgotten, or a mute server would fill the table.
        let _forget = Forget { client: self, id };
        self.say(rpc::request(id, method, params));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    /// Hands an answer to whoever asked; whether anybody did.
    pub fn answered(&self, id: u64, answer: Answer) -> bool {
        match lock(&self.own).waiting.remove(&id) {
            Some(waiting) => waiting.send(answer).is_ok(),
            None => false,
        }
    }

    /// Writes what is handed over, for ever; `written` is told of each call whose newline the pipe has taken.
    pub async fn write(&self, pipe: &mut (impl AsyncWrite + Unpin), written: impl Fn(u64)) -> io::Error {
        loop {
            let mut batch = self.batch().await;
            let mut taken = 0;
            while let Some(rest) = batch.bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                match pipe.write(rest).await {
                    Ok(0) => return io::ErrorKind::WriteZero.into(),
                    Ok(count) => taken += count,
                    Err(error) => return error,
                }
                while let Some((_, call)) = batch.calls.pop_front_if(|(end, _)| *end <= taken) {
                    written(call);
                }
            }
        }
    }

    async fn batch(&self) -> Batch {
        loop {
            if let Some(batch) = self.take() {
                return batch;
            }
            self.wake.notified().await;
        }
    }

    fn take(&self) -> Option<Batch> {
        let mut queue = lock(&self.queue);
        let first = queue.pop()?;
        let mut calls: VecDeque<(usize, u64)> = first.call.map(|call| (first.line.len(), call)).into_iter().collect();
        let fits = |queue: &Queue, length: usize| {
            queue.lines.front().is_some_and(|next| length + next.line.len() <= BATCH_BYTES)
        };
        if !fits(&queue, first.line.len()) {
            return Some(Batch { bytes: first.line, calls });
        }
        let mut bytes = BytesMut::with_capacity(first.line.len() * 4);
        bytes.put_slice(&first.line);
        while fits(&queue, bytes.len()) {
            let Some(next) = queue.pop() else { break };
            bytes.put_slice(&next.line);
            calls.extend(next.call.map(|call| (bytes.len(), call)));
        }
        Some(Batch { bytes: bytes.freeze(), calls })
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Outgoing> {
        let outgoing = self.lines.pop_front()?;
        if outgoing.call.is_none() {
            self.own_lines -= 1;
            self.own_bytes -= outgoing.line.len();
        }
        Some(outgoing)
    }
}

struct Forget<'a> {
    client: &'a Client,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        lock(&self.client.own).waiting.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use futures_util::FutureExt as _;
    use std::cell::RefCell;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A pipe with room for so many bytes.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            self.room -= count;
            self.taken.extend(bytes.iter().take(count));
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn h09_a_call_is_written_when_its_newline_is_taken() {
        let line = rpc::request(FIRST_CALL_ID, "tools/call", b"{}").len();
        for (room, expected) in [(line - 1, 0), (line, 1), (2 * line - 1, 1), (2 * line, 2)] {
            let client = Client::default();
            client.call(FIRST_CALL_ID, "tools/call", b"{}", false);
            client.call(FIRST_CALL_ID + 1, "tools/call", b"{}", false);
            let mut pipe = Narrow { room, taken: Vec::new() };
            let written = RefCell::new(Vec::new());
            // With room for both it would wait for more.
            drop(client.write(&mut pipe, |id| written.borrow_mut().push(id)).now_or_never());
            assert_eq!(written.borrow().len(), expected, "with room for {room} bytes");
        }
    }

    #[test]
    fn a_revoked_call_that_is_not_written_never_is() {
        let client = Client::default();
        client.call(FIRST_CALL_ID, "tools/call", b"{}", false);
        client.revoke(FIRST_CALL_ID, "late");
        assert!(client.take().is_none());
        client.revoke(FIRST_CALL_ID + 1, "late");
        let batch = client.take().unwrap();
        assert!(String::from_utf8_lossy(&batch.bytes).contains(r#""requestId":4294967297"#));
    }

    #[actix_rt::test]
    async fn own_requests_are_answered_by_id_and_forgotten_when_given_up() {
        let client = Client::default();
        let asked = client.request("ping", b"");
        let answered = async { client.answered(1, Answer::Result(Bytes::from_static(b"{}"))) };
        let (answer, is_known) = futures_util::future::join(asked, answered).await;
        assert_eq!((answer, is_known), (Answer::Result(Bytes::from_static(b"{}")), true));
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), client.request("ping", b"")).await;
        assert!(given_up.is_err() && lock(&client.own).waiting.is_empty());
    }

    #[test]
    fn h46_a_server_that_does_not_read_gets_a_bounded_queue() {
        let client = Client::default();
        for _ in 0..OWN_LINES_MAX + 9 {
            client.say(Bytes::from_static(b"x\n"));
        }
        let queue = lock(&client.queue);
        assert_eq!((queue.lines.len(), queue.dropped), (OWN_LINES_MAX, 9));
    }

    #[test]
    fn h46_nor_do_a_few_long_lines_fill_it() {
        let client = Client::default();
        let line = rpc::answer(format!("\"{}\"", "x".repeat(OWN_BYTES_MAX / 3)).as_bytes(), "ping");
        for _ in 0..9 {
            client.say(line.clone());
        }
        let told = |queue: &Queue| (queue.lines.len(), queue.dropped);
        assert_eq!(told(&lock(&client.queue)), (2, 7));
        // What is taken makes room again.
        assert!(client.take().is_some());
        client.say(line);
        assert_eq!(told(&lock(&client.queue)), (2, 7));
    }
}
