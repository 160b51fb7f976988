//! The process folder against the real kernel, at both levels.
//!
//! This test binary is runner, warden and fixture in one: see [`BECOME_ASKED`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod errors;
mod fixture;
mod output;
mod sets;
mod sight;
mod start;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use runner::process::{Command, Launcher, Level, Limits, Process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::levels::{HINT, has_namespaces, levels};

/// For what takes milliseconds unless it is broken.
const SOON: Duration = Duration::from_secs(30);

/// A product's `main` asks first whether it is a warden. The `main` of a test
/// binary belongs to the test harness, so this one is asked before it: the
/// loader calls what stands in this section, and no thread exists yet.
#[used]
#[allow(unsafe_code, reason = "the only way to run before the harness's main")]
#[unsafe(link_section = ".init_array")]
static BECOME_ASKED: extern "C" fn() = become_asked;

extern "C" fn become_asked() {
    runner::process::warden_main_if_asked();
    fixture::main_if_asked();
}

/// A launcher of exactly this level.
async fn launcher(level: Level) -> Launcher {
    launcher_hiding(level, Vec::new()).await
}

async fn launcher_hiding(level: Level, hidden: Vec<PathBuf>) -> Launcher {
    let launcher = Launcher::probe("/proc/self/exe".into(), hidden, Some(level)).await.unwrap();
    assert_eq!(launcher.level(), level, "{HINT}; here {:?}", launcher.degraded());
    launcher
}

/// A command line without anything around it.
fn command<const N: usize>(argv: [&str; N]) -> Command {
    Command {
        hidden_files: None,
        argv: argv.into_iter().map(OsString::from).collect(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        visible: Vec::new(),
        limits: Limits::default(),
    }
}

/// This binary as a fixture.
fn fixture<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = command([]);
    command.argv = vec![std::env::current_exe().unwrap().into(), fixture::WORD.into()];
    command.argv.extend(arguments.into_iter().map(OsString::from));
    command
}

/// A word that no other process has in its arguments.
fn token() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("token-{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The pids whose file of this name under `/proc` contains the word.
fn holders(file: &str, word: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let content = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        content.windows(word.len()).any(|part| part == word.as_bytes())
    })
    .collect()
}

fn marked(token: &str) -> Vec<u32> {
    holders("cmdline", token)
}

/// Waits for a condition about other processes, which nothing announces.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Fails if one of our children that are zombies now is still one at the end.
/// (Other tests of this process have children that die just now.)
async fn no_zombie_stays() {
    for pid in fixture::zombies() {
        until("a zombie is reaped", || !fixture::zombies().contains(&pid)).await;
    }
}

/// Reads a line, without its end; panics when there is none in time.
async fn line(reader: &mut BufReader<pipe::Receiver>) -> String {
    let mut line = String::new();
    let read = tokio::time::timeout(SOON, reader.read_line(&mut line)).await;
    assert!(read.expect("no line in time").unwrap() > 0, "the output ended");
    line.trim_end().to_owned()
}

/// Everything a program writes to standard output until it ends.
async fn output(launcher: &Launcher, command: &Command) -> String {
    let mut process = launcher.spawn(command).await.unwrap();
    let mut text = String::new();
    let read = process.stdout.read_to_string(&mut text);
    tokio::time::timeout(SOON, read).await.expect("the output did not end").unwrap();
    ended(process).await;
    text
}

/// The end of a process set, which must come by itself.
async fn ended(process: Process) -> runner::process::ExitStatus {
    tokio::time::timeout(SOON, process.exit).await.expect("the process set did not end")
}

/// A user without any privilege.
const NOBODY: u32 = 65534;

/// A copy of this binary that every user may execute; `None` without root.
fn exe_for_nobody() -> Option<(tempfile::TempDir, PathBuf)> {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let exe = place.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    Some((place, exe))
}
