//! Where the client keeps its files: as the client itself decides it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::CliError;
use crate::profile;

/// The client's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    /// `.claude.json`: the MCP servers of the user, and much that is not ours.
    pub(crate) state: PathBuf,
    /// `settings.json`: the hooks.
    pub(crate) settings: PathBuf,
    /// The conversations, in a folder for each directory.
    pub(crate) projects: PathBuf,
}

impl Files {
    /// As the environment says.
    pub(crate) fn from_environment() -> Result<Self, CliError> {
        let named = std::env::var_os("CLAUDE_CONFIG_DIR").filter(|directory| !directory.is_empty());
        Ok(Self::of(&profile::home()?, named, |path| path.exists()))
    }

    fn of(home: &Path, named: Option<OsString>, exists: impl Fn(&Path) -> bool) -> Self {
        let directory = named.clone().map_or_else(|| home.join(".claude"), PathBuf::from);
        // A name that the client had for it once, and still prefers.
        let early = directory.join(".config.json");
        let usual = named.map_or_else(|| home.to_path_buf(), PathBuf::from).join(".claude.json");
        Self {
            state: if exists(&early) { early } else { usual },
            settings: directory.join("settings.json"),
            projects: directory.join("projects"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_where_the_client_looks_for_them() {
        let home = Path::new("/h");
        for (named, early, state, settings) in [
            (None, false, "/h/.claude.json", "/h/.claude/settings.json"),
            (None, true, "/h/.claude/.config.json", "/h/.claude/settings.json"),
            (Some("/c"), false, "/c/.claude.json", "/c/settings.json"),
            (Some("/c"), true, "/c/.config.json", "/c/settings.json"),
        ] {
            let files = Files::of(home, named.map(OsString::from), |_| early);
            assert_eq!((files.state, files.settings), (state.into(), settings.into()));
        }
    }
}
