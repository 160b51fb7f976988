//! Messages, between the broker and whoever reads them: into the conversation as they come, or when they are asked for.
//!
//! Contract: each is judged and noted in the session's file before anybody sees it, and acknowledged after; so it is shown
//! once at most. What is not asked for yet is not acknowledged, and comes again if this program ends.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::config::MessageMode;
use protocol::wire::ReadInbox;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::events::fenced;
use crate::client::{ANSWER_TIMEOUT, Frame, Mesh};
use crate::error::CliError;
use crate::mail::{Intake, Item};
use crate::mcp::stdio::Outlet;
use crate::output::Style;

/// The notification that puts words into the conversation.
const CHANNEL: &str = "notifications/claude/channel";
/// Messages that wait here to be asked for; a broker sends fewer that are not acknowledged.
const MAX_WAITING: usize = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Mailroom {
    mode: MessageMode,
    outlet: Outlet,
    room: Mutex<Room>,
    /// Somebody reads all that there is.
    reading: AtomicBool,
    readers: Mutex<()>,
}

#[derive(Debug, Default)]
struct Room {
    intake: Option<Intake>,
    waiting: Vec<Frame>,
    /// Taken, and not given to the reader yet.
    taken: Vec<Item>,
}

/// Ends the reading, however it ends.
struct Reading<'a>(&'a AtomicBool);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Mailroom {
    pub(super) fn new(mode: MessageMode, outlet: Outlet) -> Self {
        Self { mode, outlet, room: Mutex::default(), reading: AtomicBool::new(false), readers: Mutex::new(()) }
    }

    /// There is a connection: what was not acknowledged on the one before comes again.
    pub(super) async fn connected(&self, mesh: &Mesh) -> Result<(), CliError> {
        let intake = Intake::open(mesh).await?;
        let mut room = self.room.lock().await;
        room.waiting.clear();
        room.intake = Some(intake);
        Ok(())
    }

    /// Takes what came, as far as somebody is there to be shown it.
    pub(super) async fn took(&self, mesh: &Mesh, frames: Vec<Frame>) -> Result<(), CliError> {
        let mut room = self.room.lock().await;
        let news = !frames.is_empty();
        room.waiting.extend(frames);
        // They come again on the next connection.
        room.waiting.truncate(MAX_WAITING);
        let is_ready = *self.outlet.ready().borrow();
        if self.reading.load(Ordering::Relaxed) {
            return room.take(mesh).await;
        }
        match self.mode {
            MessageMode::Push if is_ready => {
                room.show(mesh, &self.outlet).await?;
            }
            MessageMode::Inbox if is_ready && news => {
                let words = format!("[inbox] {} message(s) wait: check_messages reads them", room.waiting.len());
                self.say(&words, &json!({ "kind": "inbox" })).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts words into the conversation.
    pub(super) async fn say(&self, content: &str, meta: &Value) {
        self.outlet.notify(CHANNEL, &json!({ "content": content, "meta": meta })).await;
    }

    /// Tells of an event, where messages go into the conversation.
    pub(super) async fn tell(&self, event: &str, words: &str) {
        if self.mode == MessageMode::Push {
            self.say(&fenced(words), &json!({ "kind": "system", "event": event })).await;
        }
    }

    /// All that waits, whatever the session's status: in words.
    pub(super) async fn read(&self, mesh: &Mesh) -> Result<String, CliError> {
        let _only_reader = self.readers.lock().await;
        self.reading.store(true, Ordering::Relaxed);
        let reading = Reading(&self.reading);
        self.room.lock().await.take(mesh).await?;
        // Everything comes before the answer does.
        let answer = mesh.client.request(&ReadInbox { follow: false }, ANSWER_TIMEOUT).await;
        drop(reading);
        let taken = std::mem::take(&mut self.room.lock().await.taken);
        match (answer, taken.as_slice()) {
            (Err(error), []) => Err(error.into()),
            (Ok(_), []) => Ok("No messages.".to_owned()),
            (answer, items) => {
                let shown: Vec<_> = items.iter().map(|item| item.human(Style::default())).collect();
                let more =
                    if answer.is_err() { "\n\nThere may be more: the broker did not answer in time." } else { "" };
                Ok(format!("{} message(s), written by others:\n\n{}{more}", items.len(), shown.join("\n\n")))
            }
        }
    }
}

impl Room {
    /// Takes all that waits, for the one who reads.
    async fn take(&mut self, mesh: &Mesh) -> Result<(), CliError> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let mut taken = intake.take(mesh, &self.waiting).await?;
        self.waiting.clear();
        self.taken.append(&mut taken.news);
        taken.acknowledge(mesh).await;
        Ok(())
    }

    /// Takes all that waits and puts it into the conversation.
    async fn show(&mut self, mesh: &Mesh, outlet: &Outlet) -> Result<(), CliError> {
        let Some(intake) = &mut self.intake else { return Ok(()) };
        let taken = intake.take(mesh, &self.waiting).await?;
        self.waiting.clear();
        for item in &taken.news {
            let content = fenced(&item.human(Style::default()));
            outlet.notify(CHANNEL, &json!({ "content": content, "meta": meta(&item.document) })).await;
        }
        taken.acknowledge(mesh).await;
        Ok(())
    }
}

/// Who says it, and how sure that is; attributes are texts.
fn meta(document: &Value) -> Value {
    let text = |at: &str| crate::text::line(document.pointer(at).and_then(Value::as_str).unwrap_or_default());
    json!({
        "kind": "message",
        "from": text("/from/name"),
        "from_id": text("/from/pubkey"),
        "origin": text("/origin"),
        "message_id": text("/messageId"),
        "priority": text("/priority"),
        "sent_at": text("/createdAt"),
    })
}
