//! What is installed, for whoever looks after the disk. Works on a runner's cache whether or not the runner runs.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cache::{Cache, Kept};

/// The installations of a cache directory.
#[derive(Debug, Clone)]
pub struct Stock {
    cache: Cache,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockItem {
    /// `npx`, `uvx`, `git` or `zip`.
    pub kind: &'static str,
    /// What it is kept under.
    pub package: String,
    /// Its exact version.
    pub version: String,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When it was last started or stopped; `None` where nobody knows.
    pub last_used: Option<SystemTime>,
    /// Whether a service runs it.
    pub in_use: bool,
}

impl From<Kept> for StockItem {
    fn from(kept: Kept) -> Self {
        let Kept { kind, package, version, bytes, last_used, in_use } = kept;
        Self { kind, package, version, bytes, last_used, in_use }
    }
}

impl Stock {
    /// Of the runner with this data directory.
    #[must_use]
    pub fn of(data_dir: &Path) -> Self {
        Self { cache: Cache::new(Self::place(data_dir)) }
    }

    /// Where a runner's cache lies.
    #[must_use]
    pub fn place(data_dir: &Path) -> PathBuf {
        data_dir.join("cache")
    }

    /// Everything that is installed. Blocks.
    #[must_use]
    pub fn items(&self) -> Vec<StockItem> {
        self.cache.contents().into_iter().map(Into::into).collect()
    }

    /// Clears away what was not used for the longest time until the rest takes at most `limit` bytes, and says what went.
    /// What a service runs or a build makes stays. Blocks.
    #[must_use]
    pub fn trim(&self, limit: u64) -> Vec<StockItem> {
        self.cache.trim(limit).into_iter().map(Into::into).collect()
    }
}
