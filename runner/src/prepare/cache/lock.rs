//! One builder per package, across tasks and across processes.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::{Cache, Key, create};
use crate::prepare::error::PrepareError;

/// How often a held lock is tried again. Asking, rather than blocking a thread
/// in the kernel, is what lets a preparation be given up at any moment.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Held while a package is built, published or cleaned up; the kernel lets go
/// of it when its holder dies.
#[derive(Debug)]
pub(in crate::prepare) struct Lock {
    _file: Flock<File>,
}

impl Cache {
    /// Waits for the package's lock. The caller sets the time limit by
    /// dropping the future.
    pub(in crate::prepare) async fn lock(&self, key: &Key) -> Result<Lock, PrepareError> {
        let path = self.place("locks", key);
        loop {
            if let Some(lock) = try_lock(&path)? {
                return Ok(lock);
            }
            tokio::time::sleep(RETRY_EVERY).await;
        }
    }
}

/// The lock at `path`, unless someone else holds it.
pub(super) fn try_lock(path: &Path) -> Result<Option<Lock>, PrepareError> {
    create(path.parent().unwrap_or(path))?;
    let open = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = open.map_err(PrepareError::disk("open", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(file) => Ok(Some(Lock { _file: file })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(PrepareError::disk("lock", path)(errno.into())),
    }
}
