//! What is in the cache, and what goes when it takes too much room.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::FlockArg;

use super::lock::try_lock;
use super::{Cache, Kind, read_receipt, usage};

/// An installation, as it is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::prepare) struct Kept {
    pub(in crate::prepare) kind: &'static str,
    pub(in crate::prepare) package: String,
    pub(in crate::prepare) version: String,
    pub(in crate::prepare) bytes: u64,
    /// `None` where nobody knows.
    pub(in crate::prepare) last_used: Option<SystemTime>,
    pub(in crate::prepare) in_use: bool,
}

impl Cache {
    /// Every installation, by kind and name. Blocks.
    pub(in crate::prepare) fn contents(&self) -> Vec<Kept> {
        let mut found = Vec::new();
        for kind in Kind::ALL {
            for package in names(&self.root.join("packages").join(kind.as_str())) {
                for version in names(&self.root.join("packages").join(kind.as_str()).join(&package)) {
                    found.extend(self.look(kind, &package, version));
                }
            }
        }
        found
    }

    fn look(&self, kind: Kind, package: &str, version: String) -> Option<Kept> {
        let place = |area: &str| self.root.join(area).join(kind.as_str()).join(package).join(&version);
        let directory = place("packages");
        let used = place("used");
        let bytes = read_receipt(&directory).map_or(0, |receipt| receipt.bytes);
        let last_used = used.metadata().and_then(|facts| facts.modified()).ok();
        let in_use = used.exists() && usage::lock(&used, FlockArg::LockExclusiveNonblock).is_none();
        Some(Kept { kind: kind.as_str(), package: package.to_owned(), version, bytes, last_used, in_use })
    }

    /// Clears away what was not used for the longest time until the rest takes at most `limit` bytes; what is in use, or
    /// is being built, stays. Says what went. Blocks.
    pub(in crate::prepare) fn trim(&self, limit: u64) -> Vec<Kept> {
        let mut gone = choose(self.contents(), limit);
        gone.retain(|kept| {
            let removed = self.remove(kept);
            if removed {
                tracing::info!(kind = kept.kind, package = kept.package, version = kept.version, "cleared away");
            }
            removed
        });
        gone
    }

    fn remove(&self, kept: &Kept) -> bool {
        let place = |area: &str| self.root.join(area).join(kept.kind).join(&kept.package);
        // In this order, or a builder that publishes would find its own installation locked.
        let Ok(Some(_builder)) = try_lock(&place("locks")) else { return false };
        let used = place("used").join(&kept.version);
        let Some(_user) = usage::lock(&used, FlockArg::LockExclusiveNonblock) else { return false };
        clear(&place("packages").join(&kept.version), &place("staging"))
    }
}

/// Out of sight first, so that a half of it is never found.
fn clear(directory: &Path, staging: &Path) -> bool {
    let aside = staging.join("cleared");
    let moved = fs::create_dir_all(staging).and_then(|()| {
        drop(fs::remove_dir_all(&aside));
        fs::rename(directory, &aside)
    });
    if let Err(error) = moved {
        tracing::warn!(%error, path = %directory.display(), "cannot be cleared away");
        return false;
    }
    if let Err(error) = fs::remove_dir_all(staging) {
        tracing::warn!(%error, path = %staging.display(), "the next build of the package clears it away");
    }
    true
}

/// The longest unused first, as many as it takes.
fn choose(mut found: Vec<Kept>, limit: u64) -> Vec<Kept> {
    let mut total = found.iter().fold(0_u64, |sum, kept| sum.saturating_add(kept.bytes));
    found.sort_by(|a, b| (a.last_used, &a.package, &a.version).cmp(&(b.last_used, &b.package, &b.version)));
    let mut gone = Vec::new();
    for kept in found {
        if total <= limit {
            break;
        }
        if !kept.in_use {
            total = total.saturating_sub(kept.bytes);
            gone.push(kept);
        }
    }
    gone
}

/// What a folder holds, by name; what cannot be a name of ours is left alone.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| PathBuf::from(entry.file_name()).into_os_string().into_string().ok())
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn kept(package: &str, bytes: u64, used: u64, in_use: bool) -> Kept {
        let last_used = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(used));
        Kept { kind: "npx", package: package.to_owned(), version: "1".to_owned(), bytes, last_used, in_use }
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_in_use_stays() {
        let found = || vec![kept("new", 10, 9, false), kept("old", 10, 1, false), kept("running", 50, 0, true)];
        let gone = |limit| choose(found(), limit).into_iter().map(|kept| kept.package).collect::<Vec<_>>();
        assert_eq!(gone(70), Vec::<String>::new());
        assert_eq!(gone(69), ["old"]);
        assert_eq!(gone(60), ["old"]);
        assert_eq!(gone(59), ["old", "new"]);
        assert_eq!(gone(0), ["old", "new"]);
    }
}
