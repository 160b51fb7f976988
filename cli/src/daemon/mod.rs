//! The long-lived processes: from checked words to a running broker or runner.
//!
//! Contract: everything is checked and made ready here, before a port is bound; the libraries then run until they are
//! told to stop. The environment is read here and handed down.

pub(crate) mod broker;
mod log;
mod owner;
pub(crate) mod runner;
pub(crate) mod up;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::CliError;

/// Version, as broker and runner tell it to each other and to people.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// This very program, also after its file was replaced by a newer one.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The settings file that is read when none is named.
const SETTINGS_FILE: &str = "claudemesh.toml";

/// The environment, as far as it is text; the rest means nothing to any setting.
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The named settings file, else the one in the data directory if there is one.
fn settings_file(named: Option<&Path>, data_dir: &Path) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| Some(data_dir.join(SETTINGS_FILE)).filter(|path| path.exists()))
}

/// Makes a directory, and those above it, for its owner only; one that is there keeps its mode.
fn private_dir(path: &Path) -> Result<(), CliError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| CliError::failed(format!("cannot make {}: {error}", path.display())))
}

/// An error of a library, with everything that caused it.
fn explained(error: &dyn std::error::Error) -> CliError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent errors repeat their source.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    CliError::failed(text)
}
