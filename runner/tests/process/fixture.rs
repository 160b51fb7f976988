//! Programs to run: this binary again, with [`WORD`] as its first argument.

use std::ffi::OsString;
use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Command as Std, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use runner::process::{Launcher, Level, Process};
use tokio::io::BufReader;

use super::{command, fixture, launcher, line, marked, output};

/// The first argument that makes this binary a fixture.
pub(super) const WORD: &str = "__fixture";

/// Becomes the fixture that the arguments name and never returns, or returns.
pub(super) fn main_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != WORD) {
        return;
    }
    let arguments: Vec<String> = arguments.map(|argument| argument.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["orphan", token] => orphan(token),
        ["middle", token] => drop(again(["lurk", token]).spawn().unwrap()),
        ["lurk", _token] => lurk(),
        ["arguments", ..] => arguments_in_lines(),
        ["flood", bytes] => flood(bytes.parse().unwrap()),
        ["runner", level, token] => in_runtime(runner(level_of(level), token)),
        ["cycles", level, count, token] => in_runtime(cycles(level_of(level), count.parse().unwrap(), token)),
        ["peek", level] => in_runtime(peek(level_of(level))),
        ["exhaust", level] => in_runtime(exhaust(level_of(level))),
        other => panic!("no fixture {other:?}"),
    }
    std::process::exit(0)
}

fn again<const N: usize>(arguments: [&str; N]) -> Std {
    let mut command = Std::new(std::env::current_exe().unwrap());
    command.arg(WORD).args(arguments).stdin(Stdio::null());
    command
}

/// Leaves a grandchild in a session of its own that ignores SIGTERM and keeps
/// our pipes open; then ends with the code it is told on standard input, or
/// stays for ever if there is none.
fn orphan(token: &str) {
    again(["middle", token]).status().unwrap();
    let mut word = String::new();
    std::io::stdin().lock().read_line(&mut word).unwrap();
    if let Ok(code) = word.trim().parse() {
        std::process::exit(code);
    }
    sleep_for_ever();
}

fn lurk() {
    nix::unistd::setsid().unwrap();
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGHUP);
    set.thread_block().unwrap();
    println!("lurking");
    sleep_for_ever();
}

fn sleep_for_ever() {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn arguments_in_lines() {
    let arguments: Vec<OsString> = std::env::args_os().skip(3).collect();
    for argument in arguments {
        println!("{argument:?}");
    }
}

fn flood(bytes: usize) {
    let mut left = bytes;
    let chunk = vec![b'x'; 1 << 20];
    let mut stdout = std::io::stdout().lock();
    while left > 0 {
        let now = left.min(chunk.len());
        stdout.write_all(&chunk[..now]).unwrap();
        left -= now;
    }
    stdout.write_all(b"\nend\n").unwrap();
    stdout.flush().unwrap();
}

fn in_runtime(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

pub(super) fn level_of(word: &str) -> Level {
    match word {
        "guard" => Level::Guard,
        "namespace" => Level::Namespace,
        other => panic!("no level {other}"),
    }
}

/// Starts an orphan's set and waits until the grandchild lurks.
pub(super) async fn spawn_orphan(
    launcher: &Launcher,
    token: &str,
) -> (Process, BufReader<tokio::net::unix::pipe::Receiver>) {
    let mut process = launcher.spawn(&fixture(["orphan", token])).await.unwrap();
    // The pipe is read here, and its place taken by one that nobody writes to.
    let (_, empty) = tokio::net::unix::pipe::pipe().unwrap();
    let mut stdout = BufReader::new(std::mem::replace(&mut process.stdout, empty));
    assert_eq!(line(&mut stdout).await, "lurking");
    (process, stdout)
}

/// A runner to be killed.
async fn runner(level: Level, token: &str) {
    let launcher = launcher(level).await;
    let _held = spawn_orphan(&launcher, token).await;
    println!("spawned");
    // Ends with the test that started it, should that not kill it.
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await.unwrap().unwrap();
}

/// Starts and kills, and panics if anything is left or grows.
async fn cycles(level: Level, count: usize, token: &str) {
    let launcher = launcher(level).await;
    let mut before = None;
    for number in 0..count {
        let (process, _stdout) = spawn_orphan(&launcher, token).await;
        match number % 3 {
            0 => process.handle.kill(),
            1 => {
                use tokio::io::AsyncWriteExt as _;
                let mut stdin = process.stdin;
                stdin.write_all(b"7\n").await.unwrap();
                assert_eq!(process.exit.await.to_string(), "exit code 7");
                assert_eq!(marked_others(token), [0; 0], "cycle {number}");
                continue;
            }
            _ => process.handle.terminate(),
        }
        process.exit.await;
        assert_eq!(marked_others(token), [0; 0], "cycle {number}");
        // The first cycles open what a runtime keeps.
        if number == 2 {
            before = Some(open_files());
        }
    }
    assert!(open_files() <= before.unwrap_or(usize::MAX), "open files grew from {before:?} to {}", open_files());
    assert_eq!(zombies(), [0; 0]);
    println!("done");
}

/// Those with the token, save this process and who started it with it.
fn marked_others(token: &str) -> Vec<u32> {
    let me = std::process::id();
    marked(token).into_iter().filter(|pid| *pid != me).collect()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Our own children that nobody has reaped.
pub(super) fn zombies() -> Vec<u32> {
    let me = std::process::id();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1).is_some_and(|parent| *parent == me.to_string())
    })
    .collect()
}

/// Prints what a program finds out about the warden above it.
async fn peek(level: Level) {
    let look = "(ls /proc/$PPID/fd && cat /proc/$PPID/environ) 2>/dev/null || echo refused";
    let said = output(&launcher(level).await, &command(["/bin/sh", "-c", look])).await;
    print!("{said}");
}

/// Runs out of descriptors, says what the spawn said, and recovers.
async fn exhaust(level: Level) {
    let launcher = launcher(level).await;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    for spare in 0..8 {
        let used = open_files() as u64 - 1;
        setrlimit(Resource::RLIMIT_NOFILE, used + spare, hard).unwrap();
        let error = launcher.spawn(&command(["/bin/true"])).await.err();
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        match error {
            Some(error) => println!("{} {error}", if error.is_transient() { "transient" } else { "permanent" }),
            None => println!("transient spawned"),
        }
    }
    let process = launcher.spawn(&command(["/bin/true"])).await.unwrap();
    println!("{}", process.exit.await);
}
