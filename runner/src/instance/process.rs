//! The process of an instance: spawned, listened to, and gone when this task returns.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::link::LogStream;
use supervision::{ExitReason, Life};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::cell::{Cell, Pipes};
use super::secrets::Laid;
use crate::prepare::Prepared;
use crate::process::{
    Access, Command, DEFAULT_FDS, Exit, ExitStatus, Limits, LineSplitter, MAX_LINE, Process, ProcessHandle, SpawnError,
    Visible,
};
use crate::service::{Entry, SECRETS_FOLDER, Unlocked};

/// Tries after a start that failed for the system's own reasons, such as a shortage.
const SPAWN_RETRIES: u32 = 6;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long a server whose stdin was closed may take to go by itself.
const STDIN_GRACE: Duration = Duration::from_millis(500);
/// How long the last words of a dead process are waited for; its pipe is closed, so they are there.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long answers that a dead process left in its pipe are waited for.
const UNREAD_GRACE: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 16 * 1_024;
/// The home of a process that has no box; see [`Unlocked::home`].
const HOME: &str = "data";

/// Tells processes apart, over all instances of the runner.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Runs one process to its end.
pub(super) async fn run(life: Life, cell: Arc<Cell>) -> ExitReason {
    // Until nothing of the process is left.
    let mut laid = None;
    match start(&life, &cell, &mut laid).await {
        Ok(Some(process)) if life.is_stopping() => {
            process.handle.kill();
            process.exit.await;
            ExitReason::Shutdown
        }
        Ok(Some(process)) => attend(&life, &cell, process).await,
        Ok(None) => ExitReason::Shutdown,
        Err(reason) => ExitReason::Error(reason),
    }
}

/// The process, or `None` when the task is asked to stop before there is one. A start that is under way then is not
/// given up: what it began would be gone only some time after this task.
async fn start(life: &Life, cell: &Cell, laid: &mut Option<Laid>) -> Result<Option<Process>, String> {
    let prepared = cell.entry.prepared().ok_or_else(|| "its source was not prepared".to_owned())?;
    let unlocked = cell.means.unlock(&cell.entry.spec).map_err(|error| format!("cannot start: {error}"))?;
    let (own, folder) = (own_dir(&cell.means.services_dir, &cell.entry), unlocked.as_ref().map(Unlocked::home));
    let home = own.join(folder.as_deref().unwrap_or(HOME));
    create_private(&home).await.map_err(|error| format!("cannot create {}: {error}", home.display()))?;
    let mut command = command(&cell.entry, &prepared, home);
    if let Some(Unlocked { contents, .. }) = unlocked {
        command.env.extend(contents.env.iter().map(|(name, value)| (name.into(), value.expose().into())));
        let place = own.join(SECRETS_FOLDER).join(&cell.entry.key.deployment).join(super::key(cell.instance));
        let mut files = Laid::new(&contents.files, &place, cell.means.launcher.level())?;
        command.env.append(&mut files.env);
        command.hidden_files = files.mounted.take();
        tell_elsewhere(cell, &files);
        *laid = Some(files);
    }
    let mut delay = FIRST_RETRY_DELAY;
    for tries_left in (0..=SPAWN_RETRIES).rev() {
        if life.is_stopping() {
            break;
        }
        match cell.means.launcher.spawn(&command).await {
            Err(error) if error.is_transient() && tries_left > 0 => {
                let notice = format!("start failed for the system's reasons, trying again: {error}");
                cell.entry.say(LogStream::System, &notice);
                tokio::select! {
                    () = life.stopping() => break,
                    () = sleep(delay) => delay *= 2,
                }
            }
            settled => return settled.map(Some).map_err(|error| words(&error)),
        }
    }
    Ok(None)
}

fn words(error: &SpawnError) -> String {
    format!("cannot start: {error}")
}

/// A file that is not where it was asked for is no error: its variable says where it is.
fn tell_elsewhere(cell: &Cell, files: &Laid) {
    for (var, path) in &files.elsewhere {
        let words = format!("{path} cannot be made here: the file is where the variable {var} says");
        cell.entry.say(LogStream::System, &words);
    }
}

/// `<services>/<mesh>/<service>`; the home in it outlives restarts and updates.
fn own_dir(services_dir: &Path, entry: &Entry) -> PathBuf {
    services_dir.join(&entry.key.mesh).join(&entry.key.service)
}

async fn create_private(path: &Path) -> io::Result<()> {
    tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).await
}

