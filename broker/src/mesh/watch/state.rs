//! What one watch does next: when it looks, what it makes of what it saw, and when its owner is told. Pure.
//!
//! **Contract.** One thing at a time: a look, or a commit of what follows from it, never two. What counts is the
//! *committed* value; it changes by a [`Commit`] that was stored, and by nothing else, so whatever was not stored is
//! decided again from what the next look sees. A failure is no value. Of a run of failures its owner is told once, and once
//! when it is over.
//!
//! ```text
//!            due             seen, failed           committed
//!   waiting ─────► looking ────────────► committing ──────────► waiting
//!      ▲              │ nothing to commit     │ not stored: the next look decides again
//!      └──────────────┴───────────────────────┘
//! ```

use sha2::{Digest as _, Sha256};

/// Longest wait after failures, unless the interval or the server asks for more.
pub const MAX_BACKOFF_MS: i64 = 5 * 60_000;
/// Longest wait that a server's `Retry-After` is given.
pub const MAX_RETRY_AFTER_MS: i64 = 60 * 60_000;
/// The part of the interval that a look may come late, at random.
const JITTER_PART: i64 = 10;
/// Characters of a hash that are kept: of SHA-256 in hex.
const HASH_CHARS: usize = 16;

/// What its owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Between two looks.
    pub interval_ms: i64,
    /// Where in its interval it looks: spreads many watches evenly.
    pub phase_ms: i64,
    /// When its owner is told.
    pub notify: Notify,
    /// Failures in a row after which its owner is told.
    pub fail_after: u32,
    /// Looks in a row at which a new value has to be there.
    pub settle: u32,
}

/// When the owner is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notify {
    /// Whenever the value is another one.
    Change,
    /// Whenever it becomes this one; also when it is at the first look.
    Match(String),
    /// Whenever it becomes one that is not this one; also when it is none at the first look.
    NotMatch(String),
}

impl Notify {
    fn wants(&self, before: Option<&Seen>, now: &Seen) -> bool {
        match self {
            Self::Change => before.is_some(),
            Self::Match(value) => now.is(value),
            Self::NotMatch(value) => !now.is(value),
        }
    }
}

/// A value that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Tells values apart.
    pub hash: String,
    /// What is shown: the value, cut where it is long.
    pub text: String,
}

impl Seen {
    /// Of a whole value, shown as `text`.
    #[must_use]
    pub fn of(value: &[u8], text: String) -> Self {
        Self { hash: hash_of(value), text }
    }

    /// Whether it is the value that somebody waits for.
    fn is(&self, value: &str) -> bool {
        self.text == value || self.hash == hash_of(value.as_bytes())
    }
}

/// The first 16 hex digits of a value's SHA-256.
#[must_use]
pub fn hash_of(value: &[u8]) -> String {
    let mut hash = hex::encode(Sha256::digest(value));
    hash.truncate(HASH_CHARS);
    hash
}

/// What is stored of a watch's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rises with each commit.
    pub version: i64,
    /// The last value.
    pub value: Option<Seen>,
    /// Its owner was told that it fails.
    pub failing: bool,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A value.
    Seen(Seen),
    /// What the last look saw, says the server.
    Unchanged,
    /// None.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was not looked: a limit of this broker's own was in the way.
    Skipped,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then.
    Wait(i64),
    /// Look.
    Look,
    /// Store this, with the message in the same transaction.
    Commit(Commit),
}

/// What is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Only if this is still the version.
    pub expected: i64,
    /// What happened.
    pub kind: Kind,
    /// How it was.
    pub before: Committed,
    /// How it is from then on.
    pub after: Committed,
    /// Why it fails.
    pub reason: Option<String>,
    /// Failures in a row.
    pub failures: u32,
    /// Whether the owner is told.
    pub told: bool,
}

/// What happened to a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first value.
    First,
    /// Another value.
    Changed,
    /// It fails.
    Failed,
    /// It is well again.
    Recovered,
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Done,
    /// It is not.
    NotNow,
    /// Nobody knows, or memory was wrong: this is what is stored.
    Reread(Committed),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Waiting { until: i64 },
    Looking,
    Committing { commit: Box<Commit>, due: i64 },
}

/// One watch.
#[derive(Debug, Clone)]
pub struct State {
    rules: Rules,
    committed: Committed,
    /// What the last look that saw something saw.
    seen: Option<Seen>,
    /// A new value, and at how many looks in a row it was there.
    candidate: Option<(Seen, u32)>,
    failures: u32,
    last_error: Option<String>,
    phase: Phase,
}

impl State {
    /// A watch that looks at `first`, ms since 1970, for the first time.
    #[must_use]
    pub fn new(rules: Rules, committed: Committed, first: i64) -> Self {
        let phase = Phase::Waiting { until: first };
        Self { rules, committed, seen: None, candidate: None, failures: 0, last_error: None, phase }
    }

    /// What is stored.
    #[must_use]
    pub fn committed(&self) -> &Committed {
        &self.committed
    }

    /// Failures in a row, and the last one's reason.
    #[must_use]
    pub fn trouble(&self) -> (u32, Option<&str>) {
        (self.failures, self.last_error.as_deref())
    }

    /// Whether an answer of "as before" would say anything.
    #[must_use]
    pub fn knows(&self) -> bool {
        self.seen.is_some()
    }

    /// What time brings.
    pub fn tick(&mut self, now: i64) -> Step {
        match &self.phase {
            Phase::Waiting { until } if now < *until => Step::Wait(*until),
            Phase::Waiting { .. } | Phase::Looking => {
                self.phase = Phase::Looking;
                Step::Look
            }
            Phase::Committing { commit, .. } => Step::Commit(Commit::clone(commit)),
        }
    }

