//! The embedded default's own runner: a process of its own session, started here or adopted.
//!
//! Who runs is decided by the lock in the runner's data directory, never by a pid file: when the lock
//! is held, somebody runs and is adopted; when it is free, ours is started. The pid in `runner.json`
//! is a fact that is believed only together with the process's start time. An adopted runner is
//! watched through a pidfd, which cannot be fooled by a reused pid.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use supervision::{ExitReason, Life};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep, timeout};

use super::link::Link;

/// How long a runner may take from its start to a held lock.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a runner may take to stop its services and itself.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// A runner that holds its lock but does not answer the link for so long is killed.
const MUTE: Duration = Duration::from_secs(5);
/// How often the files of a starting runner are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// What process lists show.
const PROGRAM_NAME: &str = "claudemesh";
/// Variables with secrets of ours: the runner needs none of them, and would keep them for longer than we live.
const OUR_SECRETS: [&str; 4] = ["BROKER_ENCRYPTION_KEY", "CLAUDEMESH_OPERATOR_TOKEN", "DATABASE_URL", "RUNNER_TOKEN"];
/// The runner's log file is begun anew above this size.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// How to start the runner, and where it keeps its lock.
#[derive(Clone)]
pub struct Program {
    /// Program and arguments, taken verbatim.
    pub argv: Vec<OsString>,
    /// The runner's data directory (holds `runner.lock` and `runner.json`).
    pub data_dir: PathBuf,
    /// True once the broker ends for good and takes its runner along.
    pub take_along: Arc<AtomicBool>,
}

#[derive(Deserialize)]
struct Facts {
    pid: i32,
    start: u64,
    #[serde(default)]
    build: String,
}

/// Starts or adopts the runner and watches it until it ends.
pub(super) async fn run(program: Program, link: Link, life: Life) -> ExitReason {
    let runner = match acquire(&program, &life).await {
        Ok(runner) => runner,
        Err(error) => return ExitReason::Error(error),
    };
    life.ready();
    let muted = async {
        if runner.adopted {
            mute(&link).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = runner.ended() => ended,
        () = muted => {
            runner.signal(Signal::KILL);
            let _ = runner.ended().await;
            ExitReason::Error(format!("the adopted runner did not answer for {MUTE:?} and was killed"))
        }
        () = life.stopping() => {
            if program.take_along.load(Ordering::Acquire) {
                runner.stop().await;
            }
            ExitReason::Shutdown
        }
    }
}

/// Resolves when the link has not come up in time.
async fn mute(link: &Link) {
    let deadline = Instant::now() + MUTE;
    while Instant::now() < deadline {
        if link.is_up() {
            return std::future::pending().await;
        }
        sleep(LOOK_EVERY).await;
    }
}

struct Runner {
    pidfd: AsyncFd<OwnedFd>,
    child: Option<tokio::sync::Mutex<tokio::process::Child>>,
    adopted: bool,
}

impl Runner {
    async fn ended(&self) -> ExitReason {
        if let Some(child) = &self.child {
            return match child.lock().await.wait().await {
                Ok(status) => ExitReason::Error(format!("the runner ended: {status}")),
                Err(error) => ExitReason::Error(format!("the runner was lost: {error}")),
            };
        }
        match self.pidfd.readable().await {
            Ok(_) => ExitReason::Error("the adopted runner ended".to_owned()),
            Err(error) => ExitReason::Error(format!("the adopted runner was lost: {error}")),
        }
    }

    fn signal(&self, signal: Signal) {
        // A process that is gone needs no signal.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }

    async fn stop(&self) {
        self.signal(Signal::TERM);
        if timeout(STOP_TIMEOUT, self.ended()).await.is_err() {
            tracing::warn!("the runner did not stop within {STOP_TIMEOUT:?} and is killed");
            self.signal(Signal::KILL);
            let _ = self.ended().await;
        }
    }
}

async fn acquire(program: &Program, life: &Life) -> Result<Runner, String> {
    let text = |error: io::Error| format!("the runner's data directory {}: {error}", program.data_dir.display());
    fs::create_dir_all(&program.data_dir).map_err(text)?;
    if lock_is_held(&program.data_dir).map_err(text)? {
        return adopt(program, life).await;
    }
    spawn(program, life).await
}

/// Whether somebody holds the runner's lock. Taking it for a moment does not disturb a runner that
/// starts: it waits for the lock for longer than that.
fn lock_is_held(data_dir: &Path) -> io::Result<bool> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(data_dir.join("runner.lock"))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(_released_at_once) => Ok(false),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(errno.into()),
    }
}

