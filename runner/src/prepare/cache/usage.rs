//! Who uses an installation, and when it was last used.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};

use super::{Cache, Key, create};

/// How often a hold is tried, and the pause between: it waits for somebody who looks, not for somebody who clears away.
const HOLD_TRIES: u32 = 20;
const HOLD_PAUSE: Duration = Duration::from_millis(5);

/// Keeps an installation where it is for as long as somebody has a copy of this; the kernel lets go when its holder dies.
#[derive(Debug, Clone)]
pub struct Hold(#[expect(dead_code, reason = "it is there to be dropped")] Arc<Held>);

#[derive(Debug)]
struct Held(Flock<File>);

impl Drop for Held {
    fn drop(&mut self) {
        // Only the order of clearing away depends on it.
        drop(self.0.set_modified(SystemTime::now()));
    }
}

/// Whose it is makes no difference to what is held.
impl PartialEq for Hold {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Hold {}

impl Cache {
    /// Holds an installation, unless it is just being cleared away.
    pub(super) fn hold(&self, key: &Key, version: &str) -> Option<Hold> {
        let place = self.place("used", key).join(version);
        let mut tries = (0..HOLD_TRIES).map(|n| {
            // Whoever lists the cache has each of these locks for a moment.
            std::thread::sleep(if n == 0 { Duration::ZERO } else { HOLD_PAUSE });
            lock(&place, FlockArg::LockSharedNonblock)
        });
        let lock = tries.find_map(|lock| lock)?;
        drop(lock.set_modified(SystemTime::now()));
        Some(Hold(Arc::new(Held(lock))))
    }
}

/// The lock on `path`, unless it is in the way of another or cannot be made.
pub(super) fn lock(path: &Path, how: FlockArg) -> Option<Flock<File>> {
    create(path.parent()?).ok()?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).ok()?;
    Flock::lock(file, how).ok()
}
