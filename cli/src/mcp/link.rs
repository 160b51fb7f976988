//! The connection to the broker: made in the background, made again when it is lost, for as long as this program lives.
//!
//! Contract: [`Link::mesh`] waits for a connection, bounded, and says why there is none. What comes unasked goes to the one
//! [`Tenant`]; words about the progress of a call to whoever waits for that call. Connecting again waits a while of random
//! length that grows, whatever the reason was: what was refused today may be allowed tomorrow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Backoff, Frame, Mesh};
use crate::error::{CliError, Kind};
use crate::wire;

/// A connection that stood for so long was a good one: the next loss is a first one.
const STABLE: Duration = Duration::from_secs(10);
/// Words about a call that nobody has looked at yet; further ones are left out.
const PROGRESS_WAITING: usize = 16;
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Whether there is a connection.
#[derive(Debug, Clone)]
enum State {
    /// None, and why, once that is known.
    Away(Option<CliError>),
    /// This one.
    Up(Arc<Mesh>),
}

/// Makes a connection.
pub(super) trait Seat: Send + Sync + 'static {
    /// Connects as who it is.
    fn connect(&self) -> impl Future<Output = Result<Mesh, CliError>> + Send;
}

/// Who is told what comes. An error that it returns ends the connection, and another one is made.
pub(super) trait Tenant: Send + 'static {
    /// There is a connection.
    fn connected(&mut self, mesh: &Arc<Mesh>) -> impl Future<Output = Result<(), CliError>> + Send;
    /// These came on it.
    fn took(&mut self, mesh: &Mesh, frames: Vec<Frame>) -> impl Future<Output = Result<(), CliError>> + Send;
    /// Something of its own has happened that it wants to see to.
    fn woken(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

type Routes = Arc<Mutex<HashMap<String, mpsc::Sender<wire::Progress>>>>;

/// The connection, for those who use it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    state: watch::Sender<State>,
    routes: Routes,
}

/// A call whose progress comes to [`Route::next`].
#[derive(Debug)]
pub(super) struct Route {
    call_id: String,
    routes: Routes,
    words: mpsc::Receiver<wire::Progress>,
}

impl Link {
    /// One that is not connected.
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(State::Away(None)), routes: Routes::default() }
    }

    /// The connection; waits for one at most so long. `meanwhile` is told once when it has to be waited for.
    pub(super) async fn mesh(
        &self,
        wait: Duration,
        meanwhile: impl AsyncFnOnce(String),
    ) -> Result<Arc<Mesh>, CliError> {
        let mut state = self.state.subscribe();
        let first = state.borrow_and_update().clone();
        match first {
            State::Up(mesh) => return Ok(mesh),
            // Waiting helps nobody who is refused.
            State::Away(Some(error)) if !passes(&error) => return Err(away(Some(error))),
            State::Away(why) => meanwhile(away(why).message).await,
        }
        let waited = timeout(wait, async {
            loop {
                // The sender is ours.
                let _ = state.changed().await;
                let next = state.borrow_and_update().clone();
                match next {
                    State::Up(mesh) => return Ok(mesh),
                    State::Away(Some(error)) if !passes(&error) => return Err(away(Some(error))),
                    State::Away(_) => {}
                }
            }
        });
        waited.await.unwrap_or_else(|_| {
            let why = match &*self.state.borrow() {
                State::Away(why) => why.clone(),
                State::Up(_) => None,
            };
            Err(away(why))
        })
    }

    /// The connection, if it is there.
    pub(super) fn now(&self) -> Option<Arc<Mesh>> {
        match &*self.state.borrow() {
            State::Up(mesh) => Some(Arc::clone(mesh)),
            State::Away(_) => None,
        }
    }

    /// Where the progress of a call is told from now on.
    pub(super) fn route(&self, call_id: &str) -> Route {
        let (tell, words) = mpsc::channel(PROGRESS_WAITING);
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(call_id.to_owned(), tell);
        Route { call_id: call_id.to_owned(), routes: Arc::clone(&self.routes), words }
    }

    /// Keeps the connection. Never returns.
    pub(super) async fn keep(self, seat: Arc<impl Seat>, mut tenant: impl Tenant) {
        let mut backoff = Backoff::new();
        loop {
            let since = Instant::now();
            let why = match seat.connect().await {
                Ok(mesh) => self.live(mesh, &mut tenant).await,
                Err(error) => error,
            };
            tracing::info!(why = why.message, "no connection to the broker");
            self.state.send_replace(State::Away(Some(why)));
            if since.elapsed() > STABLE {
                backoff.reset();
            }
            sleep(backoff.next()).await;
        }
    }

    /// Lives on a connection until it ends, and says why.
    async fn live(&self, mut mesh: Mesh, tenant: &mut impl Tenant) -> CliError {
        let mut pushes = mesh.client.take_pushes();
        let mesh = Arc::new(mesh);
        self.state.send_replace(State::Up(Arc::clone(&mesh)));
        if let Err(error) = tenant.connected(&mesh).await {
            return error;
        }
        loop {
            let mut frames = Vec::new();
            tokio::select! {
                frame = pushes.recv() => match frame {
                    Some(frame) => frames.push(frame),
                    None => return CliError::unreachable("the connection to the broker was lost"),
                },
                () = tenant.woken() => {}
            }
            while let Ok(frame) = pushes.try_recv() {
                frames.push(frame);
            }
            frames.retain(|frame| !self.is_progress(frame));
            if let Err(error) = tenant.took(&mesh, frames).await {
                return error;
            }
        }
    }

    /// Tells whoever waits for it; whether it was that.
    fn is_progress(&self, frame: &Frame) -> bool {
        if frame.kind() != wire::PROGRESS_TYPE {
            return false;
        }
        if let Ok(news) = frame.read::<wire::Progress>() {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tell) = routes.get(&news.call_id) {
                // Who does not keep up misses a word; the next one says more.
                let _ = tell.try_send(news);
            }
        }
        true
    }

    /// Says goodbye, so that others see an end and not a break. Whoever keeps the connection has stopped.
    pub(super) async fn close(&self) {
        if let State::Up(mesh) = self.state.send_replace(State::Away(None))
            && let Some(mesh) = Arc::into_inner(mesh)
        {
            let _ = timeout(GOODBYE, mesh.close()).await;
        }
    }
}

impl Route {
    /// The next word.
    pub(super) async fn next(&mut self) -> wire::Progress {
        match self.words.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.call_id);
    }
}

/// Whether it may be otherwise in a moment without anybody doing anything.
fn passes(error: &CliError) -> bool {
    matches!(error.kind, Kind::Unreachable | Kind::TimedOut)
}

/// Why there is no connection, for whoever needs one.
fn away(why: Option<CliError>) -> CliError {
    match why {
        None => CliError::unreachable("reconnecting: there is no connection to the mesh's broker yet"),
        Some(why) if passes(&why) => CliError::unreachable(format!("reconnecting: {}", why.message))
            .hint("the broker is tried again all the time; nothing was done, so ask again in a moment"),
        Some(why) => why,
    }
}
