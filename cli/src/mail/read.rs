//! Reading: taken, written to the session's file, shown, acknowledged, in this order; so at most once to the screen.

use std::time::Duration;

use protocol::wire::ReadInbox;
use tokio::time::{Instant, sleep, sleep_until};

use super::intake::Intake;
use super::send::resend;
use crate::client::{ANSWER_TIMEOUT, Backoff, Deadline, Frame, Mesh, is_lost};
use crate::error::CliError;
use crate::output::Printer;

/// What to wait for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// Until something comes.
    pub(crate) wait: bool,
    /// Whatever comes, until the end.
    pub(crate) follow: bool,
    /// For how long.
    pub(crate) timeout: Option<Duration>,
}

/// Shows what waits, and what comes. Returns how many messages were shown; none of them may have come in time.
pub(crate) async fn read(mesh: &mut Mesh, printer: Printer, reading: Reading) -> Result<u64, CliError> {
    let _only_reader = mesh.file.lock_inbox()?;
    let mut inbox = Inbox::open(mesh, printer, reading).await?;
    let mut backoff = Backoff::new();
    loop {
        let end = inbox.session().await;
        match end {
            Ok(()) => return Ok(inbox.shown),
            Err(Ended::Failed(error)) => return Err(error),
            Err(Ended::Lost(error)) if !inbox.stays() => return Err(error),
            Err(Ended::Lost(error)) => inbox.note_loss(&error),
        }
        if !inbox.reconnect(&mut backoff).await? {
            return Ok(inbox.shown);
        }
    }
}

/// Why reading on one connection ended before it was done.
enum Ended {
    Lost(CliError),
    Failed(CliError),
}

impl From<CliError> for Ended {
    fn from(error: CliError) -> Self {
        Self::Failed(error)
    }
}

struct Inbox<'a> {
    mesh: &'a mut Mesh,
    printer: Printer,
    reading: Reading,
    until: Option<Instant>,
    intake: Intake,
    shown: u64,
}

impl<'a> Inbox<'a> {
    async fn open(mesh: &'a mut Mesh, printer: Printer, reading: Reading) -> Result<Self, CliError> {
        let intake = Intake::open(mesh).await?;
        let until = reading.timeout.map(|timeout| Instant::now() + timeout);
        Ok(Self { mesh, printer, reading, until, intake, shown: 0 })
    }

    fn stays(&self) -> bool {
        self.reading.wait || self.reading.follow
    }

    fn is_done(&self) -> bool {
        !self.stays() || (!self.reading.follow && self.shown > 0)
    }

    /// Reads on one connection, until done or the time is over.
    async fn session(&mut self) -> Result<(), Ended> {
        let request = ReadInbox { follow: self.stays() };
        let mut replies =
            self.mesh.client.start_request(&request).await.map_err(|error| Ended::Failed(error.into()))?;
        let deadline = Deadline::after(ANSWER_TIMEOUT);
        let mut drained = false;
        loop {
            let mut frames = Vec::new();
            tokio::select! {
                biased;
                () = end_of(self.until) => return self.time_is_over(drained),
                frame = self.mesh.client.push_or_end() => match frame {
                    Some(frame) => frames.push(frame),
                    None if drained => return Err(Ended::Lost(CliError::unreachable("the connection to the broker was lost"))),
                    // The answer that is due says why.
                    None => match replies.next(deadline).await {
                        Ok(_) => drained = true,
                        Err(error) if is_lost(&error) => return Err(Ended::Lost(error.into())),
                        Err(error) => return Err(Ended::Failed(error.into())),
                    },
                },
                answer = replies.next(deadline), if !drained => match answer {
                    Ok(_) => drained = true,
                    Err(error) if is_lost(&error) => return Err(Ended::Lost(error.into())),
                    Err(error) => return Err(Ended::Failed(error.into())),
                },
            }
            while let Some(frame) = self.mesh.client.ready_push() {
                frames.push(frame);
            }
            if !self.take(frames).await? || (drained && self.is_done()) {
                return Ok(());
            }
        }
    }

    /// Nothing there and no answer are not the same.
    fn time_is_over(&self, drained: bool) -> Result<(), Ended> {
        if drained || self.stays() {
            return Ok(());
        }
        let error = CliError::timed_out("the broker did not say in time what waits for you");
        Err(Ended::Failed(error.hint("see whether the broker is well: claudemesh health")))
    }

    /// Takes what came; whether anybody still looks at the screen.
    async fn take(&mut self, frames: Vec<Frame>) -> Result<bool, CliError> {
        let taken = self.intake.take(self.mesh, &frames).await?;
        for item in &taken.news {
            if !self.printer.next_result(&item.document, |style| item.human(style))? {
                return Ok(false);
            }
            self.shown += 1;
        }
        taken.acknowledge(self.mesh).await;
        Ok(true)
    }

    fn note_loss(&self, error: &CliError) {
        self.printer.note(&format!("{}; connecting again", error.message));
    }

    /// Connects again, with waits of random length that grow; false when the time is over.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> Result<bool, CliError> {
        loop {
            tokio::select! {
                () = end_of(self.until) => return Ok(false),
                () = sleep(backoff.next()) => {}
            }
            let tried = match self.mesh.reconnect().await {
                Ok(()) => resend(self.mesh, self.printer).await,
                Err(error) => Err(error),
            };
            match tried {
                Ok(()) => {
                    backoff.reset();
                    return Ok(true);
                }
                Err(error) if error.kind == crate::error::Kind::Unreachable => {}
                Err(error) if error.kind == crate::error::Kind::TimedOut => {}
                Err(error) => return Err(error),
            }
        }
    }
}

async fn end_of(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
