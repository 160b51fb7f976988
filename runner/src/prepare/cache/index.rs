//! Which exact version a specification meant when it was last resolved, so
//! that what was installed once starts again without the network.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{Cache, Key, create, is_plain_version, write_durably};
use crate::prepare::error::PrepareError;

/// Specifications remembered per package; the oldest give way.
const MAX_ENTRIES: usize = 64;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    /// The latest last.
    entries: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    spec: String,
    version: String,
}

impl Cache {
    /// The version `spec` meant when it was last resolved.
    pub(in crate::prepare) fn resolved(&self, key: &Key, spec: &str) -> Option<String> {
        let entries = self.read_index(key).entries;
        let entry = entries.into_iter().find(|entry| entry.spec == spec)?;
        is_plain_version(&entry.version).then_some(entry.version)
    }

    /// Remembers what `spec` means now. The caller holds the package's lock.
    pub(in crate::prepare) fn remember(&self, key: &Key, spec: &str, version: &str) -> Result<(), PrepareError> {
        let mut index = self.read_index(key);
        if index.entries.iter().any(|entry| entry.spec == spec && entry.version == version) {
            return Ok(());
        }
        index.entries.retain(|entry| entry.spec != spec);
        index.entries.push(Entry { spec: spec.to_owned(), version: version.to_owned() });
        let excess = index.entries.len().saturating_sub(MAX_ENTRIES);
        index.entries.drain(..excess);
        let file = self.index_file(key);
        create(file.parent().unwrap_or(&self.root))?;
        write_durably(&file, &index)
    }

    /// A missing or unreadable index is an empty one: it only saves questions.
    fn read_index(&self, key: &Key) -> Index {
        let bytes = fs::read(self.index_file(key)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn index_file(&self, key: &Key) -> std::path::PathBuf {
        let mut file = self.place("resolved", key).into_os_string();
        file.push(".json");
        file.into()
    }
}
