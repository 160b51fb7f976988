//! Commands of a broker: each is answered by exactly one `done` (or `logs_result`).
//!
//! What takes time runs beside the session and outlives it: an unload that was begun is finished although its broker is
//! gone. Each such job is bounded by the drain and stop limits of the services it is about.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::link::{Fence, Header, Outcome, ServiceSpec};

use super::Desk;
use super::fence::Verdict;
use super::hello::NO_BODY;
use super::port::Port;
use crate::ending::Why;
use crate::service::{CommandError, Key};

/// How long the last answer may take to leave before the runner ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// What is to be done with a deployment.
pub(super) enum Order {
    Load(Box<ServiceSpec>),
    Unload,
    Restart,
}

/// Carries an order out, if its fence allows it.
pub(super) fn order(
    desk: &Arc<Desk>,
    port: &Arc<Port>,
    cmd: u64,
    fence: Fence,
    mesh: String,
    service: String,
    order: Order,
) {
    let (desk, port) = (Arc::clone(desk), Arc::clone(port));
    actix_rt::spawn(async move {
        let outcome = match fenced(&desk, &fence).await {
            Some(refusal) => refusal,
            None => outcome(carry_out(&desk, Key { mesh, service, deployment: fence.deployment }, order).await),
        };
        port.send(&Header::Done { cmd, outcome }, NO_BODY);
    });
}

/// Takes a file in, if its fence allows it.
pub(super) fn file(desk: &Arc<Desk>, port: &Arc<Port>, cmd: u64, fence: Fence, sha256: String, body: Bytes) {
    let (desk, port) = (Arc::clone(desk), Arc::clone(port));
    actix_rt::spawn(async move {
        let outcome = match fenced(&desk, &fence).await {
            Some(refusal) => refusal,
            None => match desk.directory.take_file(fence.deployment, sha256, body).await {
                Ok(()) => Outcome::Ok,
                Err(error) => Outcome::Error { code: "file".to_owned(), message: error.to_string() },
            },
        };
        port.send(&Header::Done { cmd, outcome }, NO_BODY);
    });
}

async fn carry_out(desk: &Desk, key: Key, order: Order) -> Result<(), CommandError> {
    match order {
        Order::Load(spec) if spec.deployment != key.deployment => {
            Err(CommandError::Invalid("the fence names another deployment than the specification".to_owned()))
        }
        Order::Load(spec) => desk.directory.load(*spec).await,
        Order::Unload => desk.directory.unload(&key).await,
        Order::Restart => desk.directory.restart(&key).await,
    }
}

async fn fenced(desk: &Desk, fence: &Fence) -> Option<Outcome> {
    match desk.fencing.admit(&fence.store, fence.epoch, !desk.directory.is_empty()).await {
        Ok(Verdict::Current | Verdict::Raise(_)) => None,
        Ok(Verdict::Lower { epoch } | Verdict::Other { epoch, .. }) => Some(Outcome::Fenced { epoch }),
        Err(error) => Some(Outcome::Error { code: "disk".to_owned(), message: error.to_string() }),
    }
}

fn outcome(result: Result<(), CommandError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Ok,
        Err(error) => Outcome::Error { code: error.code().to_owned(), message: error.to_string() },
    }
}

/// Answers with a service's last lines, or with the first ones behind a number.
pub(super) fn logs(desk: &Desk, port: &Port, cmd: u64, mesh: &str, service: &str, wanted: (u32, Option<u64>)) {
    let (count, after) = (usize::try_from(wanted.0).unwrap_or(usize::MAX), wanted.1);
    let (lines, lost) = match after {
        Some(seq) => desk.directory.logs_after(mesh, service, seq, count),
        None => (desk.directory.logs(mesh, service, count), false),
    };
    let answer = Header::LogsResult { cmd, lines, lost };
    if let Err(error) = port.try_send(&answer, NO_BODY) {
        // A thousand lines of 8 KiB do not fit into a frame.
        tracing::debug!(%error, "a log was cut to fit");
        let Header::LogsResult { lines, .. } = answer else { return };
        let lines = fitting(lines, after.is_some());
        port.send(&Header::LogsResult { cmd, lines, lost }, NO_BODY);
    }
}

/// The newest lines that surely fit, or the oldest: whoever goes on from a number asks for the others next.
fn fitting(mut lines: Vec<protocol::link::LogLine>, oldest: bool) -> Vec<protocol::link::LogLine> {
    // A byte of text becomes at most six in JSON.
    const TEXT_BYTES: usize = protocol::link::MAX_HEADER_BYTES / 8;
    const AROUND: usize = 96;
    let mut left = TEXT_BYTES;
    if !oldest {
        lines.reverse();
    }
    let mut kept: Vec<_> = lines
        .into_iter()
        .take_while(|line| {
            let fits = line.text.len() + AROUND <= left;
            left = left.saturating_sub(line.text.len() + AROUND);
            fits
        })
        .collect();
    if !oldest {
        kept.reverse();
    }
    kept
}

/// Stops everything, answers, and ends the runner.
pub(super) fn stop_all(desk: &Arc<Desk>, port: Option<&Arc<Port>>, cmd: u64) {
    let (desk, port) = (Arc::clone(desk), port.cloned());
    actix_rt::spawn(async move {
        desk.directory.unload_all().await;
        if let Some(port) = port {
            port.send(&Header::Done { cmd, outcome: Outcome::Ok }, NO_BODY);
            port.flushed(FLUSH_LIMIT).await;
        }
        desk.ending.ask(Why::Ordered);
    });
}
