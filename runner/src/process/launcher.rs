//! Finds out what this machine allows, and starts programs at that level.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::command::{Command, HiddenFiles, Level, Limits};
use super::control::{Control, Plumbing, plumb};
use super::error::{ProcessError, SpawnError};
use super::keeper::{KILL_LIMIT, Process, ProcessFacts, keep};
use super::warden::{Findings, WARDEN_ARGUMENT, check_argv};
use super::wire::{Event, MAX_REQUEST, Request, SecretFile, Secrets, Step};
use crate::metrics::{ProcessMeter, StartEnd};

/// How long the warden may take from its start to the program's.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);
/// What the self-check prints is a few hundred bytes.
const MAX_FINDINGS: u64 = 64 * 1024;

/// Starts programs at the highest level that was seen to work here.
#[derive(Debug, Clone)]
pub struct Launcher {
    inner: Arc<Inner>,
    meter: ProcessMeter,
}

#[derive(Debug)]
struct Inner {
    exe: PathBuf,
    hidden: Vec<OsString>,
    level: Level,
    degraded: Option<String>,
}

impl Launcher {
    /// Tries the levels from the highest (or from `maximum`) down by running a
    /// self-check inside a real one, and keeps the first that holds.
    ///
    /// `exe` is a binary whose `main` begins with
    /// [`warden_main_if_asked`](super::warden_main_if_asked); `/proc/self/exe`
    /// names this one even after it was replaced on disk. `hidden` are absolute
    /// directories that no program may see into, save for its visible paths.
    ///
    /// # Errors
    /// A directory that cannot be hidden, or every level's reason to fail.
    pub async fn probe(exe: PathBuf, hidden: Vec<PathBuf>, maximum: Option<Level>) -> Result<Self, ProcessError> {
        for path in &hidden {
            check_hidden(path).await?;
        }
        let hidden: Vec<OsString> = hidden.into_iter().map(PathBuf::into_os_string).collect();
        let mut failures: Vec<(Level, String)> = Vec::new();
        for level in [Level::Namespace, Level::Guard] {
            if maximum.is_some_and(|maximum| level > maximum) {
                continue;
            }
            let degraded = failures.first().map(|(level, why)| format!("{level}: {why}"));
            let inner = Inner { exe: exe.clone(), hidden: hidden.clone(), level, degraded };
            let launcher = Self { inner: Arc::new(inner), meter: ProcessMeter::default() };
            match launcher.check().await {
                Ok(()) => {
                    if let Some(reason) = launcher.degraded() {
                        tracing::warn!(%level, reason, "programs are held less firmly than they could be");
                    }
                    return Ok(launcher);
                }
                Err(why) => failures.push((level, why)),
            }
        }
        Err(ProcessError::NoLevel(failures))
    }

    /// The same, counting what it starts from now on.
    #[must_use]
    pub fn measured(self, meter: ProcessMeter) -> Self {
        Self { meter, ..self }
    }

    /// The level programs are started at.
    #[must_use]
    pub fn level(&self) -> Level {
        self.inner.level
    }

    /// Why a higher level than this does not work here, if one was tried.
    #[must_use]
    pub fn degraded(&self) -> Option<&str> {
        self.inner.degraded.as_deref()
    }

