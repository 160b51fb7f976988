//! Ctrl-C ends the run in order: what was started is taken down on the way out.

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the beginning, so a signal between two waits is not lost.
pub(crate) struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    pub(crate) fn listen(runtime: &Runtime) -> Result<Self, String> {
        let _guard = runtime.enter();
        let on = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self { int: on(SignalKind::interrupt())?, term: on(SignalKind::terminate())? })
    }

    /// The work's end, or an error at the signal.
    pub(crate) async fn or<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        tokio::select! {
            biased;
            _ = self.int.recv() => Err("interrupted".to_owned()),
            _ = self.term.recv() => Err("told to end".to_owned()),
            ended = work => ended,
        }
    }

    /// An error if there was a signal.
    pub(crate) fn check(&mut self, runtime: &Runtime) -> Result<(), String> {
        runtime.block_on(self.or(async {
            // The runtime learns of signals when it is polled.
            tokio::task::yield_now().await;
            Ok(())
        }))
    }
}