async fn adopt(program: &Program, life: &Life) -> Result<Runner, String> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        if let Some((facts, pidfd)) = facts(&program.data_dir).and_then(open) {
            life.fact("pid", facts.pid);
            life.fact("adopted", true);
            life.fact("build", facts.build);
            tracing::info!(pid = facts.pid, "adopted the runner that an earlier life left");
            return Ok(Runner { pidfd, child: None, adopted: true });
        }
        if Instant::now() >= deadline {
            return Err("somebody holds the runner's lock but does not say who it is".to_owned());
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn spawn(program: &Program, life: &Life) -> Result<Runner, String> {
    let [exe, args @ ..] = program.argv.as_slice() else {
        return Err("no program is configured for the runner".to_owned());
    };
    let log = log_file(&program.data_dir).map_err(|error| format!("the runner's log file: {error}"))?;
    let err = log.try_clone().map_err(|error| format!("the runner's log file: {error}"))?;
    let mut command = tokio::process::Command::new(exe);
    for name in OUR_SECRETS {
        command.env_remove(name);
    }
    let child = command
        .arg0(PROGRAM_NAME)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(err)
        .spawn()
        .map_err(|error| format!("starting the runner {}: {error}", exe.display()))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or("the runner ended at once")?;
    let pidfd = open_pid(pid).ok_or("the runner ended at once")?;
    life.fact("pid", pid);
    life.fact("adopted", false);
    let runner = Runner { pidfd, child: Some(tokio::sync::Mutex::new(child)), adopted: false };
    tokio::select! {
        held = lock_taken(&program.data_dir) => held.map(|()| runner),
        ended = runner.ended() => Err(format!("{ended}; see {}", log_path(&program.data_dir).display())),
    }
}

async fn lock_taken(data_dir: &Path) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if facts(data_dir).is_some() && lock_is_held(data_dir).map_err(|error| error.to_string())? {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    Err(format!("the runner was not up within {START_TIMEOUT:?}"))
}

fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.join("runner.log")
}

fn log_file(data_dir: &Path) -> io::Result<File> {
    let path = log_path(data_dir);
    let too_long = fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES);
    if too_long {
        fs::rename(&path, data_dir.join("runner.log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn facts(data_dir: &Path) -> Option<Facts> {
    let facts: Facts = serde_json::from_slice(&fs::read(data_dir.join("runner.json")).ok()?).ok()?;
    (start_time(facts.pid)? == facts.start).then_some(facts)
}

fn open(facts: Facts) -> Option<(Facts, AsyncFd<OwnedFd>)> {
    let pidfd = open_pid(facts.pid)?;
    // Once more with the descriptor in hand: from here on the pid cannot come to mean another process.
    (start_time(facts.pid)? == facts.start).then_some((facts, pidfd))
}

fn open_pid(pid: i32) -> Option<AsyncFd<OwnedFd>> {
    let fd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
    #[expect(deprecated, reason = "a pidfd that is owned here stays the descriptor that was registered")]
    AsyncFd::with_interest(fd, tokio::io::Interest::READABLE).ok()
}

/// Field 22 of `/proc/<pid>/stat`: start time in clock ticks since boot (proc_pid_stat(5)).
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may contain anything, spaces too.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}