    /// The limits asked for that are not held at any level yet: a count of
    /// processes and an amount of memory belong to a control group.
    #[must_use]
    pub fn unenforced(&self, limits: &Limits) -> Vec<&'static str> {
        let asked = [("pids", limits.pids.is_some()), ("memory", limits.memory.is_some())];
        asked.into_iter().filter_map(|(name, asked)| asked.then_some(name)).collect()
    }

    /// Starts a program; returns when the kernel has accepted it.
    ///
    /// Dropping the future midway leaves nothing behind.
    ///
    /// # Errors
    /// [`SpawnError::is_transient`] tells what is worth another try.
    pub async fn spawn(&self, command: &Command) -> Result<Process, SpawnError> {
        let started = self.start(command).await;
        self.meter.starts.count(if started.is_ok() { StartEnd::Started } else { StartEnd::Failed });
        started
    }

    async fn start(&self, command: &Command) -> Result<Process, SpawnError> {
        command.check()?;
        let request = self.request(command)?;
        let Plumbing { mut control, warden_end, stdin, stdout, stderr } =
            plumb().map_err(|error| SpawnError::system(Step::Plumbing, error))?;
        let child = start_warden(&self.inner.exe, warden_end)?;
        let outcome = match timeout(HANDSHAKE_LIMIT, handshake(&mut control, &request, command)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SpawnError::WardenMute(HANDSHAKE_LIMIT)),
        };
        match outcome {
            Ok(pid) => {
                let facts = ProcessFacts { pid, started_ms: now_ms(), level: self.inner.level };
                let (handle, exit) = keep(child, control, facts, self.meter.held(facts.level));
                Ok(Process { stdin, stdout, stderr, handle, exit })
            }
            Err(error) => {
                drop(control);
                bury(child).await;
                Err(error)
            }
        }
    }

    fn request(&self, command: &Command) -> Result<Zeroizing<Vec<u8>>, SpawnError> {
        let request = Request {
            level: self.inner.level,
            argv: command.argv.clone(),
            env: command.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cwd: command.cwd.clone().into_os_string(),
            visible: command.visible.iter().map(|shown| (shown.path.clone().into_os_string(), shown.access)).collect(),
            hidden: self.inner.hidden.clone(),
            fds: command.limits.fds,
            secrets: command.hidden_files.as_ref().map(secrets),
        };
        if request.secrets.is_some() && self.inner.level < Level::Namespace {
            let what = format!("level {}", self.inner.level);
            return Err(SpawnError::Invalid { problem: "files in memory need a mount namespace", what });
        }
        let body = serde_json::to_vec(&request).map(Zeroizing::new);
        let body = body.map_err(|error| SpawnError::system(Step::Request, io::Error::other(error)))?;
        match u32::try_from(body.len()) {
            Ok(length) if body.len() <= MAX_REQUEST => {
                // Of its full length at once: what grows leaves copies behind.
                let mut frame = Zeroizing::new(Vec::with_capacity(size_of::<u32>() + body.len()));
                frame.extend_from_slice(&length.to_be_bytes());
                frame.extend_from_slice(&body);
                Ok(frame)
            }
            _ => Err(SpawnError::Invalid {
                problem: "arguments and environment are too large",
                what: format!("{} bytes", body.len()),
            }),
        }
    }

    /// Runs the self-check as a program of this level and reads its findings.
    async fn check(&self) -> Result<(), String> {
        let command = Command {
            argv: check_argv(&self.inner.hidden),
            env: std::collections::BTreeMap::new(),
            cwd: PathBuf::from("/"),
            visible: Vec::new(),
            limits: Limits::default(),
            hidden_files: None,
        };
        let process = self.spawn(&command).await.map_err(|error| error.to_string())?;
        let mut printed = Vec::new();
        let mut stdout = process.stdout.take(MAX_FINDINGS);
        match timeout(HANDSHAKE_LIMIT, stdout.read_to_end(&mut printed)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(format!("the self-check could not be read: {error}")),
            Err(_) => return Err("the self-check did not end".to_owned()),
        }
        let status = process.exit.await;
        let findings: Findings = serde_json::from_slice(&printed)
            .map_err(|_| format!("the self-check said nothing that makes sense and ended with {status}"))?;
        findings.judge(self.inner.level)
    }
}

fn secrets(hidden: &HiddenFiles) -> Secrets {
    let file = |file: &super::command::HiddenFile| SecretFile {
        name: file.name.clone(),
        shown_at: file.shown_at.clone().map(PathBuf::into_os_string),
        content: file.content.to_vec(),
    };
    Secrets { dir: hidden.dir.clone().into_os_string(), files: hidden.files.iter().map(file).collect() }
}

/// Hiding needs a directory to cover; one that appears later would be in sight.
async fn check_hidden(path: &Path) -> Result<(), ProcessError> {
    let refuse = |reason: String| Err(ProcessError::Hidden { path: path.to_path_buf(), reason });
    if !path.is_absolute() {
        return refuse("not an absolute path".to_owned());
    }
    match tokio::fs::metadata(path).await {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => refuse("not a directory".to_owned()),
        Err(error) => refuse(error.to_string()),
    }
}

/// Nothing of ours reaches the warden but the socket: no argument besides its
/// name, no variable, no stream. Its dropping is not its killing (a guard must
/// live to clear up); the end of the control socket is.
fn start_warden(exe: &Path, socket: std::os::fd::OwnedFd) -> Result<Child, SpawnError> {
    let spawned = tokio::process::Command::new(exe)
        .arg(WARDEN_ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.map_err(|error| SpawnError::system(Step::Warden, error))
}

/// Sends the request, waits for the program to run, returns its pid.
async fn handshake(control: &mut Control, request: &[u8], command: &Command) -> Result<u32, SpawnError> {
    // A write that fails means a warden that is gone; what it said before
    // tells more than the broken pipe does.
    let written = control.write_all(request).await;
    let mut pid = None;
    loop {
        match control.next().await {
            Ok(Some((Event::Executing, sender))) => pid = sender,
            Ok(Some((Event::Started, _))) => return pid.ok_or(SpawnError::WardenLost),
            Ok(Some((Event::Failed(trouble), _))) => {
                return Err(SpawnError::from_trouble(trouble, command));
            }
            Ok(Some((Event::Exited(_), _)) | None) => return Err(SpawnError::WardenLost),
            Err(error) => {
                return Err(SpawnError::system(Step::Request, written.err().unwrap_or(error)));
            }
        }
    }
}

/// Reaps a warden whose control socket is closed.
async fn bury(mut child: Child) {
    if timeout(KILL_LIMIT, child.wait()).await.is_err() {
        tracing::warn!("a warden did not end after a failed start and is killed");
        let _ = child.start_kill();
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
