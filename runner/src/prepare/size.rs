//! How large a build may grow.
//!
//! **Contract.** What lies below a build's directory is counted while its tools run and after each of them. Over a bound
//! the tool is killed and the build fails, so that no repository and no package fills the disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::PrepareError;
use super::off_thread;

/// Bytes on the disk that one build may take.
pub const BUILD_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Files and directories that one build may make.
pub const BUILD_FILES: u64 = 400_000;
/// How often a build is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Looking takes a tenth of the time: a large tree is looked at less often.
const REST: u32 = 10;
/// What the kernel counts `st_blocks` in.
const BLOCK_BYTES: u64 = 512;

/// What one build may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) bytes: u64,
    pub(super) files: u64,
}

/// Which bound is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Bytes(u64),
    Files(u64),
}

impl From<Excess> for PrepareError {
    fn from(excess: Excess) -> Self {
        match excess {
            Excess::Bytes(bound) => Self::TooLarge { bound, unit: "bytes" },
            Excess::Files(bound) => Self::TooLarge { bound, unit: "files" },
        }
    }
}

/// Resolves when what lies below `root` is over its bounds.
pub(super) async fn outgrown(root: &Path, bounds: Bounds) -> Excess {
    loop {
        let began = Instant::now();
        let place = root.to_owned();
        if let Some(excess) = off_thread(move || excess(measure(&place, bounds), bounds)).await {
            return excess;
        }
        sleep((began.elapsed() * REST).max(LOOK_EVERY)).await;
    }
}

pub(super) fn excess(size: Size, bounds: Bounds) -> Option<Excess> {
    if size.bytes > bounds.bytes {
        Some(Excess::Bytes(bounds.bytes))
    } else if size.files > bounds.files {
        Some(Excess::Files(bounds.files))
    } else {
        None
    }
}

/// Counts what lies below `root`, a file with several names once, and stops as soon as it is too much. What vanishes
/// meanwhile is not there; links are not followed. Blocks.
pub(super) fn measure(root: &Path, bounds: Bounds) -> Size {
    let mut size = Size::default();
    let mut known = HashSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(facts) = entry.metadata() else { continue };
            size.files += 1;
            if facts.is_dir() {
                waiting.push(entry.path());
            } else if facts.nlink() > 1 && !known.insert((facts.dev(), facts.ino())) {
                continue;
            }
            size.bytes = size.bytes.saturating_add(facts.blocks().saturating_mul(BLOCK_BYTES));
            if excess(size, bounds).is_some() {
                return size;
            }
        }
    }
    size
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_lies_below_is_counted_once_and_no_further_than_needed() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), vec![1; 64 * 1024]).unwrap();
        fs::hard_link(inner.join("file"), inner.join("again")).unwrap();
        std::os::unix::fs::symlink("/", inner.join("out")).unwrap();
        let wide = Bounds { bytes: u64::MAX, files: u64::MAX };
        let all = measure(root.path(), wide);
        assert_eq!(all.files, 5);
        assert!((64 * 1024..128 * 1024).contains(&all.bytes), "{all:?}");
        assert_eq!(excess(all, wide), None);
        let few = Bounds { files: 2, ..wide };
        assert_eq!(excess(measure(root.path(), few), few), Some(Excess::Files(2)));
        let small = Bounds { bytes: 1024, ..wide };
        assert_eq!(excess(measure(root.path(), small), small), Some(Excess::Bytes(1024)));
    }
}