    /// What a look came to. `roll` is random.
    pub fn looked(&mut self, look: Look, now: i64, roll: u64) -> Step {
        if self.phase != Phase::Looking {
            return self.tick(now);
        }
        match look {
            Look::Seen(seen) => {
                self.seen = Some(seen);
                self.well(now, roll)
            }
            Look::Unchanged => self.well(now, roll),
            Look::Failed { reason } => self.failed(reason, now, roll),
            Look::Skipped => {
                let due = self.due(now, roll);
                self.wait(due)
            }
        }
    }

    fn well(&mut self, now: i64, roll: u64) -> Step {
        self.failures = 0;
        self.last_error = None;
        if let (Some(seen), Some(value)) = (&self.seen, &self.committed.value)
            && seen.hash == value.hash
        {
            self.candidate = None;
        } else if let Some(seen) = &self.seen {
            let before = self.candidate.take().filter(|(candidate, _)| candidate.hash == seen.hash);
            let times = before.map_or(0, |(_, times)| times).saturating_add(1);
            self.candidate = Some((seen.clone(), times));
        }
        let due = self.due(now, roll);
        self.decide(due)
    }

    /// What there is to commit of what was seen, if anything.
    fn decide(&mut self, due: i64) -> Step {
        if self.committed.failing {
            let after = Committed { failing: false, ..self.next() };
            return self.commit(Kind::Recovered, after, None, true, due);
        }
        let Some((seen, times)) = self.candidate.clone() else { return self.wait(due) };
        let first = self.committed.value.is_none();
        if !first && times < self.rules.settle {
            return self.wait(due);
        }
        let told = self.rules.notify.wants(self.committed.value.as_ref(), &seen);
        let after = Committed { value: Some(seen), ..self.next() };
        self.commit(if first { Kind::First } else { Kind::Changed }, after, None, told, due)
    }

    fn failed(&mut self, reason: String, now: i64, roll: u64) -> Step {
        self.failures = self.failures.saturating_add(1);
        self.last_error = Some(reason.clone());
        let due = self.due(now, roll);
        if self.failures >= self.rules.fail_after && !self.committed.failing {
            let after = Committed { failing: true, ..self.next() };
            return self.commit(Kind::Failed, after, Some(reason), true, due);
        }
        self.wait(due)
    }

    fn next(&self) -> Committed {
        Committed { version: self.committed.version.saturating_add(1), ..self.committed.clone() }
    }

    fn commit(&mut self, kind: Kind, after: Committed, reason: Option<String>, told: bool, due: i64) -> Step {
        let before = self.committed.clone();
        let commit = Commit { expected: before.version, kind, before, after, reason, failures: self.failures, told };
        self.phase = Phase::Committing { commit: Box::new(commit.clone()), due };
        Step::Commit(commit)
    }

    /// What became of the commit.
    pub fn stored(&mut self, stored: Stored, now: i64) -> Step {
        let Phase::Committing { commit, due } = &self.phase else { return self.tick(now) };
        let (after, due) = (commit.after.clone(), *due);
        match stored {
            Stored::Done => self.committed = after,
            Stored::NotNow => return self.wait(due),
            Stored::Reread(committed) => self.committed = committed,
        }
        if self.failures > 0 {
            return self.wait(due);
        }
        if let (Some(seen), Some(value)) = (&self.seen, &self.committed.value)
            && seen.hash == value.hash
        {
            self.candidate = None;
        }
        self.decide(due)
    }

    /// The server asks to be left alone for `ms` from now: no look before that, within reason. Says what is to be done now.
    pub fn hold(&mut self, now: i64, ms: i64) -> Step {
        let least = now.saturating_add(ms.clamp(0, MAX_RETRY_AFTER_MS));
        match &mut self.phase {
            Phase::Waiting { until } => *until = least.max(*until),
            Phase::Committing { due, .. } => *due = least.max(*due),
            Phase::Looking => {}
        }
        self.tick(now)
    }

    fn wait(&mut self, until: i64) -> Step {
        self.phase = Phase::Waiting { until };
        Step::Wait(until)
    }

    /// The next look: the next place of its own in time, or later after failures that were told.
    fn due(&self, now: i64, roll: u64) -> i64 {
        let over = self.failures.saturating_sub(self.rules.fail_after.saturating_sub(1));
        if over == 0 {
            return next_place(&self.rules, now, roll);
        }
        let interval = self.rules.interval_ms;
        let grown = interval.saturating_mul(1_i64.checked_shl(over.min(20)).unwrap_or(i64::MAX));
        let wait = grown.min(MAX_BACKOFF_MS.max(interval));
        now.saturating_add(wait).saturating_add(jitter(wait, roll))
    }
}

/// The next moment of the watch's own after `now`: all moments with its phase in the interval, each a little late.
#[must_use]
pub fn next_place(rules: &Rules, now: i64, roll: u64) -> i64 {
    let interval = rules.interval_ms.max(1);
    let into = now.saturating_sub(rules.phase_ms).rem_euclid(interval);
    now.saturating_sub(into).saturating_add(interval).saturating_add(jitter(interval, roll))
}

/// From 0 to a part of `ms`.
fn jitter(ms: i64, roll: u64) -> i64 {
    let most = u64::try_from(ms / JITTER_PART).unwrap_or_default();
    i64::try_from(roll % most.saturating_add(1)).unwrap_or_default()
}

/// Where in its interval a watch of this id looks.
#[must_use]
pub fn phase_of(id: &str, interval_ms: i64) -> i64 {
    let digest = Sha256::digest(id.as_bytes());
    let head = digest.first_chunk::<7>().copied().unwrap_or_default();
    let number = head.iter().fold(0_i64, |number, byte| (number << 8) | i64::from(*byte));
    number.rem_euclid(interval_ms.max(1))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
