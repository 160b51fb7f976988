//! One peer session: a member's client that is here now.
//!
//! Owns the session's presence and carries out its requests, calls excepted: those go from the socket
//! straight to a service's desk. Parent: the mesh's set `peers`, temporary: a session that fails is not
//! restarted here, its client comes back. A restart would lose nothing but the presence.

mod actor;
mod deploy;
pub mod reply;
mod spec;

use std::sync::Arc;

use protocol::identity::{PublicKey, SessionCert};
use protocol::wire::{Group, PeerType};

pub use actor::{Ask, PeerActor, Wanted};
pub use spec::child;

use super::scope::Principal;
use crate::store::{MeshId, UtcMs};

/// Where a session's frames go. Never blocks; a receiver that does not keep up is ended.
pub trait Outlet: Send + Sync {
    /// Queues a text frame; false when the session is being ended.
    fn send(&self, frame: String) -> bool;
    /// Ends the session's socket with this close code and reason.
    fn close(&self, code: u16, reason: &str);
    /// How long nothing was heard from the other side, pongs included.
    fn silence(&self) -> std::time::Duration;
}

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session that others see.
    Session,
    /// Carries a session's native tools; not a peer.
    Proxy,
    /// One command of a person; not a peer.
    Cli,
}

/// A present session.
#[derive(Debug, Clone)]
pub struct Presence {
    /// New for each.
    pub presence_id: String,
    /// The mesh it is in.
    pub mesh_id: MeshId,
    /// Who it is.
    pub principal: Principal,
    /// The key others address it by: the session's, or the member's for a client without one.
    pub address: PublicKey,
    /// Whether others see it.
    pub shows: bool,
    /// The client's own id of the session.
    pub session_id: String,
    /// What kind of client.
    pub kind: Kind,
    /// Its capabilities, as announced.
    pub capabilities: Vec<String>,
    /// The rest of the hello, shown to others.
    pub about: Arc<About>,
}

/// What a client says about itself, as others are shown it.
#[derive(Debug, Clone)]
pub struct About {
    /// The member's key.
    pub member: PublicKey,
    /// The member's word for the session's key.
    pub session_cert: Option<SessionCert>,
    /// Groups, with the role in each.
    pub groups: Vec<Group>,
    /// Working directory.
    pub cwd: String,
    /// Machine.
    pub hostname: Option<String>,
    /// What kind of peer.
    pub peer_type: Option<PeerType>,
    /// Through what it is connected.
    pub channel: Option<String>,
    /// The model behind it.
    pub model: Option<String>,
    /// Since when it is here.
    pub connected_at: UtcMs,
}

impl Presence {
    /// Whether the client announced this capability.
    #[must_use]
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }
}
