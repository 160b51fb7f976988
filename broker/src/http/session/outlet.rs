//! The bounded queue from the mesh to one client.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::http::serve::Connection;
use crate::mesh::peer::Outlet;
use crate::metrics::Limit;

/// Frames that may wait for a client that reads slowly.
const MAX_FRAMES: usize = 1_024;
/// Bytes that may wait: a few of the largest results.
const MAX_BYTES: usize = 128 * 1024 * 1024;

/// What the port is to do next.
#[derive(Debug)]
pub(super) enum Out {
    /// Send this text frame.
    Text(String),
    /// Tell the client that a message of its own was too large.
    TooLarge,
    /// Ping with this mark.
    Ping(u64),
    /// Close with this code and reason.
    Close(u16, String),
}

/// The mesh's end of the queue. Cheap to clone; never blocks.
#[derive(Clone)]
pub(super) struct PortOutlet {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Out>,
    queued: AtomicUsize,
    /// Ends the connection however stuck it is.
    connection: Connection,
    ended: AtomicBool,
    /// The port is gone.
    over: AtomicBool,
    born: Instant,
    heard_ms: AtomicU64,
    /// Messages whose first fragments the codec saw before they were found too large, by their number among those in
    /// fragments. As many at most as there is room for their refusals.
    cut: Mutex<VecDeque<u64>>,
    closing: OnceLock<()>,
}

impl PortOutlet {
    pub(super) fn new(connection: Connection) -> (Self, mpsc::Receiver<Out>) {
        let (queue, waiting) = mpsc::channel(MAX_FRAMES);
        let shared = Shared {
            queue,
            queued: AtomicUsize::new(0),
            connection,
            ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
            born: Instant::now(),
            heard_ms: AtomicU64::new(0),
            cut: Mutex::default(),
            closing: OnceLock::new(),
        };
        (Self { shared: Arc::new(shared) }, waiting)
    }

    /// Resolves when every connection is to end.
    pub(super) fn ending(&self) -> impl Future<Output = ()> + use<> {
        self.shared.connection.ending.clone().cancelled_owned()
    }

    /// Something came from the client.
    pub(super) fn heard(&self) {
        let since = u64::try_from(self.shared.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.heard_ms.store(since, Ordering::Relaxed);
    }

    /// The guard threw messages away.
    pub(super) fn discarded(&self, too_large: usize, cut: Vec<u64>) {
        self.lock_cut().extend(cut);
        for _ in 0..too_large {
            self.put(Out::TooLarge, 0);
        }
    }

    /// Whether the message in fragments of this number was cut, and is not to be read.
    pub(super) fn take_cut(&self, number: u64) -> bool {
        let mut cut = self.lock_cut();
        let is_next = cut.front() == Some(&number);
        if is_next {
            cut.pop_front();
        }
        is_next
    }

    fn lock_cut(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.shared.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port is gone: nothing will be sent any more.
    pub(super) fn port_is_gone(&self) {
        self.shared.over.store(true, Ordering::Release);
    }

    /// A frame left the queue.
    pub(super) fn taken(&self, bytes: usize) {
        self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn put(&self, out: Out, bytes: usize) -> bool {
        if self.shared.ended.load(Ordering::Acquire) {
            return false;
        }
        let queued = self.shared.queued.fetch_add(bytes, Ordering::Relaxed);
        let room = queued == 0 || queued + bytes <= MAX_BYTES;
        if room && self.shared.queue.try_send(out).is_ok() {
            return true;
        }
        // It does not read: a close frame would only join the queue.
        self.shared.connection.limits.count(Limit::ClientQueue);
        self.shared.queued.fetch_sub(bytes, Ordering::Relaxed);
        self.end();
        false
    }

    fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.connection.cut.cancel();
    }
}

impl Outlet for PortOutlet {
    fn send(&self, frame: String) -> bool {
        let bytes = frame.len();
        self.put(Out::Text(frame), bytes)
    }

    fn ping(&self, mark: u64) {
        self.put(Out::Ping(mark), 0);
    }

    fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Acquire) || self.shared.queue.is_closed()
    }

    fn close(&self, code: u16, reason: &str) {
        if self.shared.closing.set(()).is_ok() {
            self.put(Out::Close(code, reason.to_owned()), 0);
            self.shared.connection.closing.cancel();
        } else {
            // Asked twice: the first did not get through.
            self.end();
        }
    }

    fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.shared.heard_ms.load(Ordering::Relaxed));
        self.shared.born.elapsed().saturating_sub(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h34_a_client_that_does_not_read_is_ended() {
        let connection = Connection::default();
        let (outlet, _queue) = PortOutlet::new(connection.clone());
        for _ in 0..MAX_FRAMES {
            assert!(outlet.send("x".to_owned()));
        }
        assert!(!connection.cut.is_cancelled());
        assert!(!outlet.send("x".to_owned()));
        assert!(connection.cut.is_cancelled(), "the connection is cut, not waited for");
        assert!(!outlet.send("x".to_owned()));
    }

    #[test]
    fn h34_the_bound_counts_bytes_too() {
        let connection = Connection::default();
        let (outlet, mut queue) = PortOutlet::new(connection.clone());
        let large = MAX_BYTES + 1;
        assert!(outlet.send("x".repeat(large)), "one frame always fits");
        assert!(matches!(queue.try_recv(), Ok(Out::Text(text)) if text.len() == large));
        outlet.taken(large);
        assert!(outlet.send("x".repeat(MAX_BYTES)));
        assert!(!outlet.send("x".to_owned()));
    }

    #[test]
    fn h34_a_close_that_is_not_read_is_not_waited_for() {
        let connection = Connection::default();
        let (outlet, mut queue) = PortOutlet::new(connection.clone());
        outlet.close(1001, "the end");
        assert!(matches!(queue.try_recv(), Ok(Out::Close(1001, _))));
        assert!(connection.closing.is_cancelled() && !connection.cut.is_cancelled());
        outlet.close(1001, "again");
        assert!(connection.cut.is_cancelled());
    }
}
