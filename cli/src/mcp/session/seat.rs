//! Who the session is: its id, its key, and whether this process may be it.

use std::fs::File;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::config::MessageMode;
use protocol::wire::{PeerType, SessionKind};
use tokio::time::{Instant, sleep};

use crate::client::{Appearance, Mesh, Pushes};
use crate::error::CliError;
use crate::mcp::link::Seat;
use crate::output::Printer;
use crate::profile::{Profile, SessionFile};

/// Names the session.
const SESSION_ID: &str = "CLAUDEMESH_SESSION_ID";
/// Through what it is connected, as others see it.
const CHANNEL: &str = "claude-code";
/// How long a process of the same session may take to end.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked at.
const PREDECESSOR_POLL: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct SessionSeat {
    profile: Profile,
    slug: Option<String>,
    printer: Printer,
    /// None for a session that nobody will take up again.
    id: Option<String>,
    own_id: String,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// The right to be the session.
    lock: Option<File>,
    /// What is to be removed at the end.
    passing: Vec<SessionFile>,
}

impl SessionSeat {
    pub(super) fn new(profile: Profile, slug: Option<String>, printer: Printer) -> Self {
        let id = std::env::var(SESSION_ID).ok().filter(|id| !id.is_empty());
        let own_id = uuid::Uuid::new_v4().to_string();
        Self { profile, slug, printer, id, own_id, held: Mutex::default() }
    }

    /// How messages reach it: as was chosen; else into the conversation, if the session was launched for that.
    pub(super) fn message_mode(&self) -> Option<MessageMode> {
        let chosen = match self.profile.session_settings() {
            Ok(settings) => settings.message_mode,
            Err(error) => {
                self.printer.warning(&error.message);
                None
            }
        };
        chosen.or(self.id.is_some().then_some(MessageMode::Push))
    }

    /// The session's file, and whether this process is the session.
    async fn place(&self, mesh_id: &str) -> Result<(SessionFile, bool), CliError> {
        let id = self.id.as_deref().unwrap_or(&self.own_id);
        let file = self.profile.own_session(mesh_id, id)?;
        let deadline = Instant::now() + PREDECESSOR_WAIT;
        loop {
            if self.holds(&file)? {
                return Ok((file, true));
            }
            if Instant::now() >= deadline {
                let other = self.profile.own_session(mesh_id, &self.own_id)?;
                self.passes(&other);
                self.printer
                    .warning("another process is this session: this one has its tools, and is not seen by peers");
                return Ok((other, false));
            }
            sleep(PREDECESSOR_POLL).await;
        }
    }

    fn holds(&self, file: &SessionFile) -> Result<bool, CliError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.lock.is_none() {
            held.lock = file.try_lock()?;
        }
        let holds = held.lock.is_some();
        drop(held);
        if holds && self.id.is_none() {
            self.passes(file);
        }
        Ok(holds)
    }

    fn passes(&self, file: &SessionFile) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.passing.is_empty() {
            held.passing.push(file.clone());
        }
    }

    /// Forgets a session that nobody will take up again.
    pub(super) fn leave(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for file in held.passing.drain(..) {
            // What stays is cleared away when it is old.
            let _ = file.remove();
        }
    }
}

impl Seat for SessionSeat {
    async fn connect(&self) -> Result<Mesh, CliError> {
        let membership = self.profile.membership(self.slug.as_deref())?;
        let (file, is_session) = self.place(&membership.mesh.mesh_id).await?;
        let appearance = Appearance {
            kind: if is_session { SessionKind::Session } else { SessionKind::Cli },
            peer_type: PeerType::Ai,
            channel: Some(CHANNEL),
            groups: self.profile.session_settings()?.groups,
        };
        Mesh::connect_as(self.profile.clone(), membership, self.printer, Pushes::Kept, file, appearance).await
    }
}
