//! Who may look when many want to: so many at once, so many at one host, so many of one member.
//!
//! A turn is waited for outside a look's own time: a host that many watch makes its watches late, and is no failure. The
//! member's share is taken first and the broker's last, so whoever waits holds nothing that others wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Looks of the broker at once: also its sockets for them.
pub const MAX_LOOKS: usize = 256;
/// Of them at one host and port.
pub const MAX_LOOKS_PER_HOST: usize = 8;
/// Of them for one member.
pub const MAX_LOOKS_PER_MEMBER: usize = 16;
/// Longest wait for a turn; then the look is left out, and the next one comes at its time.
pub const TURN_WITHIN: Duration = Duration::from_secs(30);
/// The same on the way of a redirect, which is within the look's own time.
const HOP_WITHIN: Duration = Duration::from_secs(2);
/// Keys that are kept before those that nobody uses are let go.
const SWEEP_ABOVE: usize = 1_024;

/// See the module.
pub struct Turns {
    all: Arc<Semaphore>,
    hosts: Keyed,
    members: Keyed,
}

impl Default for Turns {
    fn default() -> Self {
        let all = Arc::new(Semaphore::new(MAX_LOOKS));
        Self { all, hosts: Keyed::new(MAX_LOOKS_PER_HOST), members: Keyed::new(MAX_LOOKS_PER_MEMBER) }
    }
}

/// Held while looking.
#[derive(Debug)]
pub struct Turn {
    _shares: [OwnedSemaphorePermit; 3],
}

impl Turns {
    /// Waits for a turn of `member` at `host`; `None` when it did not come in time.
    pub async fn take(&self, member: &str, host: &str) -> Option<Turn> {
        let turn = async {
            let member = self.members.take(member).await?;
            let host = self.hosts.take(host).await?;
            let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Turn { _shares: [member, host, all] })
        };
        tokio::time::timeout(TURN_WITHIN, turn).await.ok().flatten()
    }

    /// Looks that are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        MAX_LOOKS.saturating_sub(self.all.available_permits())
    }

    /// Waits for a share of a host that a redirect led to; `None` when it did not come in time.
    pub(super) async fn at_host(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        tokio::time::timeout(HOP_WITHIN, self.hosts.take(host)).await.ok().flatten()
    }
}

/// A number of shares for each key.
struct Keyed {
    each: usize,
    keys: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Keyed {
    fn new(each: usize) -> Self {
        Self { each, keys: Mutex::default() }
    }

    async fn take(&self, key: &str) -> Option<OwnedSemaphorePermit> {
        self.of(key).acquire_owned().await.ok()
    }

    fn of(&self, key: &str) -> Arc<Semaphore> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = keys.get(key).and_then(Weak::upgrade) {
            return shares;
        }
        if keys.len() >= SWEEP_ABOVE {
            keys.retain(|_, shares| shares.strong_count() > 0);
        }
        let shares = Arc::new(Semaphore::new(self.each));
        keys.insert(key.to_owned(), Arc::downgrade(&shares));
        shares
    }
}
