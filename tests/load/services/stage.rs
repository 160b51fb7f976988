//! The services, and who else calls them while a stretch is measured.

use std::path::PathBuf;
use std::time::Duration;

use ::tests::harness::load::Plan;
use ::tests::harness::peer::Peer;
use ::tests::harness::{Client, Load, LoadReport, Mesh, Owner, SETTLE, Session, programs};
use ::tests::measure::Interrupt;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::options::Options;
use crate::report::{Measured, Updated};
use crate::stretch::Stretch;

/// Calls of the slow service on their way at any moment: half of what one member may have there.
pub(crate) const SLOW_IN_FLIGHT: usize = 32;
/// Each takes as long.
pub(crate) const SLOW_MS: u64 = 1_000;
/// Of a large result.
pub(crate) const BIG_BYTES: u64 = 10 * 1024 * 1024;
/// Large results on their way at any moment.
const BIG_IN_FLIGHT: usize = 1;
/// Calls of each of the two peers on their way while a service is updated.
const UPDATE_IN_FLIGHT: usize = 4;
/// Results of each of them between two updates.
const BETWEEN_UPDATES: u64 = 20;
/// A member may deploy and update ten times a minute: each of them does it fewer times.
const UPDATES_OF_A_MEMBER: u32 = 8;

/// A mesh to measure in.
pub(crate) struct Stage<'a> {
    pub(crate) mesh: &'a Mesh,
    pub(crate) runtime: Runtime,
    pub(crate) interrupt: Interrupt,
}

impl Stage<'_> {
    pub(crate) fn play(&mut self, options: &Options) -> Result<Measured, String> {
        let owner = Owner::of(self.mesh)?;
        let deployer = Session::new(&owner.member);
        for (name, program) in [("fast", programs::echo()), ("slow", programs::fixture()), ("big", programs::fixture())]
        {
            self.settle(&deployer, deploy(name, program))?;
        }
        let mut measured = Measured::default();
        // What is made at the first calls is made before any is measured.
        self.stretch(options)?;
        for _ in 0..options.repetitions {
            measured.alone.push(self.stretch(options)?);
            let slow = plan("slow", "slow", json!({ "ms": SLOW_MS }), SLOW_IN_FLIGHT);
            measured.beside_slow.push(self.beside(slow, &mut measured.slow_calls, options)?);
            let big = plan("big", "big", json!({ "bytes": BIG_BYTES }), BIG_IN_FLIGHT);
            measured.beside_big.push(self.beside(big, &mut measured.big_calls, options)?);
        }
        measured.updated = self.update(&owner, options)?;
        Ok(measured)
    }

    fn run<T>(&mut self, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        self.runtime.block_on(self.interrupt.or(work))
    }

    /// Asks for a deploy or an update, and waits until it runs.
    fn settle(&mut self, session: &Session, message: Value) -> Result<(), String> {
        let port = self.mesh.port();
        self.run(async {
            let mut peer = Peer::enter(port, session, Client::Command).await?;
            let said = timeout(SETTLE, peer.settle(message)).await.map_err(|_| "no end of a deploy".to_owned())??;
            if said["status"] == "running" { Ok(()) } else { Err(format!("not running: {said}")) }
        })
    }

    fn stretch(&mut self, options: &Options) -> Result<Stretch, String> {
        let membership = self.mesh.membership();
        self.run(async {
            let mut peer = Peer::connect(&membership).await?;
            Stretch::measure(&mut peer, "fast", options).await
        })
    }

    /// A stretch while another peer does this all the time; its results are added to `results`.
    fn beside(&mut self, plan: Plan, results: &mut u64, options: &Options) -> Result<Stretch, String> {
        let load = Load::start(self.mesh, plan);
        // The first answer says that as many others are on their way.
        load.wait_for_more(self.mesh, 1, SETTLE);
        let stretch = self.stretch(options)?;
        *results += without_failure(&load.stop())?;
        Ok(stretch)
    }

    /// Updates a service under two peers: one calls what may be repeated, the other what may not.
    fn update(&mut self, owner: &Owner, options: &Options) -> Result<Updated, String> {
        let crew = owner.admins("deployer", options.updates.div_ceil(UPDATES_OF_A_MEMBER) as usize + 1)?;
        let sessions: Vec<Session> = crew.iter().map(Session::new).collect();
        self.settle(&sessions[0], deploy("updated", programs::fixture()))?;
        let first = self.mesh.pid("updated");
        let loads = [("echo", json!({ "text": "steady" })), ("count", json!({}))]
            .map(|(tool, arguments)| Load::start(self.mesh, plan("updated", tool, arguments, UPDATE_IN_FLIGHT)));
        for number in 0..options.updates as usize {
            loads.iter().for_each(|load| load.wait_for_more(self.mesh, BETWEEN_UPDATES, SETTLE));
            let update = json!({ "type": "mcp_update", "server_name": "updated" });
            self.settle(&sessions[1 + number % (sessions.len() - 1)], update)?;
        }
        loads.iter().for_each(|load| load.wait_for_more(self.mesh, BETWEEN_UPDATES, SETTLE));
        if self.mesh.pid("updated") == first {
            return Err("it was updated, and its process is the first one".to_owned());
        }
        let mut updated = Updated { times: options.updates, ..Updated::default() };
        for report in loads.map(Load::stop) {
            updated.calls += without_failure(&report)?;
            updated.slowest_ms = updated.slowest_ms.max(report.slowest.as_secs_f64() * 1e3);
        }
        Ok(updated)
    }
}

/// How many results there were, if there was nothing else.
fn without_failure(report: &LoadReport) -> Result<u64, String> {
    if report.ok == report.sent && report.errors.is_empty() && report.disconnects.is_empty() {
        Ok(report.ok)
    } else {
        Err(format!("a call failed: {report:?}"))
    }
}

fn plan(service: &str, tool: &str, arguments: Value, in_flight: usize) -> Plan {
    Plan { service: service.to_owned(), tool: tool.to_owned(), arguments, in_flight, pause: Duration::ZERO }
}

fn deploy(name: &str, program: PathBuf) -> Value {
    json!({
        "type": "mcp_deploy",
        "server_name": name,
        "source": { "type": "command", "argv": [program] },
        "scope": "mesh",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_failed_was_lost_or_never_answered_ends_the_run() {
        let report = |sent, ok| LoadReport { sent, ok, ..LoadReport::default() };
        assert_eq!(without_failure(&report(7, 7)), Ok(7));
        assert!(without_failure(&report(7, 6)).is_err());
        let lost = LoadReport { disconnects: vec!["gone".to_owned()], ..report(7, 7) };
        assert!(without_failure(&lost).is_err());
    }
}