/// Nothing of the runner's own environment, and nothing that the deployment did not name but the three variables that
/// programs cannot do without.
fn command(entry: &Entry, prepared: &Prepared, home: PathBuf) -> Command {
    let spec = &entry.spec;
    let mut env: std::collections::BTreeMap<OsString, OsString> = [
        ("PATH".into(), prepared.path_env.clone()),
        ("HOME".into(), home.clone().into_os_string()),
        ("LANG".into(), "C.UTF-8".into()),
    ]
    .into();
    env.extend(spec.env.iter().map(|(name, value)| (name.into(), value.expose().into())));
    let mut visible = vec![Visible { path: home.clone(), access: Access::ReadWrite }];
    visible.extend(prepared.visible.iter().map(|path| Visible { path: path.clone(), access: Access::ReadOnly }));
    let limits = limits(&spec.limits);
    Command { argv: prepared.argv.clone(), env, cwd: home, visible, limits, hidden_files: None }
}

/// The bounds of a service's process, as the kernel takes them.
pub(crate) fn limits(asked: &protocol::link::Limits) -> Limits {
    Limits {
        fds: asked.fds.map_or(DEFAULT_FDS, u64::from),
        pids: asked.pids.map(u64::from),
        memory: asked.memory_mb.map(|mb| u64::from(mb) * 1_024 * 1_024),
    }
}

async fn attend(life: &Life, cell: &Cell, process: Process) -> ExitReason {
    let Process { stdin, stdout, mut stderr, handle, mut exit } = process;
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    let facts = handle.facts();
    life.fact("pid", facts.pid);
    life.fact("level", facts.level.as_str());
    cell.entry.set_facts(cell.instance, Some(facts));
    let all_read = Arc::new(Notify::new());
    cell.put(Pipes { generation, stdin, stdout, handle: handle.clone(), all_read: Arc::clone(&all_read) });
    life.ready();

    let mut lines = LineSplitter::new(MAX_LINE);
    let reason = {
        let listening = listen(&cell.entry, &mut stderr, &mut lines);
        let ending = end(life, cell, &handle, &all_read, generation, &mut exit);
        tokio::pin!(listening, ending);
        tokio::select! {
            reason = &mut ending => reason,
            // A server may close its stderr and go on.
            () = &mut listening => ending.await,
        }
    };
    // Everything that held the pipe is dead: what is left in it is all there is.
    let rest = listen(&cell.entry, &mut stderr, &mut lines);
    drop(timeout(LAST_WORDS, rest).await);
    lines.finish(&mut |line| cell.entry.say(LogStream::Stderr, line));
    drop(cell.take());
    cell.entry.set_facts(cell.instance, None);
    reason
}

/// Waits for the end, or brings it about when the instance stops.
async fn end(
    life: &Life,
    cell: &Cell,
    handle: &ProcessHandle,
    all_read: &Notify,
    generation: u64,
    exit: &mut Exit,
) -> ExitReason {
    let by_itself = tokio::select! {
        () = life.stopping() => None,
        status = died(cell, handle, all_read, generation, exit) => Some(status),
    };
    match by_itself {
        Some(status) if cell.may_end(status) => ExitReason::Normal,
        Some(status) => ExitReason::Error(status.to_string()),
        None => {
            stop(cell, handle, exit).await;
            cell.entry.closed(generation);
            ExitReason::Shutdown
        }
    }
}

/// Calls learn of the death as soon as the answers that it left in its pipe are read; the end waits until nothing of the
/// process is left.
async fn died(cell: &Cell, handle: &ProcessHandle, all_read: &Notify, generation: u64, exit: &mut Exit) -> ExitStatus {
    handle.died().await;
    // A descendant that holds the pipe open ends with the set.
    drop(timeout(UNREAD_GRACE, all_read.notified()).await);
    cell.entry.closed(generation);
    exit.await
}

/// Its stdin is closed already (by `mcp`, which stops before): a moment to go by itself, SIGTERM, and at the policy's
/// time limit a kill of everything.
async fn stop(cell: &Cell, handle: &ProcessHandle, exit: &mut Exit) {
    // If nobody took the pipes they are still open.
    drop(cell.take());
    let limit = Duration::from_millis(cell.entry.spec.policy.stop_timeout_ms);
    let deadline = Instant::now() + limit;
    if timeout(STDIN_GRACE.min(limit), &mut *exit).await.is_ok() {
        return;
    }
    handle.terminate();
    if timeout_at(deadline, &mut *exit).await.is_ok() {
        return;
    }
    cell.entry.say(LogStream::System, &format!("killed: still there {limit:?} after it was asked to stop"));
    handle.kill();
    exit.await;
}

async fn listen(entry: &Entry, stderr: &mut pipe::Receiver, lines: &mut LineSplitter) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match stderr.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let chunk = buffer.get(..count).unwrap_or_default();
                lines.push(chunk, &mut |line| entry.say(LogStream::Stderr, line));
                // A flood of short lines costs more than its bytes; everything else has a turn between two chunks of it.
                yield_now().await;
            }
        }
    }
}
