//! A steady stream of calls from one peer, each answer counted.
//!
//! A lost socket is connected again; what was in flight on it is counted as `lost`, apart from the answers. After
//! [`Load::stop`] nothing new is sent, and a call without an answer is counted as `unanswered`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::Mesh;
use super::peer::{Peer, call, runtime, verdict};

/// From `stop` to the last answer: above the longest that a call may wait.
const DRAIN: Duration = Duration::from_secs(75);
/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(20);
/// How often a quiet peer looks whether it should stop.
const LOOK: Duration = Duration::from_millis(20);
/// How many different answers that are no results are kept for a failure's message.
const KEPT_SAMPLES: usize = 5;

/// What to call, and how hard.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// Its tool.
    pub tool: String,
    /// The arguments of every call.
    pub arguments: Value,
    /// Calls on their way at any moment.
    pub in_flight: usize,
    /// From an answer to the next call in its place.
    pub pause: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Calls sent.
    pub sent: u64,
    /// Answered with a result.
    pub ok: u64,
    /// Answered otherwise, by code.
    pub errors: BTreeMap<String, u64>,
    /// In flight on a socket that was lost.
    pub lost: u64,
    /// Never answered, although the socket stayed.
    pub unanswered: u64,
    /// The longest that an answer took.
    pub slowest: Duration,
    /// The most processes that saw one call, as its answer says.
    pub most_attempts: u64,
    /// Why sockets were lost.
    pub disconnects: Vec<String>,
    /// Some answers that are no results.
    pub samples: Vec<String>,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    report: Arc<Mutex<LoadReport>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts it beside the test.
    #[must_use]
    pub fn start(mesh: &Mesh, plan: Plan) -> Self {
        Self::start_as(mesh.membership(), plan)
    }

    /// The same as another member: an entry of its `config.json`.
    #[must_use]
    pub fn start_as(membership: Value, plan: Plan) -> Self {
        let report = Arc::new(Mutex::new(LoadReport::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, asked) = (Arc::clone(&report), Arc::clone(&stop));
        let thread = thread::spawn(move || runtime().block_on(drive(&membership, &plan, &shared, &asked)));
        Self { report, stop, thread: Some(thread) }
    }

    /// What came of it so far.
    #[must_use]
    pub fn report(&self) -> LoadReport {
        held(&self.report).clone()
    }

    /// Waits until `more` further calls got a result.
    #[track_caller]
    pub fn wait_for_more(&self, mesh: &Mesh, more: u64, deadline: Duration) {
        let before = self.report().ok;
        mesh.wait(&format!("{more} more results"), deadline, || match self.report() {
            report if report.ok >= before + more => Ok(()),
            report => Err(format!("{before} before, now {report:?}")),
        });
    }

    /// Sends nothing more, waits for the answers, and gives the whole report.
    #[must_use]
    pub fn stop(mut self) -> LoadReport {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a load does not panic");
        }
        self.report()
    }
}

impl Drop for Load {
    /// A test that fails must not leave a peer that calls on.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

async fn drive(membership: &Value, plan: &Plan, report: &Mutex<LoadReport>, stop: &AtomicBool) {
    while !stop.load(Ordering::SeqCst) {
        let ended = match Peer::connect(membership).await {
            Ok(mut peer) => converse(&mut peer, plan, report, stop).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            note_disconnect(&mut held(report), error);
            sleep(RECONNECT).await;
        }
    }
}

/// An endless row of the same refusal is one entry.
fn note_disconnect(report: &mut LoadReport, error: String) {
    if report.disconnects.last() != Some(&error) {
        report.disconnects.push(error);
    }
}

/// One socket's life.
async fn converse(peer: &mut Peer, plan: &Plan, report: &Mutex<LoadReport>, stop: &AtomicBool) -> Result<(), String> {
    let mut open: HashMap<String, Instant> = HashMap::new();
    let ended = exchange(peer, plan, report, stop, &mut open).await;
    let left = open.len() as u64;
    match ended {
        Ok(()) => held(report).unanswered += left,
        Err(_) => held(report).lost += left,
    }
    ended
}

async fn exchange(
    peer: &mut Peer,
    plan: &Plan,
    report: &Mutex<LoadReport>,
    stop: &AtomicBool,
    open: &mut HashMap<String, Instant>,
) -> Result<(), String> {
    let message = call(&plan.service, &plan.tool, &plan.arguments);
    let mut stopped_at = None;
    loop {
        if stopped_at.is_none() && stop.load(Ordering::SeqCst) {
            stopped_at = Some(Instant::now());
        }
        if let Some(at) = stopped_at {
            if open.is_empty() || at.elapsed() > DRAIN {
                return Ok(());
            }
        } else {
            while open.len() < plan.in_flight {
                let id = peer.send(message.clone()).await?;
                open.insert(id, Instant::now());
                held(report).sent += 1;
            }
        }
        let Ok(reply) = timeout(LOOK, peer.next()).await else {
            continue;
        };
        if count(&reply?, report, open) && !plan.pause.is_zero() {
            sleep(plan.pause).await;
        }
    }
}

/// Counts an answer; false for what is no answer to a call.
fn count(reply: &Value, report: &Mutex<LoadReport>, open: &mut HashMap<String, Instant>) -> bool {
    let Some(sent) = reply["_reqId"].as_str().and_then(|id| open.remove(id)) else {
        return false;
    };
    let verdict = verdict(reply);
    let mut report = held(report);
    report.slowest = report.slowest.max(sent.elapsed());
    report.most_attempts = report.most_attempts.max(reply["attempts"].as_u64().unwrap_or_default());
    if verdict == "ok" {
        report.ok += 1;
    } else {
        if report.samples.len() < KEPT_SAMPLES {
            report.samples.push(reply.to_string());
        }
        *report.errors.entry(verdict).or_default() += 1;
    }
    true
}

/// A counter stays right whoever panicked while it was held.
fn held(report: &Mutex<LoadReport>) -> MutexGuard<'_, LoadReport> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}
