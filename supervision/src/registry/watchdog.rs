//! The watchdog: a thread of its own that notices children without progress.
//!
//! It needs no runtime, so it goes on when every arbiter is blocked. Each tick it looks at every node once:
//! a turn that does not end, or a probe that is not answered, is shown as `stuck` until there is progress again.

use std::{
    io,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{Node, NodeState, Registry};

/// How the watchdog works.
#[derive(Debug, Clone, Copy)]
pub struct WatchdogConfig {
    /// How often it looks. A stall is shown at most this much late.
    pub tick: Duration,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self { tick: Duration::from_millis(250) }
    }
}

/// The running watchdog; it ends when this is dropped.
#[must_use = "the watchdog ends when this is dropped"]
#[derive(Debug)]
pub struct Watchdog {
    /// Never sent on: closing it is the signal.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Registry {
    /// Starts the watchdog over this registry.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watchdog(&self, config: WatchdogConfig) -> io::Result<Watchdog> {
        let (stop, stopped) = mpsc::channel();
        let registry = self.clone();
        let thread =
            thread::Builder::new().name("watchdog".into()).spawn(move || watch(&registry, config, &stopped))?;
        Ok(Watchdog { stop: Some(stop), thread: Some(thread) })
    }

    /// Looks at every node once, as the watchdog does each tick. Whether any is shown differently since.
    pub fn look(&self) -> bool {
        self.look_with(&mut Vec::new())
    }

    /// `nodes` is empty before and after; what it holds of memory is used again.
    fn look_with(&self, nodes: &mut Vec<Arc<Node>>) -> bool {
        self.nodes(nodes);
        let mut changed = false;
        for node in nodes.drain(..) {
            changed |= look(&node);
        }
        if changed {
            self.changed();
        }
        changed
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It cannot panic into us, and a panic of it was printed by the hook.
            let _ = thread.join();
        }
    }
}

fn watch(registry: &Registry, config: WatchdogConfig, stopped: &mpsc::Receiver<()>) {
    let mut nodes = Vec::new();
    while stopped.recv_timeout(config.tick) == Err(mpsc::RecvTimeoutError::Timeout) {
        registry.look_with(&mut nodes);
    }
}

/// Whether the node is shown differently now.
fn look(node: &Arc<Node>) -> bool {
    let Some((pulse, state, shown)) = node.pulse() else {
        return false;
    };
    // Before it is ready an actor may well let its mailbox wait.
    let since = pulse.check(node.traits.stall_after, state == NodeState::Running);
    // Nearly always nothing has changed, and the node is not locked again to find that out.
    let changed = since.is_some() != shown && node.set_stuck(&pulse, since);
    match (changed, since) {
        (true, Some(_)) => {
            let (queued, handled) = (pulse.queued(), pulse.handled());
            tracing::warn!(node = %node.path, queued, handled, "no progress: stuck");
        }
        (true, None) => tracing::info!(node = %node.path, "progress again"),
        (false, _) => {}
    }
    changed
}
