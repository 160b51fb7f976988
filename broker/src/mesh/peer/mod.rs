//! One peer session: a member's client that is here now.
//!
//! Owns the session's presence and carries out its requests, calls excepted: those go from the socket
//! straight to a service's desk. Parent: the mesh's set `peers`, temporary: a session that fails is not
//! restarted here, its client comes back. A restart would lose nothing but the presence.

mod actor;
mod admin;
mod deploy;
mod files;
mod history;
mod hosting;
mod mail;
pub mod reply;
mod runners;
mod sealed;
mod spec;
mod vault;
mod watches;

use std::sync::{Arc, PoisonError, RwLock};

use protocol::identity::{PublicKey, SessionCert};
use protocol::wire::{Group, PeerType};
use serde::{Deserialize, Serialize};

pub use actor::{Ask, PeerActor, Seated, Wanted};
pub use admin::Administer;
pub use files::FileRequest;
pub use spec::child;
pub use vault::VaultRequest;
pub use watches::WatchRequest;

use super::scope::Principal;
use super::seats::Seat;
use crate::mesh::mail::{Address, PresenceId};
use crate::store::{MemberId, MeshId, UtcMs};

/// Where a session's frames go. Never blocks; a receiver that does not keep up is ended.
pub trait Outlet: Send + Sync {
    /// Queues a text frame; false when the session is being ended.
    fn send(&self, frame: String) -> bool;
    /// Ends the session's socket with this close code and reason.
    fn close(&self, code: u16, reason: &str);
    /// Pings the other side; its pong comes back with this mark.
    fn ping(&self, mark: u64);
    /// Whether the socket is over.
    fn is_over(&self) -> bool;
    /// How long nothing was heard from the other side, pongs included.
    fn silence(&self) -> std::time::Duration;
}

/// What kind of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A session that others see.
    Session,
    /// Carries a session's native tools; not a peer.
    Proxy,
    /// One command of a person; not a peer.
    Cli,
}

/// Who a connection is, as of now: roles and groups may change while it lasts.
#[derive(Debug)]
pub struct Standing(RwLock<Arc<Principal>>);

impl Standing {
    /// With who it is at first.
    #[must_use]
    pub fn new(principal: Principal) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Arc::new(principal))))
    }

    /// Who it is now.
    #[must_use]
    pub fn now(&self) -> Arc<Principal> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who it is from now on.
    pub fn set(&self, principal: Principal) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(principal);
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Presence {
    /// New for each.
    pub presence_id: PresenceId,
    /// The mesh it is in.
    pub mesh_id: MeshId,
    /// Who it is.
    pub standing: Arc<Standing>,
    /// The member's id.
    pub member: MemberId,
    /// What it calls itself.
    pub name: String,
    /// Its mailbox: the session's key, or one made for a client without one.
    pub address: Address,
    /// The key that others are shown: the session's, or the member's for a client without one.
    pub shown: PublicKey,
    /// Its place among the mesh's and the member's connections.
    pub seat: Seat,
    /// The client's own id of the session.
    pub session_id: String,
    /// What kind of client.
    pub kind: Kind,
    /// The groups it names, with the role in each.
    pub groups: Vec<Group>,
    /// Its capabilities, as announced.
    pub capabilities: Vec<String>,
    /// The rest of the hello, shown to others.
    pub about: Arc<About>,
}

/// What a client says about itself, as others are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The member's key.
    pub member: PublicKey,
    /// The member's word for the session's key.
    pub session_cert: Option<SessionCert>,
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
    /// Who it is now.
    #[must_use]
    pub fn principal(&self) -> Arc<Principal> {
        self.standing.now()
    }

    /// Whether others see it.
    #[must_use]
    pub fn shows(&self) -> bool {
        self.kind == Kind::Session
    }

    /// Whether the client announced this capability.
    #[must_use]
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }
}
