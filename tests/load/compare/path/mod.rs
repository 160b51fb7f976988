//! The paths: which processes stand between the client and the server, and how to reach them.
//!
//! All are started once and live through the whole run. Each cell has a connection of its own, so none is given up for
//! its silence while the other paths are measured.

mod chain;
mod mesh;
mod runner;
mod stdio;

use std::collections::BTreeMap;
use std::time::Duration;

use ::tests::harness::Table;
use ::tests::measure::procfs;
use tokio::process::Child;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::drive::{Driven, Line};
use crate::plan::Cell;

/// What a path's server is called where it needs a name.
const SERVICE: &str = "load";
/// From a start to what must follow, a handshake, the end of a deploy: all take milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// A role in a path, and who has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) role: &'static str,
    pub(crate) pid: u32,
}

/// A cell, once.
pub(crate) struct Sample {
    pub(crate) driven: Driven,
    /// Processor time by role, the client's own included.
    pub(crate) cpu: BTreeMap<&'static str, Duration>,
}

pub(crate) enum Path {
    Stdio(stdio::Stdio),
    Chain(chain::Chain),
    Runner(runner::Runner),
    Mesh(Box<mesh::Meshed>),
}

impl Path {
    /// Every path, the shortest first.
    pub(crate) fn start_all(runtime: &Runtime) -> Result<Vec<Self>, String> {
        Ok(vec![
            Self::Stdio(runtime.block_on(stdio::Stdio::start())?),
            Self::Chain(runtime.block_on(chain::Chain::start())?),
            Self::Runner(runtime.block_on(runner::Runner::start())?),
            // The harness has runtimes of its own.
            Self::Mesh(Box::new(mesh::Meshed::start()?)),
        ])
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Stdio(_) => "stdio",
            Self::Chain(_) => "chain",
            Self::Runner(_) => "runner",
            Self::Mesh(_) => "mesh",
        }
    }

    /// The processes of the path, in the order in which a call meets them.
    pub(crate) fn members(&self) -> &[Member] {
        match self {
            Self::Stdio(path) => &path.members,
            Self::Chain(path) => &path.members,
            Self::Runner(path) => &path.members,
            Self::Mesh(path) => &path.members,
        }
    }

    /// Proportional set size by role, in KiB, where it may be looked at.
    pub(crate) fn memory(&self) -> BTreeMap<&'static str, Option<u64>> {
        let mut memory = BTreeMap::new();
        for member in self.members() {
            let sum = memory.entry(member.role).or_insert(Some(0));
            *sum = sum.zip(procfs::pss_kib(member.pid)).map(|(sum, own)| sum + own);
        }
        memory
    }

    /// One cell, once, after a warm-up.
    pub(crate) async fn measure(&mut self, cell: &Cell) -> Result<Sample, String> {
        let mut members = self.members().to_vec();
        members.push(Member { role: "client", pid: std::process::id() });
        let mut line = self.open().await?;
        line.drive(&cell.warm_up()).await?;
        let before = clocks(&members)?;
        let driven = line.drive(cell).await?;
        let after = clocks(&members)?;
        let mut cpu = BTreeMap::new();
        for (member, (before, after)) in members.iter().zip(before.iter().zip(after)) {
            *cpu.entry(member.role).or_default() += after.saturating_sub(*before);
        }
        Ok(Sample { driven, cpu })
    }

    async fn open(&mut self) -> Result<Line<'_>, String> {
        match self {
            Self::Stdio(path) => Ok(path.open()),
            Self::Chain(path) => path.open().await,
            Self::Runner(path) => path.open().await,
            Self::Mesh(path) => path.open().await,
        }
    }

    /// Ends its processes, and waits for their ends.
    pub(crate) fn stop(self, runtime: &Runtime) -> Result<(), String> {
        match self {
            Self::Stdio(path) => runtime.block_on(path.stop()),
            Self::Chain(path) => runtime.block_on(path.stop()),
            Self::Runner(path) => runtime.block_on(path.stop()),
            Self::Mesh(path) => path.stop(),
        }
    }
}

/// Waits until a child ended well.
async fn ended(child: &mut Child) -> Result<(), String> {
    let status = timeout(SOON, child.wait()).await.map_err(|_| format!("it did not end within {SOON:?}"))?;
    let status = status.map_err(words)?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}")) }
}

fn clocks(members: &[Member]) -> Result<Vec<Duration>, String> {
    members.iter().map(|member| procfs::cpu(member.pid)).collect()
}

/// Who watches a service's process: everyone below the runner but the server itself.
fn wardens(runner: u32, server: u32) -> Vec<Member> {
    let table = Table::read();
    let below = table.descendants(runner).into_iter().map(|entry| entry.id.pid);
    below.filter(|pid| *pid != server).map(|pid| Member { role: "warden", pid }).collect()
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
