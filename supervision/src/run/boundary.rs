//! The panic boundary: the task that runs one incarnation and survives whatever it does.
//!
//! Exactly one report is made for each incarnation, on every way out: a normal end, a panic in a turn, in the
//! factory or in `Drop`, a kill, and the end of the arbiter itself. Code of the child never runs while unwinding.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_rt::ArbiterHandle;

use crate::{
    Ack, ExitReason, Life,
    child::{Launch, Run},
};

/// Starts an incarnation on `arbiter`, or on this thread.
pub(crate) fn spawn(body: Arc<dyn Launch>, life: Life, arbiter: Option<&ArbiterHandle>) {
    let unborn = Unborn(Some((body, life)));
    match arbiter {
        None => unborn.begin(),
        Some(arbiter) => {
            // An arbiter that is gone drops the future, and with it the report is made.
            let _ = arbiter.spawn(async move { unborn.begin() });
        }
    }
}

/// An incarnation on its way to its arbiter.
struct Unborn(Option<(Arc<dyn Launch>, Life)>);

impl Unborn {
    fn begin(mut self) {
        if let Some((body, life)) = self.0.take() {
            // The task reports for itself; nobody joins it.
            drop(actix_rt::spawn(Boundary { life, stage: Stage::Begun(body) }));
        }
    }
}

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some((_, life)) = self.0.take() {
            life.ended(ExitReason::Killed);
        }
    }
}

struct Boundary {
    life: Life,
    stage: Stage,
}

enum Stage {
    Begun(Arc<dyn Launch>),
    Alive { run: Pin<Box<dyn Run>>, first_turn: bool },
    Over,
}

impl Future for Boundary {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Registered before the flag is read, so a kill in between is not missed.
        this.life.signal().runner.register(cx.waker());
        if this.life.signal().is_killed() {
            this.finish(ExitReason::Killed);
            return Poll::Ready(());
        }
        this.life.pulse().turn_begins();
        let turn = catch_unwind(AssertUnwindSafe(|| this.stage.turn(&this.life, cx)));
        this.life.pulse().turn_ends();
        let exit = match turn {
            Err(panic) => this.panicked(panic),
            Ok(Poll::Ready(exit)) => exit,
            Ok(Poll::Pending) if this.life.signal().is_killed() => ExitReason::Killed,
            Ok(Poll::Pending) => return Poll::Pending,
        };
        this.finish(exit);
        Poll::Ready(())
    }
}

impl Stage {
    fn turn(&mut self, life: &Life, cx: &mut Context<'_>) -> Poll<ExitReason> {
        if let Self::Begun(body) = self {
            let run = body.launch(life);
            *self = Self::Alive { run, first_turn: true };
        }
        let Self::Alive { run, first_turn } = self else {
            return Poll::Ready(ExitReason::Killed);
        };
        let poll = run.as_mut().poll(cx);
        if std::mem::take(first_turn) && life.ack() == Ack::OnStarted {
            match &poll {
                // It never came up.
                Poll::Ready(exit) if exit.is_abnormal() => {}
                Poll::Ready(_) | Poll::Pending => life.ready(),
            }
        }
        poll
    }

    /// After a panic or a kill, nothing of the child runs any more but its destructors.
    fn silence(&mut self) {
        if let Self::Alive { run, .. } = self {
            run.as_mut().silence();
        }
    }
}

impl Boundary {
    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> ExitReason {
        self.stage.silence();
        let exit = ExitReason::from_panic(&*panic);
        if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
            // A payload whose destructor panics has one more payload; there is nothing better to do with it.
            std::mem::forget(worse);
        }
        exit
    }

    fn finish(&mut self, exit: ExitReason) {
        if exit == ExitReason::Killed {
            self.stage.silence();
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(stage)));
        let exit = match dropped {
            Ok(()) => exit,
            Err(panic) => {
                let in_drop = self.panicked(panic);
                if exit.is_abnormal() { exit } else { in_drop }
            }
        };
        self.life.ended(exit);
    }
}

impl Drop for Boundary {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Over) {
            self.finish(ExitReason::Killed);
        }
    }
}
