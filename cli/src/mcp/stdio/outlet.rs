//! What goes out: lines, in the order in which they are given, and never more of them waiting than a few.

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{mpsc, watch};

/// Lines that wait to be written. Whoever has more to say waits.
const LINES_WAITING: usize = 64;

/// The pen: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    /// None is the end.
    lines: mpsc::Sender<Option<String>>,
    /// How often the tools have changed: for subscriptions.
    changes: watch::Sender<u64>,
    /// Whether the client's handshake is over; before, nothing may be said unasked.
    ready: watch::Sender<bool>,
}

impl Outlet {
    /// A pen, and its lines.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Option<String>>) {
        let (lines, waiting) = mpsc::channel(LINES_WAITING);
        (Self { lines, changes: watch::Sender::new(0), ready: watch::Sender::new(false) }, waiting)
    }

    /// Writes a line. One that nobody takes any more is dropped: the server is about to end.
    pub(super) async fn line(&self, line: String) {
        let _ = self.lines.send(Some(line)).await;
    }

    /// Nothing is written after what was given so far.
    pub(super) async fn end(&self) {
        let _ = self.lines.send(None).await;
    }

    /// Says something unasked; nothing before the handshake is over.
    pub(crate) async fn notify(&self, method: &str, params: &impl Serialize) {
        if *self.ready.borrow() {
            self.line(json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()).await;
        }
    }

    /// Says that the list of tools is another one now, in the way of the client's era.
    pub(crate) async fn tools_changed(&self) {
        self.changes.send_modify(|count| *count += 1);
        if *self.ready.borrow() {
            self.line(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#.to_owned()).await;
        }
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Whether the handshake is over, and when it is.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}

/// Writes lines until the end, or until nobody takes them.
pub(super) async fn write(
    mut lines: mpsc::Receiver<Option<String>>,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    while let Some(Some(mut line)) = lines.recv().await {
        line.push('\n');
        to.write_all(line.as_bytes()).await?;
        to.flush().await?;
    }
    Ok(())
}

/// A word about how far a call is.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Progress {
    /// How far it is; rises.
    pub(crate) progress: f64,
    /// How far it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<f64>,
    /// What it does, in clean text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Tells one caller how far its call is, if it wanted to know.
#[derive(Debug, Clone)]
pub(crate) struct Say {
    pub(super) outlet: Outlet,
    /// Raw JSON.
    pub(super) token: Option<Box<RawValue>>,
}

impl Say {
    /// Tells it.
    pub(crate) async fn progress(&self, progress: &Progress) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Params<'a> {
            progress_token: &'a RawValue,
            #[serde(flatten)]
            progress: &'a Progress,
        }
        #[derive(Serialize)]
        struct Notification<'a> {
            jsonrpc: &'static str,
            method: &'static str,
            params: Params<'a>,
        }
        let Some(progress_token) = self.token.as_deref() else { return };
        let params = Params { progress_token, progress };
        let method = "notifications/progress";
        if let Ok(line) = serde_json::to_string(&Notification { jsonrpc: "2.0", method, params }) {
            self.outlet.line(line).await;
        }
    }

    /// Tells it in words, where there are no numbers: `step` rises by one each time.
    pub(crate) async fn words(&self, step: &mut u32, message: String) {
        *step += 1;
        self.progress(&Progress { progress: f64::from(*step), total: None, message: Some(message) }).await;
    }
}
