//! Ctrl-C ends the run in order: what was started is taken down on the way out.

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM. Listens from the beginning, so a signal between two waits is not lost.
pub struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    /// From now on.
    ///
    /// # Errors
    /// The system's words.
    pub fn listen(runtime: &Runtime) -> Result<Self, String> {
        let _guard = runtime.enter();
        let on = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
        Ok(Self { int: on(SignalKind::interrupt())?, term: on(SignalKind::terminate())? })
    }

    /// The work's end, or an error at the signal.
    ///
    /// # Errors
    /// The work's, or that there was a signal.
    pub async fn or<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        tokio::select! {
            biased;
            _ = self.int.recv() => Err("interrupted".to_owned()),
            _ = self.term.recv() => Err("told to end".to_owned()),
            ended = work => ended,
        }
    }

    /// An error if there was a signal.
    ///
    /// # Errors
    /// That.
    pub fn check(&mut self, runtime: &Runtime) -> Result<(), String> {
        runtime.block_on(self.or(async {
            // The runtime learns of signals when it is polled.
            tokio::task::yield_now().await;
            Ok(())
        }))
    }
}
