//! What is measured with a crowd that is connected, one function each. A message that is missing, twice, out of order or
//! refused ends the run.

use std::time::{Duration, Instant};

use ::tests::harness::ledger::{Ledger, Slip};
use ::tests::harness::{Rng, Session};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::crowd::{Crowd, Script};
use crate::purse::Purse;

/// From the first send to the last delivery; what hangs is told after this.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two messages of a paced run: 500 a second.
const PACE: Duration = Duration::from_millis(2);

/// A crowd, and what it did so far.
pub(crate) struct Stage {
    pub(crate) crowd: Crowd,
    purses: Vec<Purse>,
    rng: Rng,
    run: u32,
    /// The members to seal for.
    sealed_for: Vec<String>,
}

impl Stage {
    pub(crate) fn new(crowd: Crowd, sealed_for: Vec<String>) -> Self {
        let purses = vec![Purse::full(Instant::now()); crowd.sessions.len()];
        Self { crowd, purses, rng: Rng::seeded(7), run: 0, sealed_for }
    }

    /// How large a message is on its way to the broker.
    pub(crate) fn frame_bytes(&self) -> usize {
        let slip = Slip { run: 0, sender: 0, number: 0 };
        self.crowd.direct(slip, &self.crowd.sessions[0].address()).to_string().len()
    }

    fn peers(&self) -> u32 {
        self.crowd.sessions.len() as u32
    }

    fn begin(&mut self) -> u32 {
        self.run += 1;
        self.run
    }

    /// Anybody but this one.
    fn other(&mut self, than: u32) -> u32 {
        let drawn = self.rng.below(self.peers() - 1);
        drawn + u32::from(drawn >= than)
    }

    /// Waits until each may send so many.
    async fn save(&self, tokens: u32) -> Result<(), String> {
        let now = Instant::now();
        let waits = self.purses.iter().map(|purse| purse.wait_for(tokens, now));
        let longest = waits.max_by_key(|wait| wait.unwrap_or(Duration::MAX)).flatten();
        sleep(longest.ok_or(format!("no member may ever send {tokens} at once"))?).await;
        Ok(())
    }

    fn spend(&mut self, tokens: u32) {
        let now = Instant::now();
        self.purses.iter_mut().for_each(|purse| purse.spend(tokens, now));
    }

    /// Everyone sends so many direct messages to random others at once. From the first send to the last delivery.
    pub(crate) async fn burst(&mut self, each: u32) -> Result<Duration, String> {
        let run = self.begin();
        let mut ledger = Ledger::of_run(run);
        let mut scripts = Vec::new();
        for sender in 0..self.peers() {
            let receivers: Vec<u32> = (0..each).map(|_| self.other(sender)).collect();
            for (number, receiver) in (0..).zip(&receivers) {
                ledger.expect(Slip { run, sender, number }, *receiver);
            }
            scripts.push(self.crowd.script(run, sender, &receivers));
        }
        self.save(each).await?;
        self.crowd.board.begin(ledger);
        let begun = Instant::now();
        for (number, script) in scripts.into_iter().enumerate() {
            self.crowd.hand(number, script);
        }
        let last = self.crowd.board.complete((each * self.peers()) as usize, DEADLINE).await?;
        self.spend(each);
        Ok(last - begun)
    }

    /// One message after the other, 500 a second, from anybody to anybody. The nanoseconds of each, sorted.
    pub(crate) async fn paced(&mut self, messages: u32) -> Result<Vec<u64>, String> {
        let run = self.begin();
        let mut ledger = Ledger::of_run(run);
        let mut scripts = Vec::new();
        for number in 0..messages {
            let sender = self.rng.below(self.peers());
            let receiver = self.other(sender);
            let slip = Slip { run, sender, number };
            ledger.expect(slip, receiver);
            let target = self.crowd.sessions[receiver as usize].address();
            scripts.push((slip, Script::one(&self.crowd.direct(slip, &target))));
        }
        self.save(messages / self.peers() * 2 + 1).await?;
        self.crowd.board.begin(ledger);
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for (slip, script) in scripts {
            ticks.tick().await;
            self.crowd.board.state().sent_at.insert(slip, Instant::now());
            self.crowd.hand(slip.sender as usize, script);
        }
        self.crowd.board.complete(messages as usize, DEADLINE).await?;
        self.spend(messages / self.peers() * 2 + 1);
        let mut times = std::mem::take(&mut self.crowd.board.state().times);
        times.sort_unstable();
        Ok(times)
    }

    /// One sends to all, another one the next time. From the send to the last delivery.
    pub(crate) async fn broadcast(&mut self) -> Result<Duration, String> {
        let sender = self.run % self.peers();
        let recipients = u32::try_from(self.sealed_for.len()).map_err(|error| error.to_string())?;
        // Once more when the broker knows other members.
        for _ in 0..2 {
            let run = self.begin();
            let slip = Slip { run, sender, number: 0 };
            let mut ledger = Ledger::of_run(run);
            (0..self.peers()).filter(|peer| *peer != sender).for_each(|peer| ledger.expect(slip, peer));
            let message = Session::made_up("*", "now", &slip.id(), &slip.body(), &self.sealed_for);
            self.save(recipients).await?;
            let board = self.crowd.board.clone();
            board.begin(ledger);
            let begun = Instant::now();
            self.crowd.hand(sender as usize, Script::one(&message));
            let answered = board.until("the answer", DEADLINE, |s| s.acked + s.refused > 0 || s.members.is_some());
            answered.await?;
            let members = board.state().members.take();
            if let Some(members) = members {
                self.sealed_for = members;
                continue;
            }
            let last = board.complete(1, DEADLINE).await?;
            self.purses[sender as usize].spend(recipients, Instant::now());
            return Ok(last - begun);
        }
        Err("the members change all the time".to_owned())
    }

    /// Everyone sends to somebody who is not there: `absent` are such keys, `messages` how many in all.
    pub(crate) async fn pile_up(&mut self, absent: &[String], messages: u32) -> Result<(), String> {
        let each = messages.div_ceil(self.peers());
        let run = self.begin();
        let mut scripts = Vec::new();
        for sender in 0..self.peers() {
            let mut script = Script::default();
            for (number, target) in (0..each).zip(absent.iter().cycle().skip(sender as usize)) {
                script.add(&self.crowd.direct(Slip { run, sender, number }, target));
            }
            scripts.push(script);
        }
        self.save(each).await?;
        self.crowd.board.begin(Ledger::of_run(run));
        for (number, script) in scripts.into_iter().enumerate() {
            self.crowd.hand(number, script);
        }
        let sent = (each * self.peers()) as usize;
        let board = self.crowd.board.clone();
        board.until("the answers", DEADLINE, |state| state.acked + state.refused >= sent).await?;
        self.spend(each);
        let state = board.state();
        if state.acked == sent { Ok(()) } else { Err(format!("{} refused: {:?}", state.refused, state.refusals)) }
    }
}
