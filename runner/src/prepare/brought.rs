//! Reading what a package or a tree brought: other people's files, in folders that other people's programs wrote to.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::libc;

use super::error::PrepareError;

/// What is read of a manifest.
pub(super) const MANIFEST_BYTES: u64 = 4 * 1024 * 1024;

/// The first `most` bytes of a file, which is no link.
pub(super) fn read(file: &Path, most: u64) -> Result<Vec<u8>, PrepareError> {
    let mut bytes = Vec::new();
    // Without waiting: a pipe of that name would never be written to.
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file);
    let read = open.and_then(|open| open.take(most).read_to_end(&mut bytes));
    read.map_err(PrepareError::disk("read", file))?;
    Ok(bytes)
}
