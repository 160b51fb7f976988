//! One build: the directory, the environment and the time its tools share.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::Stage;
use super::error::PrepareError;
use super::off_thread;
use super::size::{self, Bounds, Excess};
use super::words::{Mask, clean};
use crate::process::{self, Access, Command, ExitStatus, Launcher, Limits, OutputStream, RunError, Visible};

/// Output of a tool that is kept for its answer or for the reason of its
/// failure; the rest has been shown and is forgotten.
const MAX_KEPT_BYTES: usize = 1024 * 1024;

/// How long a preparation is wanted: for a time, waiting included, and, unless
/// made of a mere [`Duration`], until somebody gives it up.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    given_up: Option<watch::Receiver<bool>>,
}

impl Patience {
    /// Ends at the limit, or as soon as `given_up` holds `true`.
    #[must_use]
    pub fn new(limit: Duration, given_up: watch::Receiver<bool>) -> Self {
        Self { limit, given_up: Some(given_up) }
    }
}

impl From<Duration> for Patience {
    fn from(limit: Duration) -> Self {
        Self { limit, given_up: None }
    }
}

/// The end of a preparation's [`Patience`], which began with it.
#[derive(Debug, Clone)]
pub(super) struct Deadline {
    at: Instant,
    patience: Patience,
}

impl Deadline {
    pub(super) fn of(patience: Patience) -> Self {
        // Past what a clock can name there is no limit to keep.
        let far = Duration::from_secs(86_400);
        let now = Instant::now();
        Self { at: now.checked_add(patience.limit).unwrap_or(now + far), patience }
    }

    /// Waits for `future`, at most until the deadline.
    pub(super) async fn hold<T>(&self, step: &'static str, future: impl Future<Output = T>) -> Result<T, PrepareError> {
        tokio::select! {
            held = tokio::time::timeout_at(self.at, future) => held.map_err(|_| self.passed(step)),
            () = self.given_up() => Err(PrepareError::GivenUp { step }),
        }
    }

    /// Resolves when it is given up.
    async fn given_up(&self) {
        if let Some(given_up) = &self.patience.given_up
            && given_up.clone().wait_for(|given_up| *given_up).await.is_ok()
        {
            return;
        }
        // Nobody is left who could.
        std::future::pending().await
    }

    fn is_given_up(&self) -> bool {
        self.patience.given_up.as_ref().is_some_and(|given_up| *given_up.borrow())
    }

    fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    fn passed(&self, step: &'static str) -> PrepareError {
        PrepareError::TimedOut { step, limit: self.patience.limit }
    }
}

/// A tool to run, found on the operator's `PATH`.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) path: PathBuf,
}

/// How a tool ended, and what it said.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<String>,
    pub(super) stderr: Vec<String>,
}

/// Whether a tool's standard output is for people or is its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdout {
    Shown,
    Answer,
}

/// What a tool finds around it.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<OsString, OsString>,
    /// What is not shown of its output.
    pub(super) mask: Mask,
}

/// What the tools of one build share.
pub(super) struct Build<'a> {
    pub(super) launcher: &'a Launcher,
    pub(super) stage: &'a Stage,
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) path: &'a OsStr,
    pub(super) bounds: Bounds,
    pub(super) deadline: Deadline,
    pub(super) on_line: &'a mut dyn FnMut(&str),
}

