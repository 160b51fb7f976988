//! Archives that somebody uploaded, unpacked and raised as any other tree.
//!
//! **Contract.** The version of an archive is the SHA-256 of its bytes, which the broker names and the runner checks when
//! the file comes. The file waits in the cache's `files/` under its deployment's id until the deployment is built; what
//! was built once needs it no more. Nothing that the archive says about itself is believed: see [`unpack`].

mod store;
mod unpack;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::source::{Runtime, Source};
use sha2::{Digest as _, Sha256};

pub use self::store::{FileError, Files};
use self::unpack::{Bounds, unpack};
use super::build::Build;
use super::cache::{self, Key, Kind, Receipt};
use super::error::PrepareError;
use super::off_thread;
use super::package::{Package, Unresolved};
use super::tree::{self, Order};

/// Digits of a SHA-256.
pub(super) const SHA256_DIGITS: usize = 64;

/// A project in an archive.
#[derive(Debug, Clone)]
pub(super) struct Archive {
    order: Order,
    /// Where its file waits, if it is there.
    file: PathBuf,
}

impl Archive {
    /// `source` is one of an upload, `file` where its bytes are when it has to be built.
    pub(super) fn of(source: &Source, runtime: Option<Runtime>, file: PathBuf) -> Result<Self, PrepareError> {
        source.validate().map_err(|error| PrepareError::invalid(error.field, error.problem))?;
        let Source::Zip { subdirectory, build_command, .. } = source else {
            return Err(PrepareError::Unsupported { what: source.kind() });
        };
        Ok(Self { order: Order::new(subdirectory.as_deref(), build_command, runtime), file })
    }

    /// Everything that shapes an installation, the bytes apart: those are its version.
    fn digest(&self) -> String {
        cache::digest(self.order.words().iter().map(String::as_str))
    }
}

/// Whether `version` is all digits of a SHA-256.
pub(super) fn is_sha256(version: &str) -> bool {
    version.len() == SHA256_DIGITS && version.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whoever waits for the unpacking no longer wants it.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Package for Archive {
    type Tools = ();

    fn key(&self) -> Key {
        Key::new(Kind::Zip, &[&self.digest()])
    }

    fn spec(&self) -> String {
        "the uploaded archive".to_owned()
    }

    fn exact(&self) -> Option<&str> {
        None
    }

    fn tools(&self, _: &Build<'_>) -> Result<(), PrepareError> {
        Ok(())
    }

    async fn resolve(&self, (): &(), _: &mut Build<'_>) -> Result<String, Unresolved> {
        let why = "an archive's version is the SHA-256 of its bytes, and none was named";
        Err(PrepareError::invalid("version", why).into())
    }

    async fn install(&self, (): &(), version: &str, build: &mut Build<'_>) -> Result<(), PrepareError> {
        if !is_sha256(version) {
            return Err(PrepareError::invalid("version", format!("{version:?} is no SHA-256")));
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Stop(Arc::clone(&stopped));
        let (file, version) = (self.file.clone(), version.to_owned());
        let place = build.stage.package().join(tree::TREE);
        let bounds = Bounds::within(build.bounds);
        let unpacked = off_thread(move || {
            let open = open(&file, &version)?;
            unpack(open, &place, bounds, &stopped)
        });
        let unpacked = build.deadline.hold("unpacking the archive", unpacked).await??;
        drop(stop);
        build.say(&format!("unpacked {} files, {} bytes", unpacked.files, unpacked.bytes));
        Box::pin(self.order.raise(build)).await
    }

    fn receipt(&self, root: &Path, version: &str) -> Result<Receipt, PrepareError> {
        let receipt = self.order.receipt(root, version)?;
        // What is installed needs it no more.
        drop(std::fs::remove_file(&self.file));
        Ok(receipt)
    }
}

/// The file that waits, if it is the one that is meant.
fn open(path: &Path, version: &str) -> Result<File, PrepareError> {
    let missing = |_| PrepareError::FileGone;
    let mut file = File::open(path).map_err(missing)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash).map_err(PrepareError::disk("read", path))?;
    if hex::encode(hash.finalize()) == version { Ok(file) } else { Err(PrepareError::FileGone) }
}

#[cfg(test)]
mod tests;
