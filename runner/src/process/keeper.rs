//! One task per process set: it carries wishes to the warden, learns how the
//! program ended, and holds out until the warden itself is dead and reaped.
//!
//! ```text
//! Alive ──(the program died)──> Died ──(the warden is reaped)──> Gone
//!   └──────────────(the warden is reaped)─────────────────────────┘
//! ```

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::command::Level;
use super::control::Control;
use super::status::ExitStatus;
use super::wire::{Event, TERMINATE};
use crate::metrics::Held;

/// How long a warden may take to end its set before it is killed itself.
/// Longer than the guard's own bound, so a guard that still works is not cut
/// short; a namespace dies with its warden either way.
pub const KILL_LIMIT: Duration = Duration::from_secs(15);

/// A running program: its pipes, its handle, its end.
pub struct Process {
    /// Closing it is the program's end of input.
    pub stdin: pipe::Sender,
    /// What it writes to standard output.
    pub stdout: pipe::Receiver,
    /// What it writes to standard error.
    pub stderr: pipe::Receiver,
    /// To stop it and to ask about it.
    pub handle: ProcessHandle,
    /// Its end; owns the process set.
    pub exit: Exit,
}

impl Process {
    /// Resolves as soon as the program itself is known dead; its descendants
    /// may still be on their way out. The pipes may hold output yet to be read.
    pub fn died(&self) -> impl Future<Output = ExitStatus> + Send + 'static {
        self.handle.died()
    }
}

/// What may be shown of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The program's pid as this machine numbers it.
    pub pid: u32,
    /// When it started, in milliseconds of Unix time.
    pub started_ms: u64,
    /// How firmly its set is held.
    pub level: Level,
}

/// Stops a program and tells about it. Cheap to clone; does not keep it alive.
#[derive(Clone)]
pub struct ProcessHandle {
    wish: Arc<watch::Sender<Wish>>,
    fate: watch::Receiver<Fate>,
    facts: ProcessFacts,
}

impl ProcessHandle {
    /// Sends `SIGTERM` to the program's process group, once. What became of it
    /// shows in [`Exit`]; a program may take its time or refuse.
    pub fn terminate(&self) {
        self.raise(Wish::Terminate);
    }

    /// Kills the program and everything it has started.
    pub fn kill(&self) {
        self.raise(Wish::Kill);
    }

    /// What may be shown.
    #[must_use]
    pub const fn facts(&self) -> ProcessFacts {
        self.facts
    }

    /// See [`Process::died`].
    pub fn died(&self) -> impl Future<Output = ExitStatus> + Send + 'static {
        settled(self.fate.clone(), |fate| match *fate {
            Fate::Alive => None,
            Fate::Died(status) | Fate::Gone(status) => Some(status),
        })
    }

    /// Wishes only grow, so that a late `terminate` never softens a `kill`,
    /// and there is nothing to queue.
    fn raise(&self, wish: Wish) {
        self.wish.send_if_modified(|current| {
            let raised = wish > *current;
            *current = wish.max(*current);
            raised
        });
    }
}

/// The end of a process set: resolves when nothing of it remains.
///
/// It owns the set: dropped before it resolved, everything is killed.
#[must_use = "dropping it kills the program"]
pub struct Exit {
    end: Pin<Box<dyn Future<Output = ExitStatus> + Send>>,
    handle: ProcessHandle,
}

impl Future for Exit {
    type Output = ExitStatus;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ExitStatus> {
        self.end.as_mut().poll(context)
    }
}

impl Drop for Exit {
    fn drop(&mut self) {
        // After the end there is nobody left to hear this.
        self.handle.kill();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Run,
    Terminate,
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Alive,
    Died(ExitStatus),
    Gone(ExitStatus),
}

async fn settled(mut fate: watch::Receiver<Fate>, pick: impl Fn(&Fate) -> Option<ExitStatus>) -> ExitStatus {
    match fate.wait_for(|fate| pick(fate).is_some()).await {
        Ok(fate) => pick(&fate).unwrap_or(ExitStatus::Lost),
        // The keeper was aborted with its runtime; the warden kills the set.
        Err(_) => ExitStatus::Lost,
    }
}

/// Starts the keeper of a set whose program runs.
pub(super) fn keep(child: Child, control: Control, facts: ProcessFacts, held: Held) -> (ProcessHandle, Exit) {
    let (wish, wishes) = watch::channel(Wish::Run);
    let (fates, fate) = watch::channel(Fate::Alive);
    let keeper = Keeper { child, control, wishes, fates, deadline: None };
    tokio::spawn(async move {
        keeper.run().await;
        drop(held);
    });
    let handle = ProcessHandle { wish: Arc::new(wish), fate: fate.clone(), facts };
    let end = settled(fate, |fate| match *fate {
        Fate::Gone(status) => Some(status),
        Fate::Alive | Fate::Died(_) => None,
    });
    let exit = Exit { end: Box::pin(end), handle: handle.clone() };
    (handle, exit)
}

struct Keeper {
    child: Child,
    control: Control,
    wishes: watch::Receiver<Wish>,
    fates: watch::Sender<Fate>,
    /// When the warden is killed; set once its set should be on its way out.
    deadline: Option<Instant>,
}

impl Keeper {
    async fn run(mut self) {
        let mut listening = true;
        let mut wishing = true;
        loop {
            tokio::select! {
                event = self.control.next(), if listening => match event {
                    Ok(Some((event, _))) => self.heard(&event),
                    Ok(None) | Err(_) => {
                        listening = false;
                        self.expect_end();
                    }
                },
                changed = self.wishes.changed(), if wishing => {
                    let wish = *self.wishes.borrow_and_update();
                    // With nobody left to wish, nobody owns the set.
                    wishing = self.granted(if changed.is_ok() { wish } else { Wish::Kill });
                }
                () = at(self.deadline) => {
                    tracing::warn!("a warden did not end its processes in time and is killed");
                    self.deadline = None;
                    // It fails only if the warden has been reaped.
                    let _ = self.child.start_kill();
                }
                status = self.child.wait() => break self.conclude(status),
            }
        }
    }

    fn heard(&mut self, event: &Event) {
        if let Event::Exited(status) = *event {
            self.fates.send_replace(Fate::Died(status));
            self.expect_end();
        }
    }

    /// Carries a wish out; `false` when there is nothing left to wish for.
    fn granted(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Run => true,
            Wish::Terminate => {
                if let Err(error) = self.control.send_byte(TERMINATE) {
                    tracing::debug!(%error, "nobody was left to terminate");
                }
                true
            }
            Wish::Kill => {
                self.control.hang_up();
                self.expect_end();
                false
            }
        }
    }

    fn expect_end(&mut self) {
        self.deadline.get_or_insert_with(|| Instant::now() + KILL_LIMIT);
    }

    fn conclude(&mut self, warden: std::io::Result<std::process::ExitStatus>) {
        for event in self.control.drain() {
            self.heard(&event);
        }
        match warden {
            Ok(status) if status.success() => {}
            Ok(status) => {
                tracing::warn!(%status, "a warden ended without having cleared its processes away")
            }
            Err(error) => tracing::warn!(%error, "a warden could not be waited for"),
        }
        let killed = *self.wishes.borrow() == Wish::Kill;
        self.fates.send_modify(|fate| {
            *fate = Fate::Gone(match *fate {
                Fate::Died(status) | Fate::Gone(status) => status,
                Fate::Alive if killed => ExitStatus::KILLED,
                Fate::Alive => ExitStatus::Lost,
            });
        });
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
