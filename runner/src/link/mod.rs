//! The link: brokers come in here, command, and are told what is the case.
//!
//! Owns one session for each connection. Parent: the root. Children: the dynamic set `link` holds one temporary task
//! `broker:<n>` for each connection that was upgraded on `/link`.
//!
//! A session proves itself both ways (`hello`), is judged by the epoch of its broker ([`fence`]), gets a complete report
//! and then every change (`report`), and has its commands (`commands`) and calls carried out. Nothing waits in it: calls
//! go straight to their service's gate, answers straight to the session's port ([`port`]).
//!
//! What a restart loses: the connection. Calls of a lost session that no process has seen are forgotten, so that a broker
//! that asks again does not run them twice; those under way are cancelled.

mod commands;
pub mod fence;
mod hello;
pub mod port;
mod report;
mod session;
mod socket;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use supervision::{Child, ChildSpec, Dynamic, Restart, StartError};

pub use hello::Identity;
pub use port::Ports;
pub use socket::{Connection, Io};

use crate::ending::Ending;
use crate::home::Fencing;
use crate::metrics::{Limit, Metrics};
use crate::service::Directory;

/// Brokers at once; a runner has one, and a second while it changes.
pub const LINKS_MAX: usize = 16;

/// What sessions work with.
pub struct Desk {
    /// Who we are.
    pub identity: Identity,
    /// The services.
    pub directory: Arc<Directory>,
    /// The open sessions.
    pub ports: Arc<Ports>,
    /// The highest epoch, durable.
    pub fencing: Fencing,
    /// How the runner is asked to end.
    pub ending: Ending,
    /// Where the tree is read.
    pub registry: supervision::Registry,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// Takes connections in.
pub struct Reception {
    desk: Arc<Desk>,
    set: Dynamic,
    last: AtomicU64,
}

impl Reception {
    /// For a tree that does not run yet.
    #[must_use]
    pub fn new(desk: Desk) -> Arc<Self> {
        Arc::new(Self { desk: Arc::new(desk), set: Dynamic::new().bounded(LINKS_MAX), last: AtomicU64::new(0) })
    }

    /// The set of sessions, for the tree.
    #[must_use]
    pub fn set(&self) -> &Dynamic {
        &self.set
    }

    /// The highest epoch of a broker, 0 before any.
    pub async fn epoch(&self) -> u64 {
        self.desk.fencing.epoch().await
    }

    /// Makes a session of a connection.
    ///
    /// # Errors
    /// When there are too many, or the set does not run.
    pub async fn take(&self, connection: Connection) -> Result<(), StartError> {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let spec = ChildSpec::new(format!("broker:{number}")).kind("link").restart(Restart::Temporary);
        let desk = Arc::clone(&self.desk);
        let connection = std::sync::Mutex::new(Some(connection));
        let task = Child::task(spec, move |life| {
            let connection = crate::service::lock(&connection).take();
            session::run(life, Arc::clone(&desk), number, connection)
        });
        let started = self.set.start(task).await;
        if matches!(started, Err(StartError::Full(_))) {
            self.desk.metrics.limits.count(Limit::Links);
        }
        started
    }
}