impl Build<'_> {
    /// Says something of our own to whoever follows the build.
    pub(super) fn say(&mut self, line: &str) {
        (self.on_line)(line);
    }

    /// What a tool finds around it unless it needs something else.
    pub(super) fn usual(&self) -> Surroundings {
        Surroundings { cwd: self.stage.work(), env: self.env.clone(), mask: Mask::default() }
    }

    /// Runs a tool to its end in the usual surroundings.
    pub(super) async fn run(
        &mut self,
        tool: &Tool,
        step: &'static str,
        stdout: Stdout,
        args: &[&OsStr],
    ) -> Result<Finished, PrepareError> {
        let around = self.usual();
        self.run_in(&around, tool, step, stdout, args).await
    }

    /// Runs a tool to its end. It sees the file system as the launcher shows it, with this build's directory as the only
    /// place added, and gets the environment of `around` and no secrets. Killed when the build grows over its bounds.
    pub(super) async fn run_in(
        &mut self,
        around: &Surroundings,
        tool: &Tool,
        step: &'static str,
        stdout: Stdout,
        args: &[&OsStr],
    ) -> Result<Finished, PrepareError> {
        let command = self.command(around, &tool.path, args);
        let mut said = [Kept::default(), Kept::default()];
        let [out, err] = &mut said;
        let on_line = &mut *self.on_line;
        let mut sort = |stream: OutputStream, line: &str| {
            let line = around.mask.over(clean(line));
            let (kept, shown) = match stream {
                OutputStream::Stdout => (&mut *out, stdout == Stdout::Shown),
                OutputStream::Stderr => (&mut *err, true),
            };
            if shown && !line.is_empty() {
                on_line(&line);
            }
            kept.push(line);
        };
        if self.deadline.is_given_up() {
            return Err(PrepareError::GivenUp { step });
        }
        let mut excess = None;
        let stop = async {
            tokio::select! {
                () = self.deadline.given_up() => {}
                found = size::outgrown(self.stage.root(), self.bounds) => excess = Some(found),
            }
        };
        // On the heap: with its buffers it is large, and many steps of many sources hold one inside another.
        let running = process::run_unless(self.launcher, &command, self.deadline.remaining(), stop, &mut sort);
        let ended = Box::pin(running).await;
        let status = match (ended, excess) {
            (Ok(status), _) => status,
            (Err(RunError::GivenUp), Some(excess)) => return Err(excess.into()),
            (Err(RunError::GivenUp), None) => return Err(PrepareError::GivenUp { step }),
            (Err(RunError::TimedOut(_)), _) => return Err(self.deadline.passed(step)),
            (Err(source @ RunError::Spawn(_)), _) => return Err(PrepareError::Tool { program: tool.name, source }),
        };
        self.within_bounds().await?;
        let [out, err] = said;
        Ok(Finished { status, stdout: out.lines, stderr: err.lines })
    }

    /// What a tool did between two looks counts, too.
    async fn within_bounds(&self) -> Result<(), PrepareError> {
        let (root, bounds) = (self.stage.root().to_owned(), self.bounds);
        match off_thread(move || size::excess(size::measure(&root, bounds), bounds)).await {
            Some(excess) => Err(Excess::into(excess)),
            None => Ok(()),
        }
    }

    fn command(&self, around: &Surroundings, program: &Path, args: &[&OsStr]) -> Command {
        let argv = std::iter::once(program.as_os_str()).chain(args.iter().copied());
        Command {
            hidden_files: None,
            argv: argv.map(OsStr::to_owned).collect(),
            env: around.env.clone(),
            cwd: around.cwd.clone(),
            visible: vec![Visible { path: self.stage.root().to_owned(), access: Access::ReadWrite }],
            limits: Limits::default(),
        }
    }
}

/// Lines up to a bound. When it is reached the earlier half goes: an answer
/// that long is of no use, and a reason stands at the end.
#[derive(Debug, Default)]
struct Kept {
    lines: Vec<String>,
    bytes: usize,
}

impl Kept {
    fn push(&mut self, line: String) {
        self.bytes += line.len() + 1;
        self.lines.push(line);
        if self.bytes > MAX_KEPT_BYTES {
            self.lines.drain(..self.lines.len() / 2);
            self.bytes = self.lines.iter().map(|line| line.len() + 1).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn what_is_kept_is_bounded_and_the_end_of_it() {
        let mut kept = Kept::default();
        for n in 0..100_000 {
            kept.push(format!("{n} {}", "x".repeat(90)));
            assert!(kept.bytes <= MAX_KEPT_BYTES);
        }
        assert!(kept.lines.last().unwrap().starts_with("99999 "));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_names_the_step_it_passed_in() {
        let deadline = Deadline::of(Duration::from_secs(3).into());
        assert_eq!(deadline.hold("working", async { 7 }).await.unwrap(), 7);
        let error = deadline.hold("waiting", std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.to_string(), "the time limit of 3s passed while waiting");
        assert!(deadline.remaining().is_zero());
        Deadline::of(Duration::MAX.into()).hold("never", async {}).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_is_waited_for_no_longer() {
        let (give_up, given_up) = watch::channel(false);
        let deadline = Deadline::of(Patience::new(Duration::from_secs(3), given_up));
        let held = deadline.hold("waiting", std::future::pending::<()>());
        let (error, _) = futures_util::future::join(held, async { give_up.send_replace(true) }).await;
        assert_eq!(error.unwrap_err().to_string(), "given up while waiting");
        assert!(deadline.is_given_up());
        // One that nobody can give up any more still has its time limit.
        let (_, orphaned) = watch::channel(false);
        let deadline = Deadline::of(Patience::new(Duration::from_secs(3), orphaned));
        let error = deadline.hold("waiting", std::future::pending::<()>()).await.unwrap_err();
        assert!(matches!(error, PrepareError::TimedOut { .. }), "{error:?}");
    }
}
