//! Sources become programs: the whole way with tools that are written for the
//! test (`flow`, `bounds`), and with the real ones (`registry`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::as_conversions, reason = "tests")]

mod bounds;
mod flow;
mod git;
mod planted;
mod private;
mod registry;
mod repository;
mod stand_in;
mod stock;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::source::Source;
use runner::prepare::{EnvSource, PrepareError, Prepared, Preparer};
use runner::process::{Launcher, Level};

/// Far more than anything here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

fn npx(package: &str) -> Source {
    Source::Npx { package: package.to_owned() }
}

fn uvx(package: &str) -> Source {
    Source::Uvx { package: package.to_owned(), with: Vec::new() }
}

/// A launcher that hides `data`, as a runner hides its own files, so that a
/// build works only if its directory is shown to its tools.
async fn launcher(data: &Path) -> Launcher {
    launcher_of(data, None).await
}

/// As [`launcher`], of this level at most. This binary is its own warden.
async fn launcher_of(data: &Path, maximum: Option<Level>) -> Launcher {
    std::fs::create_dir_all(data).unwrap();
    Launcher::probe("/proc/self/exe".into(), vec![data.to_owned()], maximum).await.unwrap()
}

/// A preparer whose cache is in `data`, with `env` as its runner's environment.
async fn preparer(data: &Path, env: impl IntoIterator<Item = (OsString, OsString)>) -> Preparer {
    Preparer::new(data.join("cache"), launcher(data).await, EnvSource::new(env), 2)
}

/// Prepares without arguments and returns the lines that were said, too.
async fn prepare(
    preparer: &Preparer,
    source: &Source,
    known: Option<&str>,
) -> (Result<Prepared, PrepareError>, Vec<String>) {
    let mut lines = Vec::new();
    let mut on_line = |line: &str| lines.push(line.to_owned());
    let prepared = preparer.prepare(source, known, &[], LIMIT, &mut on_line).await;
    (prepared, lines)
}

/// This process's environment with another `PATH`.
fn env_with_path(path: &OsStr) -> Vec<(OsString, OsString)> {
    let own = std::env::vars_os().filter(|(name, _)| name != "PATH");
    own.chain([("PATH".into(), path.to_owned())]).collect()
}

/// All regular files and links under `root`.
fn files_under(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() && !path.is_symlink() { files_under(&path) } else { vec![path] }).collect()
}

/// Waits for a condition that something outside this thread brings about.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
