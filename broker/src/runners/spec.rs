//! The child specifications of a runner's link and, in the embedded default, of its process.

use std::sync::Arc;
use std::time::Duration;

use protocol::SecretString;
use rand::RngCore as _;
use supervision::{Ack, Backoff, Child, ChildSpec, Intensity, Restart, Shutdown};

use super::embedded::{self, Program};
use super::link::Link;
use super::session;
use crate::config::RunnerUrl;

/// First redial at once, then 50 ms doubling to 2 s: a broker is useful again within 2 s of its runner.
const REDIAL: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
    jitter: 0.2,
    stable: Duration::from_secs(10),
};

/// A runner process that dies is started again at once, then more and more slowly.
const RESPAWN: Backoff = Backoff {
    first: Duration::from_millis(200),
    max: Duration::from_secs(5),
    jitter: 0.2,
    stable: Duration::from_secs(30),
};

/// One runner, as configured.
#[derive(Clone)]
pub struct RunnerConfig {
    /// What the tree and the deploy option call it.
    pub name: String,
    /// Where it listens.
    pub address: RunnerUrl,
    /// The secret both sides prove to know.
    pub token: SecretString,
    /// The embedded default: this broker starts the runner itself.
    pub program: Option<Program>,
}

/// What a link needs in order to dial.
#[derive(Clone)]
pub(super) struct Dialler {
    pub(super) address: RunnerUrl,
    pub(super) token: SecretString,
    pub(super) store_id: String,
    pub(super) epoch: u64,
    pub(super) build: String,
}

/// The children of the set `runners` for one configured runner.
#[must_use]
pub fn children(config: &RunnerConfig, link: &Link, store_id: &str, epoch: u64, build: &str) -> Vec<Child> {
    let dialler = Arc::new(Dialler {
        address: config.address.clone(),
        token: config.token.clone(),
        store_id: store_id.to_owned(),
        epoch,
        build: build.to_owned(),
    });
    let dialled = link.clone();
    let spec = ChildSpec::new(format!("link:{}", config.name))
        .kind("link")
        .restart(Restart::Permanent)
        .ack(Ack::Explicit)
        // Connecting, upgrade and handshake have limits of their own; the first report follows at once.
        .start_timeout(Duration::from_secs(20))
        .shutdown(Shutdown::Deadline(Duration::from_secs(1)))
        // Dialled for ever: a runner that was away must find its broker when it comes back.
        .intensity(Intensity::UNLIMITED)
        .backoff(REDIAL);
    let link_child = Child::task(spec, move |life| session::run(dialled.clone(), Dialler::clone(&dialler), life));
    let mut children = Vec::new();
    if let Some(program) = &config.program {
        let (program, link) = (program.clone(), link.clone());
        let spec = ChildSpec::new(format!("process:{}", config.name))
            .kind("runner")
            .restart(Restart::Permanent)
            .ack(Ack::Explicit)
            .start_timeout(embedded::START_TIMEOUT + Duration::from_secs(2))
            // Longer than the runner's own drain, so that it ends by itself.
            .shutdown(Shutdown::Deadline(embedded::STOP_TIMEOUT + Duration::from_secs(2)))
            .intensity(Intensity::UNLIMITED)
            .backoff(RESPAWN);
        children.push(Child::task(spec, move |life| embedded::run(program.clone(), link.clone(), life)));
    }
    children.push(link_child);
    children
}

/// 32 random bytes in hex.
pub(super) fn nonce() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
