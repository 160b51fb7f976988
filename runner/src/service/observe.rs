//! From what supervisors say to what it means for a service.
//!
//! Three observers look at three heights: the set sees the service as a whole, the service's supervisor sees its parts,
//! the instance's supervisor sees the process.

use std::sync::{Arc, Weak};

use protocol::link::{RestartKind, ServiceState};
use supervision::{ChildEvent, ExitReason, NodeState, Observer, Transition};

use super::entry::Entry;
use super::instances::{Place, Turn};
use super::spec::{INSTANCE, INSTANCES, PREPARE};
use super::state::Event;
use crate::instance::{PROCESS, key};

/// More than a policy allows.
const INSTANCES_MAX: usize = 64;

/// Sees the service as a member of the set.
pub(super) fn member(entry: &Entry, transition: &Transition) {
    let event = match transition {
        Transition::Starting if entry.state().is_final() => Event::RestartByHand,
        // The parts speak for themselves.
        Transition::Starting | Transition::Ready => return,
        // The end of the process that was stopped by hand: told and counted when the stop began.
        Transition::Restarting { .. } if entry.state() == ServiceState::Restarting => return,
        Transition::Restarting { exit, delay } => down(exit, *delay),
        Transition::Parked { exit, state: NodeState::Failed } => Event::Failed { reason: plain(exit) },
        Transition::Parked { exit, .. } => Event::Crashed { reason: plain(exit) },
        Transition::Stopping if entry.is_leaving() => return,
        Transition::Stopping => Event::RestartByHand,
        Transition::Stopped { .. } if entry.is_leaving() => Event::Gone,
        Transition::Stopped { .. } => return,
    };
    entry.happened(&event);
}

/// Sees the parts of a service.
pub(super) struct Parts(pub(super) Weak<Entry>);

impl Observer for Parts {
    fn on(&self, event: &ChildEvent) {
        let Some(entry) = self.0.upgrade() else { return };
        let path = &event.path;
        if event.id.as_str() == PREPARE {
            if event.transition == Transition::Starting {
                entry.happened(&Event::Prepare);
            }
        } else if let Some(instance) = instance(event.id.as_str()) {
            let Some(turn) = turn(&entry, instance, &event.transition) else { return };
            entry.turned(instance, turn);
        } else {
            return;
        }
        // Of several instances it is the parent of their supervisor.
        let above = path.parent().and_then(|above| match above.as_str().rsplit_once('/') {
            Some((_, INSTANCES)) => above.parent(),
            _ => Some(above),
        });
        if let Some(service) = above {
            entry.show(&service);
        }
    }
}

/// The place of the instance that is called so.
fn instance(id: &str) -> Option<usize> {
    let name = id.strip_prefix(INSTANCE)?;
    (0..INSTANCES_MAX).find(|number| key(*number) == name)
}

fn turn(entry: &Entry, instance: usize, transition: &Transition) -> Option<Turn> {
    match transition {
        Transition::Starting => Some(Turn::Starting),
        Transition::Ready => Some(Turn::Ready),
        Transition::Restarting { exit, delay } => Some(Turn::Restarting {
            reason: plain(exit),
            delay_ms: milliseconds(*delay),
            alone: *exit != ExitReason::Shutdown,
        }),
        Transition::Stopped { exit } if is_the_end(entry, instance, exit) => Some(Turn::Ended { reason: plain(exit) }),
        // It stays what it was called when its process ended as it may.
        Transition::Stopped { .. } if entry.place(instance) == Place::Ended => None,
        Transition::Stopped { .. } => Some(Turn::Stopped),
        Transition::Stopping | Transition::Parked { .. } => None,
    }
}

/// Whether an instance that was ready ended as its policy allows, so that no other follows. One that is stopped because
/// the service is given up was not allowed to: the set tells that.
fn is_the_end(entry: &Entry, instance: usize, exit: &ExitReason) -> bool {
    let allowed = match entry.spec.policy.restart {
        RestartKind::Permanent => false,
        RestartKind::Transient => !exit.is_abnormal(),
        RestartKind::Temporary => true,
    };
    allowed && *exit != ExitReason::Shutdown && !entry.is_leaving() && entry.place(instance) == Place::Ready
}

/// Sees the process of an instance.
struct Program {
    entry: Weak<Entry>,
    instance: usize,
}

impl Observer for Program {
    fn on(&self, event: &ChildEvent) {
        let Some(entry) = self.entry.upgrade() else { return };
        if let (PROCESS, Transition::Stopped { exit: ExitReason::Normal }) = (event.id.as_str(), &event.transition) {
            let reason = "it ended normally, and its policy wants no restart".to_owned();
            entry.turned(self.instance, Turn::Ended { reason });
        }
    }
}

fn down(exit: &ExitReason, delay: std::time::Duration) -> Event {
    Event::Down { reason: plain(exit), delay_ms: milliseconds(delay) }
}

fn milliseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The innermost cause, in the words of whoever failed.
pub(super) fn plain(exit: &ExitReason) -> String {
    match exit {
        ExitReason::StartFailed { reason, .. } => plain(reason),
        ExitReason::Intensity { last, .. } => plain(last),
        ExitReason::Error(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn parts(entry: &Arc<Entry>) -> Arc<dyn Observer> {
    Arc::new(Parts(Arc::downgrade(entry)))
}

pub(super) fn program(instance: usize, entry: &Arc<Entry>) -> Arc<dyn Observer> {
    Arc::new(Program { entry: Arc::downgrade(entry), instance })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use supervision::ChildId;

    #[test]
    fn h15_the_reason_is_the_innermost_cause() {
        let id = |text: &str| ChildId::try_from(text).unwrap();
        let process = ExitReason::Error("exit code 3".to_owned());
        let instance = ExitReason::Intensity { child: id("process"), last: Box::new(process) };
        let service = ExitReason::StartFailed { child: id("instance:shared"), reason: Box::new(instance) };
        assert_eq!(plain(&service), "exit code 3");
        assert_eq!(plain(&ExitReason::StartTimeout), "not ready within the start timeout");
    }
}
