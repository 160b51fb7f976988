//! What all sockets of a run have in common: what is due, what came, and what went wrong.
//!
//! One thread; a borrow is never held across a wait.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ::tests::harness::ledger::{Ledger, Slip};
use tokio::sync::Notify;
use tokio::time::timeout_at;

/// How many refusals are kept for a failure's words.
const KEPT_REFUSALS: usize = 3;

/// Shared by everyone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    state: Rc<RefCell<State>>,
    changed: Rc<Notify>,
}

/// What came of a run so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    /// When each message of the run was handed over, if that is wanted.
    pub(crate) sent_at: HashMap<Slip, Instant>,
    /// Nanoseconds from there to its delivery.
    pub(crate) times: Vec<u64>,
    /// Messages that the broker took.
    pub(crate) acked: usize,
    /// Messages, hellos and others that it refused.
    pub(crate) refused: usize,
    /// The first of those.
    pub(crate) refusals: Vec<String>,
    /// The members to seal for, if the broker named others than were sealed for.
    pub(crate) members: Option<Vec<String>>,
    /// Messages of a run that was over.
    pub(crate) strays: usize,
    /// The last delivery of the run.
    pub(crate) last: Option<Instant>,
    /// When each hello was answered.
    pub(crate) joined: Vec<Instant>,
    /// Frames of any kind.
    pub(crate) heard: u64,
    /// Why a socket is lost that was not to be lost.
    pub(crate) lost: Option<String>,
}

impl Board {
    pub(crate) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Whoever waits should look again.
    pub(crate) fn tell(&self) {
        self.changed.notify_one();
    }

    /// Waits for a condition; `what` names it in the error.
    pub(crate) async fn until(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl FnMut(&State) -> bool,
    ) -> Result<(), String> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            if condition(&self.state()) {
                return Ok(());
            }
            if let Some(error) = self.state().lost.take() {
                return Err(format!("a socket was lost while waiting for {what}: {error}"));
            }
            if timeout_at(end, self.changed.notified()).await.is_err() {
                return Err(format!("waited {deadline:?} for {what}: {}", self.state().words()));
            }
        }
    }

    /// A run begins: these messages are due.
    pub(crate) fn begin(&self, ledger: Ledger) {
        let mut state = self.state();
        state.ledger = ledger;
        (state.acked, state.last) = (0, None);
        state.times.clear();
        state.sent_at.clear();
    }

    /// Everything of the run was taken and came, and nothing else.
    pub(crate) async fn complete(&self, sent: usize, deadline: Duration) -> Result<Instant, String> {
        let done = |state: &State| state.is_lost() || (state.ledger.left() == 0 && state.acked >= sent);
        self.until("the last delivery", deadline, done).await?;
        let state = self.state();
        let good = !state.is_lost() && state.ledger.faults.none();
        if good { state.last.ok_or("nothing was due".to_owned()) } else { Err(state.words()) }
    }
}

impl State {
    /// A message came to a receiver.
    pub(crate) fn take(&mut self, slip: Slip, receiver: u32, now: Instant) {
        if !self.ledger.take(slip, receiver) {
            self.strays += 1;
            return;
        }
        self.last = Some(now);
        if let Some(sent) = self.sent_at.get(&slip) {
            self.times.push(u64::try_from((now - *sent).as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn refuse(&mut self, words: String) {
        self.refused += 1;
        if self.refusals.len() < KEPT_REFUSALS {
            self.refusals.push(words);
        }
    }

    /// Whatever comes now, the run cannot be a good one. What came too early shows its reason only later: an earlier one
    /// that is late, missing or refused.
    fn is_lost(&self) -> bool {
        self.ledger.faults.not_due > 0 || self.refused > 0 || self.strays > 0
    }

    fn words(&self) -> String {
        format!(
            "{} delivered, {} missing, {}; {} of an earlier run; {} taken by the broker, {} refused {:?}",
            self.ledger.delivered,
            self.ledger.left(),
            self.ledger.faults,
            self.strays,
            self.acked,
            self.refused,
            self.refusals,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slip(number: u32) -> Slip {
        Slip { run: 1, sender: 0, number }
    }

    fn begun(messages: u32) -> Board {
        let board = Board::default();
        let mut ledger = Ledger::of_run(1);
        (0..messages).for_each(|number| ledger.expect(slip(number), 1));
        board.begin(ledger);
        board
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_is_complete_when_all_was_taken_and_came_and_nothing_else_did() {
        const SOON: Duration = Duration::from_secs(1);
        let board = begun(2);
        let now = Instant::now();
        board.state().take(slip(0), 1, now);
        assert!(board.complete(2, SOON).await.unwrap_err().contains("1 missing"));
        board.state().take(slip(1), 1, now);
        assert!(board.complete(2, SOON).await.unwrap_err().contains("0 taken by the broker"));
        board.state().acked = 2;
        assert_eq!(board.complete(2, SOON).await, Ok(now));

        board.state().take(slip(1), 1, now);
        assert!(board.complete(2, SOON).await.unwrap_err().contains("1 that were not due"));
        let board = begun(1);
        board.state().take(slip(0), 1, now);
        board.state().refuse("rate".to_owned());
        assert!(board.complete(1, SOON).await.unwrap_err().contains("1 refused [\"rate\"]"));
        let board = begun(1);
        board.state().take(Slip { run: 0, ..slip(0) }, 1, now);
        board.state().take(slip(0), 1, now);
        board.state().acked = 1;
        assert!(board.complete(1, SOON).await.unwrap_err().contains("1 of an earlier run"));
        board.state().lost = Some("gone".to_owned());
        assert!(board.until("x", SOON, |_| false).await.unwrap_err().contains("gone"));
    }
}
