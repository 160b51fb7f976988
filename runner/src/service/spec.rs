//! The child specification of a service, from its deployment's policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::link::{Policy, RestartKind, StrategyKind};
use supervision::{Ack, Backoff, Intensity, Restart, Strategy};

use super::sealed::Versions;
use crate::keys::BoxKey;
use crate::prepare::Preparer;
use crate::process::{HANDSHAKE_LIMIT, KILL_LIMIT, Launcher};

/// The part that turns a source into a program.
pub(super) const PREPARE: &str = "prepare";
/// What the parts that run it are called, before their key.
pub(super) const INSTANCE: &str = "instance:";
/// The part that holds them when there are several.
pub(super) const INSTANCES: &str = "instances";
/// Delays are scattered by this share, so that services that fell together do not rise together.
const JITTER: f64 = 0.2;
/// A preparation keeps its own time; this is for one that does not.
pub(super) const BUILD_MARGIN: Duration = Duration::from_secs(10);

/// What a build that is given up may take to be gone: a tool that is just being started is started and then killed, and
/// its directory is removed.
pub(super) const GIVE_UP_LIMIT: Duration =
    Duration::from_secs(5).saturating_add(HANDSHAKE_LIMIT.saturating_add(KILL_LIMIT));

/// What services are made with.
pub struct Means {
    /// Starts processes.
    pub launcher: Launcher,
    /// Installs sources.
    pub preparer: Preparer,
    /// Where each service has its own directory.
    pub services_dir: PathBuf,
    /// What opens boxes.
    pub key: BoxKey,
    /// The versions that were found here.
    pub(crate) versions: Versions,
}

pub(super) fn intensity(policy: &Policy) -> Intensity {
    Intensity::new(policy.max_restarts, Duration::from_millis(policy.within_ms))
}

pub(super) fn backoff(policy: &Policy) -> Backoff {
    Backoff {
        first: Duration::from_millis(policy.backoff_first_ms),
        max: Duration::from_millis(policy.backoff_max_ms),
        jitter: JITTER,
        stable: Duration::from_millis(policy.stable_ms),
    }
}

pub(super) fn restart(policy: &Policy) -> Restart {
    match policy.restart {
        RestartKind::Permanent => Restart::Permanent,
        RestartKind::Transient => Restart::Transient,
        RestartKind::Temporary => Restart::Temporary,
    }
}

pub(super) fn strategy(policy: &Policy) -> Strategy {
    match policy.strategy {
        StrategyKind::OneForOne => Strategy::OneForOne,
        StrategyKind::OneForAll => Strategy::OneForAll,
        StrategyKind::RestForOne => Strategy::RestForOne,
    }
}

/// A service parks at its first abnormal exit: whatever may be tried again is tried inside it.
pub(super) const MEMBER_INTENSITY: Intensity = Intensity::new(0, Duration::from_secs(1));

pub(super) const BY_ITSELF: Ack = Ack::Explicit;

/// Shared by every task of the services.
pub(super) type SharedMeans = Arc<Means>;
